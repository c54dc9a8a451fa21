package audience_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

func newSpool(t *testing.T) *audience.Spool {
	t.Helper()
	spool, err := audience.NewSpool()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, spool.Close()) })
	return spool
}

// finish wants the counts to be right, and is who was kept.
func finish(t *testing.T, spool *audience.Spool, added int) []notify.Recipient {
	t.Helper()
	total, duplicates, err := spool.Finish()
	require.NoError(t, err)
	require.Equal(t, added, total+duplicates)
	var kept []notify.Recipient
	for page, err := range spool.Pages() {
		require.NoError(t, err)
		require.Zero(t, len(kept)%audience.PageSize, "only the last page may be short")
		require.NotEmpty(t, page)
		require.LessOrEqual(t, len(page), audience.PageSize)
		kept = append(kept, page...)
	}
	require.Len(t, kept, total)
	return kept
}

func TestTheFirstOfEachIsKept(t *testing.T) {
	t.Parallel()
	spool := newSpool(t)
	named := []notify.Recipient{
		{UserID: "u"}, {Email: "Ann@example.com", Name: "Ann"}, {UserID: "U"}, {Email: "u"}, {UserID: "u"},
		{Email: "ann@EXAMPLE.com", Name: "Another"}, {Email: "JÖRG@example.com"}, {Email: "jörg@example.com"}, {Email: "ann@example.com"}, {UserID: ""},
	}
	for _, r := range named {
		require.NoError(t, spool.Add(r))
	}
	require.Equal(t, []notify.Recipient{
		{UserID: "u"}, {Email: "Ann@example.com", Name: "Ann"}, {UserID: "U"}, {Email: "u"}, {Email: "JÖRG@example.com"}, {},
	}, finish(t, spool, len(named)))
}

func TestNobodyIsAnAudienceOfNone(t *testing.T) {
	t.Parallel()
	require.Empty(t, finish(t, newSpool(t), 0))
}

// More than fit in memory, so that keys and duplicates are sorted on disk, with
// every one named twice and 10,000 three times.
func TestDuplicatesAmongMany(t *testing.T) {
	t.Parallel()
	const people, again, memory = 100_000, 10_000, 12 << 20
	spool := newSpool(t)
	before := heap()
	for _, count := range []int{people, people, again} {
		for i := range count {
			require.NoError(t, spool.Add(notify.Recipient{Email: fmt.Sprintf("person%d@example.com", i)}))
		}
	}
	total, duplicates, err := spool.Finish()
	require.NoError(t, err)
	require.Equal(t, people, total)
	require.Equal(t, people+again, duplicates)
	next := 0
	for page, err := range spool.Pages() {
		require.NoError(t, err)
		for _, r := range page {
			if want := fmt.Sprintf("person%d@example.com", next); r.Email != want {
				require.Equal(t, want, r.Email)
			}
			next++
		}
		if next%(people/4) == 0 {
			require.Less(t, heap(), before+memory)
		}
	}
	require.Equal(t, people, next)
}

// heap is how much memory is held.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestNothingIsLeftOnDisk(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	spool, err := audience.NewSpool()
	require.NoError(t, err)
	for i := range 70_000 { // so many that some are on disk
		require.NoError(t, spool.Add(notify.Recipient{UserID: fmt.Sprint(i)}))
	}
	if runtime.GOOS != "windows" {
		requireEmpty(t, folder)
	}
	require.NoError(t, spool.Close())
	requireEmpty(t, folder)
	require.Error(t, spool.Add(notify.Recipient{Name: strings.Repeat("x", 1<<20)}), "it is closed")

	t.Setenv("TMPDIR", folder+"/none")
	_, err = audience.NewSpool()
	require.ErrorContains(t, err, "make a temporary file")
}

func requireEmpty(t *testing.T, folder string) {
	t.Helper()
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

// requireSame reads a text, and what it held written anew.
func requireSame(t *testing.T, format func(io.Reader) iter.Seq2[audience.Line, error], text string, write func([]audience.Line) string) {
	t.Helper()
	lines, err := all(format(strings.NewReader(text)))
	last := 0
	for _, line := range lines {
		require.Greater(t, line.Number, last)
		last = line.Number
		for _, field := range []string{line.Recipient.UserID, line.Recipient.Email, line.Recipient.Name} {
			require.True(t, utf8.ValidString(field))
		}
	}
	if err != nil {
		var wrong *audience.LineError
		require.ErrorAs(t, err, &wrong)
		require.Greater(t, wrong.Line, last)
		require.LessOrEqual(t, wrong.Line, strings.Count(text, "\n")+1)
		require.True(t, utf8.ValidString(wrong.Problem))
		require.Less(t, len(wrong.Problem), 1000)
	}
	again, err := all(format(strings.NewReader(write(lines))))
	require.NoError(t, err)
	require.Len(t, again, len(lines))
	for i := range again {
		require.Equal(t, lines[i].Recipient, again[i].Recipient)
	}
}

func writeNDJSON(lines []audience.Line) string {
	var text strings.Builder
	for _, line := range lines {
		_ = json.NewEncoder(&text).Encode(line.Recipient)
	}
	return text.String()
}

func writeCSV(lines []audience.Line) string {
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write([]string{"user_id", "email", "name"})
	for _, line := range lines {
		_ = w.Write([]string{line.Recipient.UserID, line.Recipient.Email, line.Recipient.Name})
	}
	w.Flush()
	return text.String()
}
