package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

// fromHeader says where a request of a test comes from, as a connection does.
const fromHeader, callerHeader = "Test-From", "Authorization"

// byName lets in everybody but a stranger, under the name that they give.
type byName struct{}

func (byName) Authenticate(_ context.Context, bearer string) (access.Caller, error) {
	switch bearer {
	case "":
		return access.Anyone, nil
	case "stranger":
		return access.Caller{}, &notify.Error{Code: notify.CodeUnauthorized, Detail: "who is that?"}
	}
	return access.Caller{ID: bearer, Scopes: []access.Scope{access.ScopeTemplates}}, nil
}

func (byName) Forget(string) {}

// behind puts a server behind what stands in for connections from anywhere and
// for authentication.
func (s *server) behind(limits api.Limits) *server {
	other := s.again(func(cfg *api.Config) { cfg.Limits, cfg.Access = limits, byName{} })
	handler := other.http.Config.Handler
	other.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := r.Header.Get(fromHeader); from != "" {
			r.RemoteAddr = from
		}
		handler.ServeHTTP(w, r)
	})
	return other
}

func TestACallerHasARate(t *testing.T) {
	t.Parallel()
	s := newServer(t).behind(api.Limits{Rate: 3, Period: time.Hour})
	times := func(n int, path string, header ...string) []int {
		statuses := make([]int, n)
		for i := range statuses {
			response, _ := s.ask(http.MethodGet, path, nil, header...)
			statuses[i] = response.StatusCode
		}
		return statuses
	}
	within, over := []int{200, 200, 200}, []int{200, 200, 200, 429, 429}
	require.Equal(t, over, times(5, "/v1/templates", callerHeader, "Bearer key/1", fromHeader, "192.0.2.1:1000"))
	require.Equal(t, within, times(3, "/v1/templates", callerHeader, "Bearer key/2", fromHeader, "192.0.2.1:1000"), "another caller from the same address")
	require.Equal(t, []int{429}, times(1, "/v1/templates", callerHeader, "Bearer key/1", fromHeader, "192.0.2.2:1000"), "the same caller from another address")
	require.Equal(t, over, times(5, "/v1/templates", fromHeader, "192.0.2.1:1000"), "nobody known, by address")
	require.Equal(t, []int{429}, times(1, "/v1/templates", fromHeader, "192.0.2.1:2000"), "from another port")
	require.Equal(t, []int{429}, times(1, "/v1/templates", fromHeader, "192.0.2.1:2000", "X-Forwarded-For", "198.51.100.1"), "whatever it says of itself")
	require.Equal(t, over, times(5, "/v1/templates", fromHeader, "[2001:db8::1]:1000"))
	require.Equal(t, []int{429}, times(1, "/v1/templates", fromHeader, "[2001:db8::ffff:1]:1000"), "from the same IPv6 network")
	for _, free := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"} {
		require.Equal(t, []int{200, 200, 200, 200}, times(4, free, fromHeader, "192.0.2.9:1000"), free)
	}
	require.Equal(t, []int{404, 422, 200}, append(append(times(1, "/v1/templates/none", fromHeader, "192.0.2.8:1"), times(1, "/v1/templates?limit=0", fromHeader, "192.0.2.8:1")...), times(1, "/v1/templates", fromHeader, "192.0.2.8:1")...))
	require.Equal(t, []int{429}, times(1, "/v1/templates", fromHeader, "192.0.2.8:1"), "what is refused counts too")
}

// Whoever guesses keys has a rate, by address; it keeps nobody else out.
func TestARateOfThoseWhoAreNotLetIn(t *testing.T) {
	t.Parallel()
	s := newServer(t).behind(api.Limits{Rate: 2, Period: time.Hour})
	ask := func(bearer, path string) int {
		response, _ := s.ask(http.MethodGet, path, nil, callerHeader, "Bearer "+bearer, fromHeader, "192.0.2.1:1")
		return response.StatusCode
	}
	for _, want := range []int{401, 401, 429, 429} {
		require.Equal(t, want, ask("stranger", "/v1/templates"))
	}
	require.Equal(t, 200, ask("key/1", "/v1/templates"), "from the same address")
	require.Equal(t, 403, ask("key/1", "/v1/keys"), "what one has no right to counts")
	require.Equal(t, 429, ask("key/1", "/v1/keys"))
	require.Equal(t, 429, ask("key/1", "/v1/templates"))
}

func TestARateIsToldInHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(t).behind(api.Limits{Rate: 2, Period: time.Hour})
	for _, remaining := range []string{"1", "0", "0"} {
		response, text := s.ask(http.MethodGet, "/v1/templates", nil)
		require.Equal(t, "2", response.Header.Get("RateLimit-Limit"))
		require.Equal(t, remaining, response.Header.Get("RateLimit-Remaining"))
		reset, err := strconv.Atoi(response.Header.Get("RateLimit-Reset"))
		require.NoError(t, err)
		require.GreaterOrEqual(t, reset, 0)
		require.LessOrEqual(t, reset, 3600)
		if response.StatusCode == http.StatusOK {
			require.Empty(t, response.Header.Get("Retry-After"))
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, response.StatusCode)
		require.Equal(t, "3600", response.Header.Get("Retry-After"))
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
		var p problem
		require.NoError(t, json.Unmarshal(text, &p))
		require.Equal(t, problem{Title: "Too Many Requests", Status: 429, Code: "too_many_requests", Detail: "more than 2 requests in 1h0m0s: try again later"}, p)
	}
	without, _ := newServer(t).ask(http.MethodGet, "/v1/templates", nil)
	require.Empty(t, without.Header.Get("RateLimit-Limit"), "there is no limit unless it is set")
}

// The right-most address that is no trusted proxy's is the client's.
func TestWhomATrustedProxyForwardsFor(t *testing.T) {
	t.Parallel()
	s := newServer(t).behind(api.Limits{Rate: 1, Period: time.Hour, TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48"),
	}})
	over := func(from string, forwarded ...string) bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http.URL+"/v1/templates", nil)
		require.NoError(t, err)
		request.Header.Set(fromHeader, from)
		request.Header["X-Forwarded-For"] = forwarded
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		response.Body.Close()
		return response.StatusCode == http.StatusTooManyRequests
	}
	require.False(t, over("10.0.0.1:1", "192.0.2.1"))
	for name, same := range map[string]bool{
		"another proxy":                     over("10.9.9.9:1", "192.0.2.1"),
		"an IPv6 proxy":                     over("[2001:db8:1::7]:1", "192.0.2.1"),
		"a chain of proxies":                over("10.0.0.1:1", "192.0.2.1, 10.0.0.2, 10.0.0.3"),
		"more than one header":              over("10.0.0.1:1", "192.0.2.1", "10.0.0.2"),
		"what the client had said itself":   over("10.0.0.1:1", "198.51.100.99, 192.0.2.1"),
		"a trusted address of the client's": over("10.0.0.1:1", "10.7.7.7, 192.0.2.1"),
		"an IPv4 address in IPv6":           over("10.0.0.1:1", "::ffff:192.0.2.1"),
		"without a proxy":                   over("192.0.2.1:1", "198.51.100.98"),
	} {
		require.True(t, same, name)
	}
	require.False(t, over("10.0.0.1:1", "192.0.2.2"), "another client by the same proxy")
	require.False(t, over("203.0.113.1:1", "192.0.2.3"), "somebody who is no proxy")
	require.True(t, over("203.0.113.1:1", "192.0.2.4"))
}

// stuck is a Temporal that answers nothing until it is released.
type stuck struct {
	*starts
	entered chan struct{} // one for each that waits
	release chan struct{}
}

func (s stuck) Cancel(ctx context.Context, _ string) (activities.Result, error) {
	return activities.Result{}, s.wait(ctx)
}

func (s stuck) Pause(ctx context.Context, _ string) error { return s.wait(ctx) }

func (s stuck) wait(context.Context) error {
	s.entered <- struct{}{}
	<-s.release
	return nil
}

