package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"

	"github.com/belfry-notify/belfry/internal/access"
)

// Limits say how much may be asked of the API.
type Limits struct {
	Rate           int            // requests of one caller in a Period; 0: any number
	Period         time.Duration  // of the rate
	InFlight       int            // requests at a time; 0: defaultInFlight
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
}

// How a request that is not answered at once is held.
const (
	bodyTimeout     = 10 * time.Second       // for a body of up to maxBody to come
	answerTimeout   = 8 * time.Second        // for the handler, whatever it waits for
	queueTimeout    = 250 * time.Millisecond // for one of the places
	defaultInFlight = 256
)

// busyRetryAfter is what callers are asked to wait when there is no place.
const busyRetryAfter = "1"

// recovered answers where a handler panics, and logs that.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
				panic(p)
			}
			s.log.Error("request failed", "method", r.Method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			writeProblem(w, newProblem(http.StatusInternalServerError, "something went wrong inside Belfry"))
		}()
		next.ServeHTTP(w, r)
	})
}

// clientAddress finds out where a request comes from: from the connection, or,
// where that is a trusted proxy's, from X-Forwarded-For, the right-most address
// of which that is none of theirs.
func (s *Server) clientAddress(next http.Handler) http.Handler {
	if len(s.Limits.TrustedProxies) == 0 {
		return middleware.ClientIPFromRemoteAddr(next)
	}
	trusted := make([]string, len(s.Limits.TrustedProxies))
	for i, prefix := range s.Limits.TrustedProxies {
		trusted[i] = prefix.String()
	}
	return middleware.ClientIPFromXFF(trusted...)(next)
}

// clientOf is where a request comes from, for limits and logs.
func clientOf(ctx context.Context) string { return middleware.GetClientIP(ctx) }

// newLimiter counts the requests of each caller; nil where there is no limit.
// Each process counts for itself.
func newLimiter(l Limits) *httprate.RateLimiter {
	if l.Rate == 0 {
		return nil
	}
	return httprate.NewRateLimiter(l.Rate, l.Period, httprate.WithResponseHeaders(httprate.ResponseHeaders{
		Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", Reset: resetHeader, RetryAfter: "Retry-After",
	}))
}

// resetHeader says in how many seconds the rate is counted anew
// (draft-ietf-httpapi-ratelimit-headers-07).
const resetHeader = "RateLimit-Reset"

// limited holds each caller to the rate.
func (s *Server) limited(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	if !s.overLimit(ctx.Context(), w, r) {
		next(ctx)
	}
}

// overLimit refuses a request that is over the rate of the caller in ctx. Who
// is not known is held to it by address: an IPv6 one by its network, which is
// one client's.
func (s *Server) overLimit(ctx context.Context, w http.ResponseWriter, r *http.Request) bool {
	if s.limiter == nil {
		return false
	}
	over := s.limiter.OnLimit(w, r, callerKey(ctx))
	if at, err := strconv.ParseInt(w.Header().Get(resetHeader), 10, 64); err == nil { // httprate's is a Unix time
		w.Header().Set(resetHeader, strconv.FormatInt(max(0, at-time.Now().Unix()), 10))
	}
	if over {
		s.log.DebugContext(ctx, "over the rate limit", "caller", access.From(ctx).ID, "client", clientOf(ctx))
		writeProblem(w, newProblem(http.StatusTooManyRequests,
			fmt.Sprintf("more than %d requests in %s: try again later", s.Limits.Rate, s.Limits.Period)))
	}
	return over
}

func callerKey(ctx context.Context) string {
	if id := access.From(ctx).ID; id != "" && id != access.Anyone.ID {
		return id
	}
	return "address/" + httprate.CanonicalizeIP(clientOf(ctx))
}

// admitted lets so many calls in at a time, each for a time that is bounded.
// When a neighbour is slow and all places are taken, others are told so soon,
// and do not pile up. A call has no place while its body comes: clients that
// send slowly take none from others. An upload has limits of its own.
func (s *Server) admitted(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	path := ctx.Operation().Path
	if path == audiencesPath && ctx.Method() == http.MethodPost {
		next(ctx)
		return
	}
	timeout, limit := answerTimeout, maxBody
	if strings.HasPrefix(path, webhooksPath) {
		timeout, limit = webhookTimeout, maxWebhookBody
	}
	if hasBody(r) {
		if p := readBody(w, r, int64(limit)); p != nil {
			w.Header().Set("Connection", "close") // the rest of the body is not waited for
			writeProblem(w, p)
			return
		}
	}
	if !s.places.enter(ctx.Context()) {
		writeProblem(w, busy())
		return
	}
	defer s.places.leave()
	limited, cancel := context.WithTimeout(ctx.Context(), timeout)
	defer cancel()
	next(huma.WithContext(ctx, limited))
}

// busy is what is answered where there is no place.
func busy() *problem {
	status := http.StatusServiceUnavailable
	return &problem{
		Title: http.StatusText(status), Status: status, Code: codeFor(status), retryAfter: busyRetryAfter,
		Detail: "Belfry has as many requests under way as it takes at a time; try again",
	}
}

// readBody reads the body of a call, which is then at hand. Where it is refused,
// its deadline stays, for net/http reads a part of what is left.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) huma.StatusError {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // a connection without deadlines has none to be moved
	var body bytes.Buffer
	n, err := body.ReadFrom(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("the body did not come within %s", bodyTimeout))
	case err != nil:
		return newProblem(http.StatusUnprocessableEntity, "the body broke off, or is not what its headers say")
	case n > limit:
		return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf(humaTooLarge, limit+1))
	}
	_ = control.SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(&body)
	return nil
}

// places are for calls under way.
type places struct {
	taken   chan struct{}
	waiting chan struct{} // as many may wait for a place
}

func newPlaces(n int) places {
	return places{taken: make(chan struct{}, n), waiting: make(chan struct{}, n)}
}

// enter takes a place, if there is one within queueTimeout.
func (p places) enter(ctx context.Context) bool {
	select {
	case p.taken <- struct{}{}:
		return true
	default:
	}
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return false
	}
	timer := time.NewTimer(queueTimeout)
	defer timer.Stop()
	select {
	case p.taken <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (p places) leave() { <-p.taken }
