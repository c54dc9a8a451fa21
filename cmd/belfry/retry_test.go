package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A try is one request that a flaky server got.
type try struct {
	after time.Duration // since the first one
	key   string
	body  string
}

// flaky is a server that accepts a notification after some failures.
type flaky struct {
	failures []http.HandlerFunc
	mu       sync.Mutex
	began    time.Time
	tries    []try
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tries) == 0 {
		f.began = time.Now()
	}
	body, _ := io.ReadAll(r.Body)
	f.tries = append(f.tries, try{time.Since(f.began), r.Header.Get("Idempotency-Key"), string(body)})
	if n := len(f.tries); n <= len(f.failures) {
		f.failures[n-1](w, r)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"id":"n1","status":"sending"}`)
}

func lose(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// status answers with a status, and a header Retry-After unless that is empty.
func status(code int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		problem(w, code, "MongoDB is away")
	}
}

func always(fail http.HandlerFunc) []http.HandlerFunc {
	failures := make([]http.HandlerFunc, 100)
	for i := range failures {
		failures[i] = fail
	}
	return failures
}

var sendOne = []string{"send", "--template", "welcome", "--to", "ann@example.com"}

func TestSendTriesAgainUnderTheSameKey(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		failures []http.HandlerFunc
	}{
		{"at once", nil},
		{"answers were lost", []http.HandlerFunc{lose, lose}},
		{"no answer came in time", []http.HandlerFunc{hang}},
		{"a neighbour was away", []http.HandlerFunc{status(503, "5"), status(503, "")}},
		{"too many requests", []http.HandlerFunc{status(429, "1")}},
		{"a proxy found no server", []http.HandlerFunc{status(502, ""), status(504, "")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &flaky{failures: test.failures}
				got := caller{handler: server}.run(t.Context(), sendOne...)
				require.Equal(t, 0, got.code, got.err)
				require.Equal(t, "n1\n", got.out)
				require.Len(t, server.tries, len(test.failures)+1)
				for _, try := range server.tries {
					require.Len(t, try.key, 36)
					require.Equal(t, server.tries[0].key, try.key)
					require.Equal(t, server.tries[0].body, try.body)
				}
				require.Equal(t, min(1, len(test.failures)), strings.Count(got.err, "\n"), "said once: %s", got.err)
			})
		})
	}
}

func TestSendWaitsAsLongAsItIsAskedTo(t *testing.T) {
	t.Parallel()
	for header, pause := range map[string]time.Duration{
		"7": 7 * time.Second, "Sat, 01 Jan 2000 00:00:12 GMT": 12 * time.Second, // synctest's time begins at midnight
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &flaky{failures: []http.HandlerFunc{status(503, header)}}
			require.Equal(t, 0, caller{handler: server}.run(t.Context(), sendOne...).code)
			require.Equal(t, pause, server.tries[1].after, header)
		})
	}
}

func TestSendGivesUp(t *testing.T) {
	t.Parallel()
	t.Run("after half a minute, and tells the key", func(t *testing.T) {
		t.Parallel()
		for _, fail := range []http.HandlerFunc{lose, hang, status(503, ""), status(503, "5"), status(503, "0")} {
			synctest.Test(t, func(t *testing.T) {
				server := &flaky{failures: always(fail)}
				got := caller{handler: server}.run(t.Context(), sendOne...)
				require.Equal(t, exitFailed, got.code)
				require.Contains(t, got.err, "--idempotency-key "+server.tries[0].key)
				require.LessOrEqual(t, time.Since(server.began), patience+requestTimeout)
				require.GreaterOrEqual(t, time.Since(server.began), patience-maxPause*3/2)
				require.Less(t, len(server.tries), 30)
			})
		}
	})
	t.Run("at once when the server asks for a longer wait", func(t *testing.T) {
		t.Parallel()
		for _, header := range []string{"31", "9223372036854775807", "Sat, 01 Jan 2050 00:00:00 GMT"} {
			synctest.Test(t, func(t *testing.T) {
				server := &flaky{failures: always(status(503, header))}
				require.Equal(t, exitFailed, caller{handler: server}.run(t.Context(), sendOne...).code)
				require.Len(t, server.tries, 1, header)
				require.Zero(t, time.Since(server.began))
			})
		}
	})
	t.Run("at once when it is refused", func(t *testing.T) {
		t.Parallel()
		for _, code := range []int{301, 400, 401, 404, 409, 413, 422, 500} {
			server := &flaky{failures: always(status(code, ""))}
			got := caller{handler: server}.run(t.Context(), sendOne...)
			require.Equal(t, exitFailed, got.code)
			require.Len(t, server.tries, 1)
			require.NotContains(t, got.err, "--idempotency-key", "it was not accepted")
		}
	})
	t.Run("when it is interrupted, and tells the key", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithTimeoutCause(t.Context(), 10*time.Second, context.Canceled)
			defer interrupt()
			server := &flaky{failures: always(hang)}
			got := caller{handler: server}.run(ctx, sendOne...)
			require.Equal(t, exitInterrupted, got.code)
			require.Contains(t, got.err, "--idempotency-key "+server.tries[0].key)
			require.Equal(t, 10*time.Second, time.Since(server.began))
		})
	})
}

func TestSendSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	accepting := &flaky{failures: []http.HandlerFunc{lose}}
	server := httptest.NewServer(accepting)
	defer server.Close()
	var out strings.Builder
	env := &environment{out: &out, err: io.Discard, http: server.Client()}
	require.Equal(t, 0, execute(t.Context(), append(sendOne, "--server", server.URL), env))
	require.Equal(t, "n1\n", out.String())
	require.Len(t, accepting.tries, 2)
	require.Equal(t, accepting.tries[0].key, accepting.tries[1].key)
}

// endless is a terminal at which nobody types.
type endless struct{ closed chan struct{} }

func (e endless) Read([]byte) (int, error) {
	<-e.closed
	return 0, io.EOF
}

func TestWaitingForInputCanBeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	terminal := endless{make(chan struct{})}
	defer close(terminal.closed)
	env := &environment{in: terminal, out: io.Discard, err: io.Discard, http: newHTTPClient()}
	require.Equal(t, exitInterrupted, execute(ctx, append(sendOne, "--data", "-"), env))
}
