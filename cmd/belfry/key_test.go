package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
)

// Not parallel: the database is named by a variable of this process.
func TestTheFirstKeyComesFromTheDatabase(t *testing.T) {
	t.Setenv("BELFRY_MONGO_URI", mongotest.NewURI(t))
	t.Setenv("BELFRY_SERVER", "")
	t.Setenv("BELFRY_KEY", "")
	unasked := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	run := func(args ...string) string {
		t.Helper()
		got := caller{handler: unasked}.run(t.Context(), append([]string{"key"}, args...)...)
		require.Zero(t, got.code, got.err)
		require.Empty(t, got.err)
		return got.out
	}
	require.Empty(t, run("list"))
	key := run("create", "--name", "first", "--scope", "admin")
	require.Regexp(t, `^belfry_[0-9a-f-]{36}_[a-z2-7]{52}\n$`, key, "the key, alone")
	var made struct {
		keyView
		Key string `json:"key"`
	}
	require.NoError(t, json.Unmarshal([]byte(run("create", "--name", "second", "--scope", "send,read", "--scope", "inbox", "--expires", "720h", "-o", "json")), &made))
	require.Equal(t, []string{"send", "read", "inbox"}, made.Scopes)
	require.WithinDuration(t, time.Now().Add(720*time.Hour), *made.ExpiresAt, time.Minute)
	require.Equal(t, operator, made.CreatedBy)
	require.Contains(t, made.Key, made.ID)

	listed := run("list")
	require.Regexp(t, `(?m)^ID +NAME +SCOPES +CREATED +EXPIRES +LAST USED$`, listed)
	require.Regexp(t, `(?m)^[0-9a-f-]{36} +first +admin +\S.* +never +never$`, listed)
	require.NotContains(t, listed, strings.Split(strings.TrimSpace(key), "_")[2])

	t.Setenv("BELFRY_KEY", "whatever")
	require.Empty(t, run("revoke", made.ID, "--direct"), "--direct means the database all the same")
	var left struct{ Items []keyView }
	require.NoError(t, json.Unmarshal([]byte(run("list", "--direct", "-o", "json")), &left))
	require.Len(t, left.Items, 1)
	again := caller{handler: unasked}.run(t.Context(), "key", "revoke", made.ID, "--direct")
	require.Equal(t, exitFailed, again.code)
	require.Contains(t, again.err, "there is no API key")
}

func TestKeysOfAServer(t *testing.T) {
	t.Parallel()
	const view = `{"id":"k","name":"shop","scopes":["send"],"created_at":"2026-11-28T00:00:00Z","created_by":"key/x","last_used_at":"2026-11-28T01:00:00Z"`
	asked := make(chan string, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		if r.Body != nil {
			body, _ = io.ReadAll(r.Body)
		}
		asked <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization") + " " + strings.TrimSpace(string(body))
		switch r.Method {
		case http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, view+`,"key":"belfry_k_secret"}`)
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, `{"items":[`+view+`}]}`)
		}
	})
	run := func(args ...string) (out, request string) {
		got := caller{handler: handler}.run(t.Context(), append(append([]string{"key"}, args...), "--key", "mine")...)
		require.Zero(t, got.code, got.err)
		return got.out, <-asked
	}
	out, request := run("create", "--name", "shop", "--scope", "send", "--expires", "2127-01-01T00:00:00Z")
	require.Equal(t, "belfry_k_secret\n", out)
	require.Equal(t, `POST /v1/keys Bearer mine {"name":"shop","scopes":["send"],"expires_at":"2127-01-01T00:00:00Z"}`, request)
	out, request = run("list", "--server", "http://127.0.0.1:1")
	require.Regexp(t, `(?m)^k +shop +send +\S.* +never +\S`, out)
	require.Equal(t, "GET /v1/keys Bearer mine ", request)
	out, request = run("revoke", "k")
	require.Empty(t, out)
	require.Equal(t, "DELETE /v1/keys/k Bearer mine ", request)
}

func TestWrongUsageOfKeys(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"create", "--name", "x"}, {"create", "--scope", "send"}, {"create", "--name", " ", "--scope", "send"}, {"create", "--name", "a\nb", "--scope", "send"},
		{"create", "--name", "x", "--scope", "everything"}, {"create", "--name", "x", "--scope", "send", "--expires", "tomorrow"},
		{"create", "--name", "x", "--scope", "send", "--expires", "-1h"}, {"create", "--name", "x", "--scope", "send", "--expires", "2001-01-01T00:00:00Z"},
		{"revoke"}, {"list", "--server", "nowhere"},
	} {
		got := caller{}.run(t.Context(), append([]string{"key"}, args...)...)
		require.Equal(t, exitUsage, got.code, "%v: %s", args, got.err)
	}
}
