package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestSendAsksForWhatTheFlagsSay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "film.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"film": "<Solaris>", "film": 12345678901234567890}`+"\n"), 0o600))
	tests := []struct {
		name  string
		args  []string
		input string
		body  string
	}{
		{"a template to a user", []string{"--template", "welcome", "--to", "u1"}, "", `{"template":"welcome","to":[{"user_id":"u1"}],"data":{}}`},
		{"all flags", []string{
			"--template", "welcome@2", "--to", "u1", "--to", "a,b@example.com", "--to", "Ann Ono <ann@example.com>", "--data", `{"a":1}`,
			"--channel", "email", "--channel", "inbox", "--tag", "x,y", "--tag", "z",
		}, "", `{"template":"welcome@2","to":[{"user_id":"u1"},{"email":"a,b@example.com"},{"email":"ann@example.com","name":"Ann Ono"}],` +
			`"channels":["email","inbox"],"data":{"a":1},"tags":["x,y","z"]}`},
		{"data from a file, as it is", []string{"--template", "t", "--to", "u1", "--data", "@" + file}, "",
			`{"template":"t","to":[{"user_id":"u1"}],"data":{"film":"<Solaris>","film":12345678901234567890}}`},
		{"data from standard input", []string{"--template", "t", "--to", "u1", "--data", "-"}, " {\"film\":\n\"Solaris\"} ",
			`{"template":"t","to":[{"user_id":"u1"}],"data":{"film":"Solaris"}}`},
		{"free-form content", []string{"--subject", "Hi", "--html", "-", "--text", "hi", "--to", "u1"}, "<p>Hi</p>",
			`{"content":{"email":{"subject":"Hi","html":"<p>Hi</p>","text":"hi"}},"to":[{"user_id":"u1"}],"data":{}}`},
		{"an audience that is there", []string{"--template", "t", "--audience-id", "a1", "--rate", "200/s"}, "",
			`{"template":"t","audience":{"id":"a1"},"data":{},"rate":"200/s"}`},
		{"everybody", []string{"--template", "t", "--all-users"}, "", `{"template":"t","audience":{"all_users":true},"data":{}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var asked *http.Request
			var body []byte
			server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r
				body, _ = io.ReadAll(r.Body)
				_, _ = io.WriteString(w, `{"id":"n1"}`)
			})
			got := caller{handler: server, input: test.input}.run(t.Context(), append([]string{"send", "--key", "secret\n"}, test.args...)...)
			require.Equal(t, ran{out: "n1\n"}, got)
			require.Equal(t, "POST /v1/notifications", asked.Method+" "+asked.URL.Path)
			require.Equal(t, "application/json", asked.Header.Get("Content-Type"))
			require.Equal(t, "Bearer secret", asked.Header.Get("Authorization"))
			require.Equal(t, test.body, strings.TrimSpace(string(body)))
		})
	}
}

func TestARefusalIsPrintedWhole(t *testing.T) {
	t.Parallel()
	server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"detail":"the request is not valid","errors":[{"location":"body.to","message":"empty"},{"location":"body.data","message":"\u001b[2J"}]}`)
	})
	require.Equal(t, ran{
		code: exitFailed,
		err:  "belfry: the request is not valid (422)\n  body.to: empty\n  body.data: \\x1b[2J\n",
	}, caller{handler: server}.run(t.Context(), sendOne...))
}

func TestAnAnswerOfSomebodyElseIsNoSuccess(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{}", "[]", "<html>hello</html>", "null"} {
		server := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
		for _, args := range [][]string{sendOne, {"status", "n1"}, {"status", "n1", "--watch"}} {
			got := caller{handler: server}.run(t.Context(), args...)
			require.Equal(t, exitFailed, got.code, text)
			require.Empty(t, got.out)
			require.Contains(t, got.err, "read Belfry's answer")
		}
	}
}

