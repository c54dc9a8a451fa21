package notify

import (
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzAddress checks that what is taken for a bare address is one, and cannot
// break out of a header or an SMTP command.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"ann@example.com", "Ann <ann@example.com>", "a@b\r\nBcc: c@d", "ä@ö.example", `"a b"@c.d`, "a@[127.0.0.1]", "a@b.", "@", "a@b@c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if checkAddress(address) != nil {
			return
		}
		parsed, err := mail.ParseAddress(address)
		require.NoError(t, err)
		require.Equal(t, address, parsed.Address)
		require.False(t, strings.ContainsAny(address, "\r\n\x00"))
		require.True(t, utf8.ValidString(address))
		require.LessOrEqual(t, strings.LastIndexByte(address, '@'), 64)
	})
}
