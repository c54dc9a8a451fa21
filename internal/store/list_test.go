package store

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// A listing whose cursor the server lost is read again, once.
func TestALostCursorIsReadAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		errs  []error // of each read
		reads int
		fails bool
	}{
		"at once":  {[]error{nil}, 1, false},
		"lost":     {[]error{unavailable("read", mongo.CommandError{Code: cursorNotFound}), nil}, 2, false},
		"again":    {[]error{unavailable("read", mongo.CommandError{Code: cursorNotFound}), unavailable("read", mongo.CommandError{Code: cursorNotFound})}, 2, true},
		"all else": {[]error{unavailable("read", mongo.CommandError{Code: 1})}, 1, true},
	} {
		reads := 0
		got, err := onceMore(func() ([]int, error) {
			reads++
			return []int{reads}, test.errs[reads-1]
		})
		require.Equal(t, test.reads, reads, name)
		if test.fails {
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, []int{test.reads}, got, name)
	}
}