func TestSendTellsWhatItsKeyDid(t *testing.T) {
	t.Parallel()
	var key string
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Idempotency-Key")
		w.Header().Set("Idempotency-Replayed", "true")
		_, _ = io.WriteString(w, `{"id":"n1","x":1}`)
	})
	args := slices.Concat(sendOne, []string{"--idempotency-key", "order 17"})
	require.Equal(t, ran{out: "n1\n", err: "belfry: sent before under this key, not again\n"}, caller{handler: server}.run(t.Context(), args...))
	require.Equal(t, ran{out: "{\n  \"id\": \"n1\",\n  \"x\": 1\n}\n"}, caller{handler: server}.run(t.Context(), append(args, "-o", "json")...))
	require.Equal(t, "order 17", key)
}

// A running is a notification that ends when it was looked at often enough.
type running struct {
	status     notify.Status // at its end
	counts     notify.Counts // at its end
	looks      int           // until then
	hidden     int           // looks for which it is not shown yet
	deliveries []string      // JSON
	looked     int
	asked      []string // for which state the deliveries were asked
}

func (n *running) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		_, _ = io.WriteString(w, `{"id":"n1","status":"sending"}`)
	case r.URL.Path == "/v1/notifications/n1/deliveries":
		state := r.URL.Query().Get("state")
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		n.asked = append(n.asked, state)
		var found []string
		for _, d := range n.deliveries {
			if state == "" || strings.Contains(d, fmt.Sprintf(`"state":%q`, state)) {
				found = append(found, d)
			}
		}
		next := ""
		if found = found[from:]; len(found) > limit {
			found, next = found[:limit], strconv.Itoa(from+limit)
		}
		_, _ = fmt.Fprintf(w, `{"items":[%s],"next_cursor":%q}`, strings.Join(found, ","), next)
	default:
		n.looked++
		status, counts := n.status, n.counts
		if n.looked <= n.looks {
			status, counts = notify.StatusSending, notify.Counts{Total: n.counts.Total, Queued: n.counts.Total}
		}
		if n.looked <= n.hidden {
			problem(w, http.StatusNotFound, "there is no notification n1")
			return
		}
		_, _ = fmt.Fprintf(w, `{"id":"n1","status":%q,"template":{"name":"welcome","version":2},"channels":["email"],"counts":`+
			`{"total":%d,"queued":%d,"sent":%d,"delivered":%d,"failed":%d,"skipped":%d,"unknown":%d},"created_at":"2026-01-02T03:04:05.678Z",`+
			`"send_at":"2026-01-02T03:04:05.678Z","expires_at":"2026-01-03T03:04:05.678Z","tags":["a","b"],`+
			`"metadata":{"z":"1","a":"2"},"links":{"self":"/x","temporal_ui":"http://ui/n1"}}`,
			status, counts.Total, counts.Queued, counts.Sent, counts.Delivered, counts.Failed, counts.Skipped, counts.Unknown)
	}
}

const (
	sentDelivery = `{"id":"d1","user_id":"u1","channel":"email","provider":"smtp","address":"ann@example.com","state":"sent","resent":true,"attempts":[{"error":"later"},{}]}`
	failedOne    = `{"id":"d2","channel":"email","address":"bob@example.com","state":"failed","reason":"rejected","attempts":[{"error":"550 \u001b[31mno\r\nsuch user"}],"news":1}`
)

