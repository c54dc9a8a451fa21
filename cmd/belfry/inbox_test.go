package main

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInboxCommands(t *testing.T) {
	t.Parallel()
	const item = `{"id":"i2","notification_id":"n","title":"Solaris \u001b[1m","body":"b","data":{"n":1.0},"created_at":"2026-01-02T03:04:05Z","seen_at":"2026-01-02T03:04:06Z","read_at":"2026-01-02T03:04:06Z"}`
	const fresh = `{"id":"i1","notification_id":"n","title":"Stalker","body":"b","data":{},"created_at":"2026-01-02T03:04:05Z"}`
	var asked []string
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		answer := map[string]string{
			"/v1/users/ann/inbox":            `{"items":[` + item + `,` + fresh + `],"unread":1}`,
			"/v1/users/ben/inbox":            `{"items":[],"unread":0}`,
			"/v1/users/ann/inbox/i2/read":    item,
			"/v1/users/ann/inbox/i1/archive": `{"id":"i1","title":"Stalker","created_at":"2026-01-02T03:04:05Z","archived_at":"2026-01-02T03:04:06Z"}`,
			"/v1/users/ann/inbox/i1/unread":  fresh,
			"/v1/users/ann/inbox/read-all":   `{"unread":0}`,
		}[r.URL.Path]
		if answer == "" {
			problem(w, http.StatusNotFound, "no such item in this inbox")
			return
		}
		_, _ = io.WriteString(w, answer)
	})
	run := func(args ...string) ran {
		return caller{handler: server}.run(t.Context(), append([]string{"inbox"}, args...)...)
	}
	require.Equal(t, ran{out: `ID  CREATED               STATE  TITLE
i2  2026-01-02T03:04:05Z  read   Solaris \x1b[1m
i1  2026-01-02T03:04:05Z  new    Stalker
`}, run("list", "--user", "ann", "--unread"))
	require.Equal(t, []string{"GET /v1/users/ann/inbox?limit=200&unread=true"}, asked)
	require.Contains(t, run("list", "--user", "ann", "-o", "json").out, `"n": 1.0`)
	require.Equal(t, ran{}, run("list", "--user", "ben", "--archived"))
	require.Equal(t, "GET /v1/users/ben/inbox?archived=true&limit=200", asked[2])
	require.Contains(t, run("read", "--user", "ann", "i2").out, "  read   Solaris")
	require.Contains(t, run("archive", "--user", "ann", "i1").out, "  archived  Stalker")
	require.Contains(t, run("unread", "--user", "ann", "i1").out, "  new    Stalker")
	require.Equal(t, ran{out: "0 unread\n"}, run("read-all", "--user", "ann"))
	lost := run("read", "--user", "ann", "i2", "gone")
	require.Equal(t, 1, lost.code)
	require.Contains(t, lost.err, "gone: no such item in this inbox (404)")
	require.Equal(t, 2, run("list").code)
}
