package channel

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func newHTTPServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSendGridsAnswersAreSorted(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	said := `{"errors":[{"message":"No.","field":"a.b"},{"message":"And no.","field":null}]}`
	down := notify.Outcome{Kind: notify.OutcomeTransient, Down: true}
	setup := notify.Outcome{Kind: notify.OutcomeTransient, Reason: notify.ReasonProviderError, Down: true}
	rejected := notify.Outcome{Kind: notify.OutcomePermanent, Reason: notify.ReasonRejected}
	limited := func(after time.Duration) notify.Outcome {
		return notify.Outcome{Kind: notify.OutcomeTransient, RetryAfter: after}
	}
	tests := []struct {
		name   string
		status int
		header map[string]string
		want   notify.Outcome
	}{
		{"400", 400, nil, rejected},
		{"413", 413, nil, rejected},
		{"415", 415, nil, rejected},
		{"401, a wrong key", 401, nil, setup},
		{"403, a sender not verified", 403, nil, setup},
		{"404, not SendGrid", 404, nil, setup},
		{"405, not SendGrid", 405, nil, setup},
		{"200, valid but not queued", 200, nil, setup},
		{"301", 301, map[string]string{"Location": "/elsewhere"}, setup},
		{"307, which would repeat the POST", 307, map[string]string{"Location": "/elsewhere"}, setup},
		{"408", 408, nil, notify.Outcome{Kind: notify.OutcomeTransient}},
		{"429", 429, nil, limited(0)},
		{"429 until a moment", 429, map[string]string{"X-RateLimit-Reset": in(42 * time.Second)}, limited(42 * time.Second)},
		{"429 until a moment past", 429, map[string]string{"X-RateLimit-Reset": in(-time.Minute)}, limited(0)},
		{"429 until next year", 429, map[string]string{"X-RateLimit-Reset": in(9000 * time.Hour)}, limited(time.Hour)},
		{"429 until nonsense", 429, map[string]string{"X-RateLimit-Reset": "soon", "Retry-After": "-5"}, limited(0)},
		{"429 for seconds", 429, map[string]string{"Retry-After": "7"}, limited(7 * time.Second)},
		{"429 until a date", 429, map[string]string{"Retry-After": now.Add(9 * time.Second).Format(http.TimeFormat)}, limited(9 * time.Second)},
		{"429 with both", 429, map[string]string{"Retry-After": "7", "X-RateLimit-Reset": in(8 * time.Second)}, limited(8 * time.Second)},
		{"500", 500, nil, down},
		{"503", 503, nil, down},
		{"503 for seconds", 503, map[string]string{"Retry-After": "3"}, notify.Outcome{Kind: notify.OutcomeTransient, Down: true, RetryAfter: 3 * time.Second}},
		{"502, in doubt", 502, nil, notify.Outcome{Kind: notify.OutcomeUnknown, Down: true}},
		{"504, in doubt", 504, nil, notify.Outcome{Kind: notify.OutcomeUnknown, Down: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := newHTTPServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != mailSendPath {
					t.Errorf("a redirect was followed to %s", r.URL)
				}
				for name, value := range test.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, said)
			})
			provider := newTestSendGrid(t, url, nil)
			provider.now = func() time.Time { return now }
			test.want.Detail = strconv.Itoa(test.status) + " a.b: No.; And no."
			require.Equal(t, test.want, provider.Send(t.Context(), sendGridMessage()))
		})
	}
}

func TestWhatSendGridSaysIsBoundedAndHoldsNoKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, want string }{
		"the key":     {`{"errors":[{"message":"bad key ` + testSendGridKey + `"}]}`, "400 bad key ***"},
		"a page":      {"<html>" + testSendGridKey, "400 Bad Request"},
		"nothing":     {"", "400 Bad Request"},
		"line breaks": {`{"errors":[{"message":"a\r\nb"}]}`, "400 a  b"},
		"very much":   {`{"errors":[{"message":"` + strings.Repeat("ü", 1000) + `"}]}`, "400 " + strings.Repeat("ü", 248)},
		"endless":     {strings.Repeat(" ", 2*maxAnswer) + `{"errors":[{"message":"late"}]}`, "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newHTTPServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, test.body)
			})
			o := newTestSendGrid(t, url, nil).Send(t.Context(), sendGridMessage())
			require.Equal(t, test.want, o.Detail)
			require.LessOrEqual(t, len(o.Detail), maxDetail)
		})
	}
}

