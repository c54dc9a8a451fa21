package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

const uploadedOne = `{"id":"a1","total":3,"duplicates":1,"created_at":"2026-01-02T03:04:05.678Z"}`

// A broadcasting server keeps an audience and sends to it.
type broadcasting struct {
	running
	uploads   []string         // content type and body
	requests  []string         // of notifications
	keys      []string         // of these
	onUpload  http.HandlerFunc // in place of keeping the audience
	onRequest http.HandlerFunc // in place of accepting the notification
}

func (b *broadcasting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/audiences":
		if b.onUpload != nil {
			b.onUpload(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			problem(w, http.StatusUnprocessableEntity, "the upload broke off")
			return
		}
		b.uploads = append(b.uploads, r.Header.Get("Content-Type")+" "+string(body))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, uploadedOne)
	case "POST /v1/notifications":
		body, _ := io.ReadAll(r.Body)
		b.requests = append(b.requests, strings.TrimSpace(string(body)))
		b.keys = append(b.keys, r.Header.Get("Idempotency-Key"))
		if b.onRequest != nil {
			b.onRequest(w, r)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":"n1","status":"sending"}`)
	default:
		b.running.ServeHTTP(w, r)
	}
}

// allSent is a server that sends to the three of an audience.
func allSent() *broadcasting {
	return &broadcasting{running: running{status: "done", looks: 3, counts: notify.Counts{Total: 3, Sent: 3}, deliveries: []string{sentDelivery}}}
}

// peopleFile is a file of that name, with people in it.
func peopleFile(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(people), 0o600))
	return file
}

const people = "email,name\nann@example.com,Ann\n"

func toAudience(file string, more ...string) []string {
	return append([]string{"send", "--template", "welcome", "--audience", file}, more...)
}

func TestSendUploadsAnAudienceAndFollows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, contentType string
		args              []string
		input             string
	}{
		{"CSV", "text/csv", toAudience(peopleFile(t, "people.csv")), ""},
		{"NDJSON", "application/x-ndjson", toAudience(peopleFile(t, "people.ndjson")), ""},
		{"NDJSON by its other name", "application/x-ndjson", toAudience(peopleFile(t, "People.JSONL")), ""},
		{"a file without a suffix", "text/csv", toAudience(peopleFile(t, "people"), "--audience-format", "csv"), ""},
		{"a suffix that is wrong", "application/x-ndjson", toAudience(peopleFile(t, "people.csv"), "--audience-format", "ndjson"), ""},
		{"standard input", "text/csv", toAudience("-", "--audience-format", "csv"), people},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := allSent()
				got := caller{handler: server, input: test.input}.run(t.Context(), test.args...)
				require.Equal(t, 0, got.code, got.err)
				require.Equal(t, []string{test.contentType + " " + people}, server.uploads)
				require.Equal(t, []string{`{"template":"welcome","audience":{"id":"a1"},"data":{}}`}, server.requests)
				require.Equal(t, "belfry: audience a1: 3 kept, 1 dropped as duplicates\nbelfry: notification n1 is accepted\n", got.err)
				require.True(t, strings.HasPrefix(got.out, "n1 done: 3 deliveries, 3 sent\n"), got.out)
			})
		})
	}
}

func TestOfAManySidedOutcomeLittleIsListed(t *testing.T) {
	t.Parallel()
	const failed = 300
	deliveries := []string{sentDelivery}
	for i := range failed {
		deliveries = append(deliveries, fmt.Sprintf(`{"id":"d%d","channel":"email","state":"failed","attempts":[]}`, i))
	}
	for name, args := range map[string][]string{
		"an audience uploaded now": toAudience(peopleFile(t, "people.csv")),
		"one uploaded before":      {"send", "--template", "welcome", "--audience-id", "a1", "--wait"},
		"everybody":                {"send", "--template", "welcome", "--all-users", "--wait"},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &broadcasting{running: running{status: "done", counts: notify.Counts{Total: 200_000, Sent: 199_700, Failed: failed}, deliveries: deliveries}}
			got := caller{handler: server}.run(t.Context(), args...)
			require.Equal(t, exitFailed, got.code, name)
			require.True(t, strings.HasPrefix(got.out, "n1 done: 200000 deliveries, 199700 sent, 300 failed\n"), got.out)
			require.Equal(t, fewTroubled, strings.Count(got.out, "failed  email"))
			require.Contains(t, got.out, "belfry status n1 --state failed")
			require.NotContains(t, server.asked, "", "not all of them")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		server := &broadcasting{running: running{status: "done", counts: notify.Counts{Total: 200_000, Sent: 200_000}}}
		got := caller{handler: server}.run(t.Context(), "send", "--template", "welcome", "--all-users", "--wait")
		require.Equal(t, ran{out: "n1 done: 200000 deliveries, 200000 sent\n"}, got)
	})
}

