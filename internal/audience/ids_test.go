package audience_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/audience"
)

func TestIDsAreSortedByTheirBytes(t *testing.T) {
	t.Parallel()
	var ids audience.IDs
	for _, id := range []string{"ü", "b", "", "a", "B", "b", "🦉", "ab", "a"} {
		require.NoError(t, ids.Add(id))
	}
	var sorted []string
	for id, err := range ids.Sorted() {
		require.NoError(t, err)
		sorted = append(sorted, id)
	}
	require.Equal(t, []string{"", "B", "a", "ab", "b", "ü", "🦉"}, sorted)
	require.NoError(t, ids.Close())
}

// More than fit in memory, each twice.
func TestManyIDs(t *testing.T) {
	const many, memory = 200_000, 20 << 20
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	var ids audience.IDs
	before := heap()
	for range 2 {
		for _, i := range rand.Perm(many) {
			require.NoError(t, ids.Add(fmt.Sprintf("4518e644-1ff3-4003-a14e-%012d", i)))
		}
	}
	next := 0
	for id, err := range ids.Sorted() {
		require.NoError(t, err)
		if want := fmt.Sprintf("4518e644-1ff3-4003-a14e-%012d", next); id != want {
			require.Equal(t, want, id)
		}
		if next++; next%(many/4) == 0 {
			require.Less(t, heap(), before+memory)
		}
	}
	require.Equal(t, many, next)
	for id, err := range ids.Sorted() { // again, and left
		require.NoError(t, err)
		require.Equal(t, "4518e644-1ff3-4003-a14e-000000000000", id)
		break
	}
	require.NoError(t, ids.Close())
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, left)
}