// TestWhenAllPlacesAreTaken has calls hang, and others told so at once.
func TestWhenAllPlacesAreTaken(t *testing.T) {
	t.Parallel()
	hanging := stuck{starts: &starts{}, entered: make(chan struct{}, 4), release: make(chan struct{})}
	s := newServer(t).again(func(cfg *api.Config) { cfg.Starter, cfg.Limits.InFlight = hanging, 4 })
	welcome(s)
	accepted := get[struct{ ID string }](s, http.MethodPost, "/v1/notifications", 202, object{"template": "welcome", "to": to("a@b.c"), "data": object{"film": "x"}})

	var group sync.WaitGroup
	statuses := make(chan int, 4)
	for range 4 {
		group.Go(func() {
			response, err := http.Post(s.http.URL+"/v1/notifications/"+accepted.ID+"/pause", "application/json", nil)
			if err == nil {
				response.Body.Close()
				statuses <- response.StatusCode
			}
		})
	}
	for range 4 {
		<-hanging.entered
	}
	began := time.Now()
	p := s.refused(http.MethodGet, "/v1/templates/welcome", 503, nil)
	require.Less(t, time.Since(began), 2*time.Second, "told soon")
	require.Equal(t, "unavailable", p.Code)
	response, _ := s.ask(http.MethodPost, "/v1/templates", object{})
	require.Equal(t, 503, response.StatusCode)
	require.Equal(t, "1", response.Header.Get("Retry-After"))
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		response, _ := s.ask(http.MethodGet, path, nil)
		require.Equal(t, 200, response.StatusCode, "operators are answered")
	}
	close(hanging.release)
	group.Wait()
	for range 4 {
		require.Contains(t, []int{200, 503}, <-statuses, "a slow machine may have kept them longer than a call is let wait")
	}
	get[any](s, http.MethodGet, "/v1/templates/welcome", 200, nil)
}

// A client that sends its body slowly has no place meanwhile.
func TestABodyThatComesSlowlyTakesNoPlace(t *testing.T) {
	t.Parallel()
	s := newServer(t).again(func(cfg *api.Config) { cfg.Limits.InFlight = 1 })
	body, rest := io.Pipe()
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.http.URL+"/v1/templates", io.MultiReader(strings.NewReader("{"), body))
			if err != nil {
				return
			}
			request.Header.Set("Content-Type", "application/json")
			if response, err := http.DefaultClient.Do(request); err == nil {
				response.Body.Close()
			}
		})
	}
	for range 20 {
		get[any](s, http.MethodGet, "/v1/templates", 200, nil)
	}
	require.NoError(t, rest.Close())
	group.Wait()
}

// What panics is a problem without details; they are in the log.
func TestAPanicIsAProblem(t *testing.T) {
	t.Parallel()
	var log syncText
	s := newServer(t).again(func(cfg *api.Config) {
		cfg.Log = log.logger()
		cfg.Checks = map[string]api.Check{}
		cfg.UILink = func(string) string { panic("hunter2") }
	})
	welcome(s)
	p := s.refused(http.MethodPost, "/v1/notifications", 500, object{"template": "welcome", "to": to("a@b.c"), "data": object{"film": "x"}})
	require.Equal(t, problem{Title: "Internal Server Error", Status: 500, Code: "internal", Detail: "something went wrong inside Belfry"}, p)
	require.Contains(t, log.String(), "hunter2")
	require.Contains(t, log.String(), "stack=")
}

func TestMetricsSayHowTheProcessIs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	response, text := s.ask(http.MethodGet, "/metrics", nil)
	require.Equal(t, 200, response.StatusCode)
	for _, metric := range []string{"go_goroutines ", "process_resident_memory_bytes ", "process_open_fds "} {
		require.Contains(t, string(text), "\n"+metric)
	}
	refused := httptest.NewRecorder()
	s.http.Config.Handler.ServeHTTP(refused, httptest.NewRequest(http.MethodPost, "/metrics", nil))
	require.Equal(t, 405, refused.Code)
}
