package idp

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// replace writes a file anew, as an editor does: beside it, then over it.
func replace(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestReload(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "users.yaml", "- id: ana\n")
	clock, logged := &clock{}, &bytes.Buffer{}
	file, err := openUsersFile(path, slog.New(slog.NewTextHandler(logged, nil)), clock.now)
	require.NoError(t, err)
	knows := func(id string) bool { return file.current().byID[id] != nil }
	errorLines := func() int { return strings.Count(logged.String(), "level=ERROR") }
	require.True(t, knows("ana"))

	replace(t, path, "- id: bo\n") // as long as before
	require.False(t, knows("bo"), "looked at once a second at most")
	clock.move(reloadInterval)
	require.True(t, knows("bo"))
	require.False(t, knows("ana"))

	broken := "- id: cy\n- id: cy\n  email: cy@example.org\n"
	replace(t, path, broken)
	for range 3 { // reported once, however often it is looked at
		clock.move(reloadInterval)
		require.True(t, knows("bo"), "the users read before stay")
		require.Equal(t, 1, errorLines())
	}
	require.Contains(t, logged.String(), "entry 2")
	require.NotContains(t, logged.String(), "cy@example.org")

	require.NoError(t, os.Remove(path))
	for range 3 {
		clock.move(reloadInterval)
		require.True(t, knows("bo"))
		require.Equal(t, 2, errorLines())
	}

	replace(t, path, "- id: cy\n")
	clock.move(reloadInterval)
	require.True(t, knows("cy"))

	later := time.Now().Add(time.Hour)
	require.NoError(t, os.WriteFile(path, []byte("- id: dr\n"), 0o600)) // the same file, as long as before
	require.NoError(t, os.Chtimes(path, later, later))
	clock.move(reloadInterval)
	require.True(t, knows("dr"))

	before := file.current()
	clock.move(reloadInterval)
	require.Same(t, before, file.current(), "unchanged, so not read again")
}

func TestServeReloads(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "users.json", `[{"id": "ana"}]`)
	client := newClient(t, Config{Addr: serve(t, ServerConfig{UsersFile: path}), CacheTTL: -1})
	_, err := client.Lookup(t.Context(), "ana")
	require.NoError(t, err)
	replace(t, path, `[{"id": "bo"}]`)
	require.Eventually(t, func() bool {
		_, err := client.Lookup(t.Context(), "bo")
		return err == nil
	}, patience, 50*time.Millisecond)
}

func TestUsersFileTooLarge(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "users.yaml", "")
	require.NoError(t, os.Truncate(path, maxUsersFileBytes+1))
	_, err := readUsers(path)
	require.ErrorContains(t, err, "larger than 64 MiB")
}
