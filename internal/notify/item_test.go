package notify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestItemIDsAreInTheOrderOfTime(t *testing.T) {
	t.Parallel()
	const delivery = "0193a5b0-0000-5000-8000-000000000001"
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	id := ItemID(delivery, at)
	require.Regexp(t, "^019b7ca9-8f2e-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", id)
	require.Equal(t, id, ItemID(delivery, at.Truncate(time.Millisecond)), "a time as it is stored")
	require.NotEqual(t, id, ItemID(strings.Replace(delivery, "1", "2", 1), at))
	var ids []string
	for _, after := range []time.Duration{0, time.Millisecond, time.Second, 24 * time.Hour, 20 * 365 * 24 * time.Hour} {
		ids = append(ids, ItemID(delivery, at.Add(after)))
	}
	require.True(t, slices.IsSorted(ids))
}