func TestSendToAnAudienceAsJSON(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := caller{handler: allSent()}.run(t.Context(), toAudience(peopleFile(t, "people.csv"), "-o", "json")...)
		require.Equal(t, 0, got.code)
		require.Empty(t, got.err)
		var n struct {
			ID         string            `json:"id"`
			Status     string            `json:"status"`
			Audience   json.RawMessage   `json:"audience"`
			Deliveries []json.RawMessage `json:"deliveries"`
		}
		require.NoError(t, json.Unmarshal([]byte(got.out), &n))
		require.Equal(t, "n1 done", n.ID+" "+n.Status)
		require.JSONEq(t, uploadedOne, string(n.Audience))
		require.Len(t, n.Deliveries, 1)
	})
}

func TestABroadcastThatWaitsForItsTimeIsNotFollowed(t *testing.T) {
	t.Parallel()
	waiting := func() *broadcasting {
		server := &broadcasting{running: running{status: "done", looks: 1, hidden: 1, counts: notify.Counts{Total: 3, Sent: 3}}}
		server.onRequest = func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"id":"n1","status":"scheduled"}`)
		}
		return server
	}
	args := toAudience(peopleFile(t, "people.csv"), "--delay", "2h")
	synctest.Test(t, func(t *testing.T) {
		got := caller{handler: waiting()}.run(t.Context(), args...)
		require.Equal(t, 0, got.code)
		require.Equal(t, "n1\n", got.out)
		require.Contains(t, got.err, "it goes out at 2026-01-02T03:04:05Z; to follow it: belfry status --watch n1")
	})
	synctest.Test(t, func(t *testing.T) {
		got := caller{handler: waiting()}.run(t.Context(), append(args, "-o", "json")...)
		require.Contains(t, compact(t, got.out), `"send_at":"2026-01-02T03:04:05.678Z"`)
		require.Contains(t, compact(t, got.out), `"audience":`+uploadedOne)
	})
	synctest.Test(t, func(t *testing.T) {
		got := caller{handler: waiting()}.run(t.Context(), append(args, "--wait")...)
		require.Equal(t, "n1 done: 3 deliveries, 3 sent\n", got.out)
	})
	synctest.Test(t, func(t *testing.T) {
		server := waiting()
		server.hidden = 1000
		require.Equal(t, "n1\n", caller{handler: server}.run(t.Context(), args...).out, "accepted, whatever comes after")
	})
}

func TestAnUploadNeedNotBeRepeatedWhenTheSendFails(t *testing.T) {
	t.Parallel()
	file := peopleFile(t, "people.csv")
	tests := []struct {
		name      string
		fail      http.HandlerFunc
		says      []string
		doubtful  bool
		keepsNone bool
	}{
		{name: "refused", fail: status(404, ""), says: []string{"--audience-id a1"}},
		{name: "no answer", fail: lose, says: []string{"--audience-id a1"}, doubtful: true},
		{name: "sent before, under the same key, to another upload", fail: status(409, ""), says: []string{"belfry audience put", "--audience-id"}, keepsNone: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := allSent()
				server.onRequest = test.fail
				got := caller{handler: server}.run(t.Context(), toAudience(file, "-o", "json")...)
				require.Equal(t, exitFailed, got.code)
				require.Len(t, server.uploads, 1)
				for _, text := range test.says {
					require.Contains(t, got.err, text)
				}
				require.Equal(t, test.doubtful, strings.Contains(got.err, "--idempotency-key "+server.keys[0]))
				require.Equal(t, !test.keepsNone, strings.Contains(got.err, "a1"))
				for _, key := range server.keys {
					require.Equal(t, server.keys[0], key)
				}
			})
		})
	}
}

func TestInterruptedWhileFollowingABroadcast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithTimeoutCause(t.Context(), time.Minute, context.Canceled)
		defer interrupt()
		server := allSent()
		server.looks = 1000
		got := caller{handler: server}.run(ctx, toAudience(peopleFile(t, "people.csv"))...)
		require.Equal(t, exitInterrupted, got.code)
		require.Empty(t, got.out)
		for _, command := range []string{"belfry status --watch n1", "belfry pause n1", "belfry cancel n1"} {
			require.Contains(t, got.err, command)
		}
		require.Len(t, server.requests, 1)
	})
}

// Outages in the middle of following, and when its end has been seen.
func TestFollowingABroadcastOutlastsOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &broadcasting{running: running{status: "done", looks: 5, counts: notify.Counts{Total: 200_000, Sent: 199_999, Failed: 1}, deliveries: []string{failedOne}}}
		began := map[string]time.Time{}
		flaky := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			listing := strings.HasSuffix(r.URL.Path, "/deliveries")
			if listing || server.looked == 3 {
				first, seen := began[r.URL.Path]
				if !seen {
					first = time.Now()
					began[r.URL.Path] = first
				}
				if time.Since(first) < 20*time.Second {
					lose(w, r)
				}
			}
			server.ServeHTTP(w, r)
		})
		got := caller{handler: flaky}.run(t.Context(), toAudience(peopleFile(t, "people.csv"))...)
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.out, "200000 deliveries, 199999 sent, 1 failed")
		require.Contains(t, got.out, "such user")
		require.Len(t, began, 2)
		require.Len(t, server.requests, 1)
	})
}

func TestTheProgressOfABroadcast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		const total = 20_000
		server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			took := time.Since(began)
			status, sent := "sending", int(200*took.Seconds())
			switch {
			case took >= 30*time.Second && took < time.Minute:
				status, sent = "paused", 6000
			case took >= time.Minute:
				sent -= 6000
			}
			if sent >= total-10 {
				status, sent = "done", total-10
			}
			_, _ = fmt.Fprintf(w, `{"id":"n1","status":%q,"counts":{"total":%d,"queued":%d,"sent":%d,"failed":7,"skipped":2,"unknown":1}}`,
				status, total, total-10-sent, sent)
		})
		got := caller{handler: server, live: true}.run(t.Context(), "status", "n1", "--watch")
		lines := strings.Split(got.err, overwrite)
		require.NotContains(t, lines[1], "/s", "nobody knows yet")
		require.Contains(t, got.err, " of 20000 sent, 7 failed, 2 skipped, 1 unknown, 200/s, 1m1")
		require.Contains(t, got.err, "paused: 20000 deliveries, 13990 queued, 6000 sent, 7 failed, 2 skipped, 1 unknown")
		require.Contains(t, lines[len(lines)-2], "200/s, 0s left")
	})
}

func TestAudienceCommands(t *testing.T) {
	t.Parallel()
	file := peopleFile(t, "people.csv")
	var asked []string
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.EscapedPath())
		switch r.Method {
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case http.MethodGet:
			_, _ = io.WriteString(w, uploadedOne)
		default:
			(&broadcasting{}).ServeHTTP(w, r)
		}
	})
	require.Equal(t, ran{out: "a1\n", err: "belfry: audience a1: 3 kept, 1 dropped as duplicates\n"},
		caller{handler: server}.run(t.Context(), "audience", "put", file))
	require.Equal(t, ran{out: "a1\n", err: "belfry: audience a1: 3 kept, 1 dropped as duplicates\n"},
		caller{handler: server, input: people}.run(t.Context(), "audience", "put", "-", "--format", "csv"))
	got := caller{handler: server}.run(t.Context(), "audience", "put", file, "-o", "json")
	require.JSONEq(t, uploadedOne, got.out)
	require.Empty(t, got.err)
	require.Equal(t, ran{out: "audience    a1\nrecipients  3\nduplicates  1\ncreated     2026-01-02T03:04:05Z\n"},
		caller{handler: server}.run(t.Context(), "audience", "show", "a1"))
	require.Equal(t, ran{}, caller{handler: server}.run(t.Context(), "audience", "delete", "a/1"))
	require.Equal(t, []string{"POST /v1/audiences", "POST /v1/audiences", "POST /v1/audiences", "GET /v1/audiences/a1", "DELETE /v1/audiences/" + url.PathEscape("a/1")}, asked)
	got = caller{handler: answering(map[string]string{"/v1/audiences/a1": "{}"})}.run(t.Context(), "audience", "show", "a1")
	require.Contains(t, got.err, "it is no audience")
}