func TestSendWaits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		to   running
		code int
		out  string
	}{
		{
			"everything was sent",
			running{status: "done", counts: notify.Counts{Total: 1, Sent: 1}, looks: 3, deliveries: []string{sentDelivery}},
			0, "n1 done: 1 delivery, 1 sent\n\n" +
				"STATE  CHANNEL  TO                  PROVIDER  DELIVERY  NOTE\n" +
				"sent   email    u1 ann@example.com  smtp      d1        resent\n",
		},
		{
			"something failed",
			running{status: "done", counts: notify.Counts{Total: 2, Sent: 1, Failed: 1}, deliveries: []string{failedOne, sentDelivery}},
			exitFailed, "n1 done: 2 deliveries, 1 sent, 1 failed\n\n" +
				"STATE   CHANNEL  TO                  PROVIDER  DELIVERY  NOTE\n" +
				"sent    email    u1 ann@example.com  smtp      d1        resent\n" +
				"failed  email    bob@example.com               d2        rejected: 550 \\x1b[31mno\\r\\nsuch user\n",
		},
		{"confirmed ones are sent", running{status: "done", counts: notify.Counts{Total: 3, Sent: 1, Delivered: 2}}, 0, "n1 done: 3 deliveries, 1 sent, 2 delivered\n"},
		{"one may have gone out", running{status: "done", counts: notify.Counts{Total: 2, Sent: 1, Unknown: 1}}, exitFailed, "n1 done: 2 deliveries, 1 sent, 1 unknown\n"},
		{"one was left out", running{status: "done", counts: notify.Counts{Total: 2, Sent: 1, Skipped: 1}}, exitFailed, "n1 done: 2 deliveries, 1 sent, 1 skipped\n"},
		{"nothing to send at all", running{status: "failed"}, exitFailed, "n1 failed: 0 deliveries\n"},
		{"cancelled", running{status: "cancelled", counts: notify.Counts{Total: 1, Skipped: 1}}, exitFailed, "n1 cancelled: 1 delivery, 1 skipped\n"},
		{"not shown at first", running{status: "done", hidden: 3, looks: 5, counts: notify.Counts{Total: 1, Sent: 1}}, 0, "n1 done: 1 delivery, 1 sent\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got := caller{handler: &test.to}.run(t.Context(), append(sendOne, "--wait")...)
				require.Equal(t, test.code, got.code, got.err)
				require.Equal(t, test.out, got.out)
				require.Empty(t, got.err)
			})
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	const looks = 30 // takes about as many seconds
	counts := notify.Counts{Total: 900, Sent: 900}
	line := "sending: 0 of 900 sent, 0 failed"
	written := overwrite + noWrap + line + wrap
	tests := []struct {
		name  string
		live  bool
		flags []string
		want  string
	}{
		{"one line of a terminal", true, nil, strings.Repeat(written, looks) + overwrite},
		{"of a terminal beside JSON", true, []string{"-o", "json"}, strings.Repeat(written, looks) + overwrite},
		{"a line now and then elsewhere", false, nil, strings.Repeat(line+"\n", 2)},
		{"none beside JSON", false, []string{"-o", "json"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &running{status: "done", counts: counts, looks: looks}
				args := append([]string{"status", "n1", "--watch"}, test.flags...)
				got := caller{handler: server, live: test.live}.run(t.Context(), args...)
				require.Equal(t, 0, got.code)
				require.Equal(t, test.want, got.err)
			})
		})
	}
}

func TestAKeyThatMayNotLookLearnsWhatItHasSent(t *testing.T) {
	t.Parallel()
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"id":"n1","status":"sending"}`)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"detail":"this needs the scope read"}`)
	})
	require.Equal(t, ran{
		code: exitFailed, err: "belfry: this needs the scope read (403)\nnotification n1 is accepted all the same\n",
	}, caller{handler: server}.run(t.Context(), append(sendOne, "--wait")...))
}

func TestWatchingEndsWithoutTheNotification(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"status", "n1", "--watch"}, append(sendOne, "--wait")} {
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithTimeoutCause(t.Context(), time.Minute, context.Canceled)
			defer interrupt()
			began := time.Now()
			got := caller{handler: &running{status: "done", looks: 1000}}.run(ctx, args...)
			require.Equal(t, exitInterrupted, got.code)
			require.Empty(t, got.out)
			require.Contains(t, got.err, "belfry status --watch n1")
			require.Contains(t, got.err, "belfry pause n1")
			require.Contains(t, got.err, "belfry cancel n1")
			require.Equal(t, time.Minute, time.Since(began))
		})
	}
}

func TestWatchingOutlastsARestartOfTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &running{status: "done", looks: 10, counts: notify.Counts{Total: 1, Sent: 1}}
		asked := 0
		flaky := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked > 2 && asked < 6 {
				lose(w, r)
			}
			server.ServeHTTP(w, r)
		})
		got := caller{handler: flaky}.run(t.Context(), "status", "n1", "--watch")
		require.Equal(t, 0, got.code, got.err)
		require.Equal(t, 1, strings.Count(got.err, "connection reset"), got.err)
	})
	synctest.Test(t, func(t *testing.T) {
		got := caller{handler: http.HandlerFunc(lose)}.run(t.Context(), "status", "n1", "--watch")
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.err, "belfry status --watch n1")
	})
}