func TestAWrongKeyIsForAnOperator(t *testing.T) {
	t.Parallel()
	provider := newTestSendGrid(t, newSendGridServer(t).URL, func(c *SendGridConfig) { c.APIKey = "SG.wrong" })
	o := provider.Send(t.Context(), sendGridMessage())
	require.Equal(t, notify.Outcome{
		Kind: notify.OutcomeTransient, Reason: notify.ReasonProviderError, Down: true,
		Detail: "401 The provided authorization grant is invalid, expired, or revoked",
	}, o)
}

func TestNobodyThereIsTransient(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	o := newTestSendGrid(t, url, nil).Send(t.Context(), sendGridMessage())
	require.Equal(t, notify.OutcomeTransient, o.Kind)
	require.True(t, o.Down)
	require.Contains(t, o.Detail, "connect: ")
}

func TestARequestCutShortIsTransient(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); served.Wait() })
	m := sendGridMessage()
	m.Email.HTML = strings.Repeat("x", 30<<20) // more than the kernel takes in
	o := newTestSendGrid(t, "http://"+listener.Addr().String(), nil).Send(t.Context(), m)
	require.Equal(t, notify.OutcomeTransient, o.Kind)
	require.True(t, o.Down)
}

func TestNoAnswerIsInDoubt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		timeout time.Duration
		says    string
	}{
		"hung up": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}, 0, "answer: the server closed the connection"},
		"silence": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, 2 * time.Second, "answer: the time for this attempt was over"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			url := newHTTPServer(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); test.answer(w, r) })
			provider := newTestSendGrid(t, url, func(c *SendGridConfig) { c.Timeout = test.timeout })
			o := provider.Send(t.Context(), sendGridMessage())
			require.Equal(t, notify.Outcome{Kind: notify.OutcomeUnknown, Detail: test.says, Down: true}, o)
			require.EqualValues(t, 1, calls.Load(), "what may be out is not repeated")
		})
	}
}

func TestTheDeadlineIsKept(t *testing.T) {
	t.Parallel()
	url := newHTTPServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	o := newTestSendGrid(t, url, nil).Send(ctx, sendGridMessage())
	require.Equal(t, notify.OutcomeUnknown, o.Kind)
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestAnAnswerThatBreaksOffCounts(t *testing.T) {
	t.Parallel()
	url := newHTTPServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Message-Id", "abc")
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusAccepted)
	})
	o := newTestSendGrid(t, url, nil).Send(t.Context(), sendGridMessage())
	require.Equal(t, notify.Outcome{Kind: notify.OutcomeSent, ProviderID: "abc"}, o)
}

func TestACancelDoesNotMakeASentMessageDoubtful(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := newHTTPServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		w.WriteHeader(http.StatusAccepted)
	})
	provider := newTestSendGrid(t, url, nil)
	require.Equal(t, notify.OutcomeSent, provider.Send(ctx, sendGridMessage()).Kind)
	o := provider.Send(ctx, sendGridMessage())
	require.Equal(t, notify.OutcomeTransient, o.Kind, "cancelled before anything was written")
	require.False(t, o.Down)
}

func TestNoMoreRequestsThanConfigured(t *testing.T) {
	t.Parallel()
	arrived, proceed := make(chan struct{}), make(chan struct{})
	url := newHTTPServer(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-proceed
		w.WriteHeader(http.StatusAccepted)
	})
	provider := newTestSendGrid(t, url, func(c *SendGridConfig) { c.MaxConnections = 1 })
	first := make(chan notify.Outcome)
	go func() { first <- provider.Send(t.Context(), sendGridMessage()) }()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	o := provider.Send(ctx, sendGridMessage())
	require.Equal(t, notify.Outcome{
		Kind: notify.OutcomeTransient, Detail: "wait for a connection: the time for this attempt was over",
	}, o)
	close(proceed)
	require.Equal(t, notify.OutcomeSent, (<-first).Kind)
}

func TestAClosedSendGridIsTransient(t *testing.T) {
	t.Parallel()
	provider := newTestSendGrid(t, newSendGridServer(t).URL, nil)
	require.NoError(t, provider.Close())
	o := provider.Send(t.Context(), sendGridMessage())
	require.Equal(t, notify.Outcome{Kind: notify.OutcomeTransient, Detail: "the provider is closed"}, o)
}
