package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/internal/template"
	"github.com/belfry-notify/belfry/workflows"
)

// starts stands in for Temporal: it keeps what was started. The end-to-end
// tests have the real one.
type starts struct {
	mu      sync.Mutex
	started []*notify.Notification
	retried []string // the claims that reopened
	err     error
}

func (s *starts) Start(_ context.Context, n *notify.Notification) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.started = append(s.started, n)
	}
	return s.err
}

func (s *starts) Redeliver(_ context.Context, in workflows.RedeliveryInput) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retried = append(s.retried, notify.ClaimID(in.DeliveryID, in.Claim))
	return s.err
}

func (s *starts) Cancel(context.Context, string) (activities.Result, error) {
	return activities.Result{}, s.err
}
func (s *starts) Reschedule(context.Context, string, time.Time) error { return s.err }
func (s *starts) Pause(context.Context, string) error                 { return s.err }
func (s *starts) Resume(context.Context, string) error                { return s.err }

// A server is the API over a real store.
type server struct {
	t      *testing.T
	http   *httptest.Server
	uri    string // of the store
	store  *store.Store
	starts *starts
}

func newServer(t *testing.T) *server {
	t.Helper()
	uri := mongotest.NewURI(t)
	kept, err := store.Open(uri)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close(context.WithoutCancel(t.Context()))) })
	return (&server{t: t, uri: uri, store: kept, starts: &starts{}}).again(func(*api.Config) {})
}

// again is another process over the same store, configured in another way.
func (s *server) again(configure func(*api.Config)) *server {
	s.t.Helper()
	cfg := api.Config{
		Version: "test", Access: &access.Authenticator{}, Store: s.store, Templates: template.New(), Starter: s.starts, Providers: []string{"smtp"},
		Checks: map[string]api.Check{
			"mongo":    s.store.Ping,
			"temporal": func(context.Context) error { return s.starts.err },
		},
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	configure(&cfg)
	served, err := api.NewServer(cfg)
	require.NoError(s.t, err)
	other := &server{t: s.t, uri: s.uri, store: s.store, starts: s.starts, http: httptest.NewServer(served.Handler())}
	s.t.Cleanup(other.http.Close)
	return other
}

type problem struct {
	Title  string              `json:"title"`
	Status int                 `json:"status"`
	Detail string              `json:"detail"`
	Code   string              `json:"code"`
	Errors []notify.FieldError `json:"errors"`
}

// locations are where a problem says that something is wrong.
func (p problem) locations() []string {
	locations := make([]string, len(p.Errors))
	for i, e := range p.Errors {
		locations[i] = e.Location
	}
	return locations
}

// ask sends a request; a body that is no text is sent as JSON.
func (s *server) ask(method, path string, body any, header ...string) (*http.Response, []byte) {
	s.t.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		encoded, err := json.Marshal(body)
		require.NoError(s.t, err)
		text = string(encoded)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, bytes.NewBufferString(text))
	require.NoError(s.t, err)
	if text != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	var answer bytes.Buffer
	_, err = answer.ReadFrom(response.Body)
	require.NoError(s.t, err)
	return response, answer.Bytes()
}

// get sends a request that must be answered with the status, and decodes the
// answer.
func get[T any](s *server, method, path string, status int, body any) T {
	s.t.Helper()
	response, text := s.ask(method, path, body)
	require.Equal(s.t, status, response.StatusCode, "%s %s: %s", method, path, text)
	var answer T
	if len(text) > 0 {
		require.NoError(s.t, json.Unmarshal(text, &answer), "%s", text)
	}
	return answer
}

// refused sends a request that must be refused with the status.
func (s *server) refused(method, path string, status int, body any) problem {
	s.t.Helper()
	response, text := s.ask(method, path, body)
	require.Equal(s.t, status, response.StatusCode, "%s %s: %s", method, path, text)
	require.Equal(s.t, "application/problem+json", response.Header.Get("Content-Type"))
	var p problem
	require.NoError(s.t, json.Unmarshal(text, &p), "%s", text)
	require.Equal(s.t, status, p.Status)
	require.NotEmpty(s.t, p.Title)
	require.NotEmpty(s.t, p.Detail)
	require.NotEmpty(s.t, p.Code)
	return p
}

func email(subject, html string) map[string]any {
	return map[string]any{"email": map[string]any{"subject": subject, "html": html}}
}

func welcome(s *server) {
	s.t.Helper()
	get[notify.Template](s, http.MethodPost, "/v1/templates", http.StatusCreated,
		map[string]any{"name": "welcome", "channels": email("Hi {{ film }}", "<p>{{ film }}</p>")})
}

type object = map[string]any

func to(emails ...string) []object {
	recipients := []object{}
	for _, e := range emails {
		recipients = append(recipients, object{"email": e})
	}
	return recipients
}

func TestOfABodyThatIsNoObjectOnlyThatIsSaid(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, path := range []string{"/v1/notifications", "/v1/templates"} {
		for _, body := range []string{`{"to":`, `{} {}`, `{"name":1,"name":2}`, `[]`, `null`, `17`} {
			require.Equal(t, []string{"body"}, s.refused(http.MethodPost, path, 422, body).locations(), "%s %s", path, body)
		}
	}
}

func TestABodyMayBeOneMebibyteLong(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	body := func(length int) string { return `{"name":"` + strings.Repeat("x", length-len(`{"name":""}`)) + `"}` }
	s.refused(http.MethodPost, "/v1/templates", 422, body(1<<20))
	require.Equal(t, "the body is longer than 1,048,576 bytes", s.refused(http.MethodPost, "/v1/templates", 413, body(1<<20+1)).Detail)
}

func TestAnotherContentTypeIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "", "application/xml"} {
		response, text := s.ask(http.MethodPost, "/v1/notifications", `{"to":[]}`, "Content-Type", contentType)
		require.Equal(t, 415, response.StatusCode, "%q: %s", contentType, text)
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
	}
	response, _ := s.ask(http.MethodPost, "/v1/notifications", `{}`, "Content-Type", "Application/JSON; charset=utf-8")
	require.Equal(t, 422, response.StatusCode)
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	require.Equal(t, "not_found", s.refused(http.MethodGet, "/v2", 404, nil).Code)
	require.Equal(t, "method_not_allowed", s.refused(http.MethodPatch, "/v1/templates", 405, object{}).Code)
	for path, allowed := range map[string]string{"/v1/templates": "GET, POST", "/v1/templates/x": "GET, PUT, DELETE", "/healthz": "GET"} {
		response, _ := s.ask(http.MethodPatch, path, nil)
		require.Equal(t, 405, response.StatusCode, path)
		require.Equal(t, allowed, response.Header.Get("Allow"), path)
	}
	require.Equal(t, "not_found", s.refused(http.MethodGet, "/v1/notifications/"+uuid.NewString(), 404, nil).Code)
	require.Equal(t, "not_found", s.refused(http.MethodGet, "/v1/notifications/"+uuid.NewString()+"/deliveries", 404, nil).Code)
	require.Equal(t, "not_found", s.refused(http.MethodGet, "/v1/deliveries/"+uuid.NewString(), 404, nil).Code)
	for path, at := range map[string]string{
		"/v1/notifications?limit=0": "query.limit", "/v1/notifications?limit=201": "query.limit", "/v1/notifications?limit=x": "query.limit",
		"/v1/notifications?cursor=!!!": "query.cursor", "/v1/templates?cursor=bm9wZQ": "query.cursor", "/v1/notifications?status=lost": "query.status",
		"/v1/notifications?from=yesterday": "query.from", "/v1/notifications?colour=red": "query.colour", "/v1/notifications/17": "path.id",
		"/v1/deliveries?state=queued": "query.state", "/v1/templates/BAD%20NAME": "path.name", "/v1/templates/x?version=0": "query.version",
	} {
		require.Contains(t, s.refused(http.MethodGet, path, 422, nil).locations(), at, path)
	}
}

func TestTemplatesOverHTTP(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	require.JSONEq(t, `{"items":[]}`, string(second(s.ask(http.MethodGet, "/v1/templates", nil))))
	welcome(s)
	require.Equal(t, "conflict", s.refused(http.MethodPost, "/v1/templates", 409, object{"name": "welcome", "channels": email("s", "h")}).Code)

	changed := get[notify.Template](s, http.MethodPut, "/v1/templates/welcome", 200, object{"description": "second", "channels": email("Second", "<p>2</p>")})
	require.Equal(t, 2, changed.Version)
	require.Equal(t, changed, get[notify.Template](s, http.MethodGet, "/v1/templates/welcome", 200, nil))
	require.Equal(t, "Hi {{ film }}", get[notify.Template](s, http.MethodGet, "/v1/templates/welcome?version=1", 200, nil).Channels.Email.Subject)
	require.Equal(t, "template_not_found", s.refused(http.MethodGet, "/v1/templates/welcome?version=3", 404, nil).Code)
	require.Equal(t, "template_not_found", s.refused(http.MethodPut, "/v1/templates/other", 404, object{"channels": email("s", "h")}).Code)

	type preview struct {
		Channel string
		Content notify.Email
	}
	shown := get[preview](s, http.MethodPost, "/v1/templates/welcome/preview", 200,
		object{"version": 1, "data": object{"film": "<Solaris>"}, "recipient": object{"name": "Ann"}})
	require.Equal(t, preview{"email", notify.Email{Subject: "Hi <Solaris>", HTML: "<p>&lt;Solaris&gt;</p>", Text: "<Solaris>"}}, shown)
	missing := s.refused(http.MethodPost, "/v1/templates/welcome/preview", 422, object{"version": 1})
	require.Contains(t, missing.Errors[0].Message, "film")
	require.Equal(t, []string{"channels.email.subject", "channels.email.html"}, missing.locations())
	for at, data := range map[string]object{
		"body.data.recipient": {"film": "x", "recipient": "y"}, "body.data": {"film": strings.Repeat("x", 65_536)},
	} {
		require.Equal(t, []string{at}, s.refused(http.MethodPost, "/v1/templates/welcome/preview", 422, object{"version": 1, "data": data}).locations())
	}
	get[any](s, http.MethodPost, "/v1/templates", 201, object{"name": "wordless", "channels": email("s", "<img>")})
	require.JSONEq(t, `{"channel":"email","content":{"subject":"s","html":"<img>","text":""}}`,
		string(second(s.ask(http.MethodPost, "/v1/templates/wordless/preview", object{}))))

	get[any](s, http.MethodDelete, "/v1/templates/welcome", 204, nil)
	s.refused(http.MethodGet, "/v1/templates/welcome", 404, nil)
	s.refused(http.MethodDelete, "/v1/templates/welcome", 404, nil)
	anew := get[notify.Template](s, http.MethodPost, "/v1/templates", 201, object{"name": "welcome", "channels": email("s", "h")})
	require.Equal(t, 3, anew.Version)
}

func second[A, B any](_ A, b B) B { return b }

func TestBadTemplatesAreRefusedWithThePart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, test := range []struct {
		name string
		body object
		at   string
	}{
		{"no name", object{"channels": email("s", "h")}, "body"},
		{"bad name", object{"name": "-x", "channels": email("s", "h")}, "body.name"},
		{"long name", object{"name": strings.Repeat("x", 65), "channels": email("s", "h")}, "body.name"},
		{"no channel", object{"name": "x", "channels": object{}}, "body.channels"},
		{"no html", object{"name": "x", "channels": object{"email": object{"subject": "s"}}}, "body.channels.email"},
		{"unknown part", object{"name": "x", "channels": object{"email": object{"subject": "s", "html": "h", "amp": "x"}}}, "body.channels.email.amp"},
		{"Liquid error in the text", object{"name": "x", "channels": object{"email": object{"subject": "s", "html": "h", "text": "{% for %}"}}}, "body.channels.email.text"},
		{"Liquid error in the subject", object{"name": "x", "channels": email("{{", "h")}, "body.channels.email.subject"},
	} {
		require.Contains(t, s.refused(http.MethodPost, "/v1/templates", 422, test.body).locations(), test.at, test.name)
	}
	require.Empty(t, get[struct{ Items []any }](s, http.MethodGet, "/v1/templates", 200, nil).Items)
}

func TestListsGoOnWithTheirCursor(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	want := []string{}
	for i := range 5 {
		name := fmt.Sprintf("t%d", i)
		want = append(want, name)
		get[any](s, http.MethodPost, "/v1/templates", 201, object{"name": name, "channels": email("s", "h")})
	}
	seen := []string{}
	for cursor, pages := "", 0; ; pages++ {
		page := get[struct {
			Items      []notify.Template
			NextCursor string `json:"next_cursor"`
		}](s, http.MethodGet, "/v1/templates?limit=2"+cursor, 200, nil)
		for _, item := range page.Items {
			seen = append(seen, item.Name)
		}
		if page.NextCursor == "" {
			require.Equal(t, 2, pages)
			break
		}
		require.Regexp(t, `^[A-Za-z0-9_-]+$`, page.NextCursor)
		cursor = "&cursor=" + page.NextCursor
	}
	require.Equal(t, want, seen)
}

func TestReadinessNamesWhoIsAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	checks := func(status int) map[string]string {
		return get[struct{ Checks map[string]string }](s, http.MethodGet, "/readyz", status, nil).Checks
	}
	require.Equal(t, map[string]string{"mongo": "ok", "temporal": "ok"}, checks(200))
	s.starts.err = errors.New("connection refused")
	require.Equal(t, map[string]string{"mongo": "ok", "temporal": "unavailable"}, checks(503))
	s.starts.err = nil
	s = s.again(func(cfg *api.Config) {
		cfg.Informs = map[string]api.Check{
			"idp":  func(context.Context) error { return nil },
			"smtp": func(context.Context) error { return errors.New("connection refused") },
		}
	})
	require.Equal(t, map[string]string{"mongo": "ok", "temporal": "ok", "idp": "ok", "smtp": "unavailable"}, checks(200))
	require.Equal(t, map[string]string{"status": "ok"}, get[map[string]string](s, http.MethodGet, "/healthz", 200, nil))
}

func TestTheDescriptionCoversTheContractAndLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	description := get[struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]any
	}](s, http.MethodGet, "/openapi.json", 200, nil)
	require.Equal(t, "3.1.0", description.OpenAPI)
	for path, methods := range map[string][]string{
		"/v1/templates": {"get", "post"}, "/v1/templates/{name}": {"get", "put", "delete"}, "/v1/templates/{name}/preview": {"post"},
		"/v1/notifications": {"get", "post"}, "/v1/notifications/{id}": {"get"}, "/v1/notifications/{id}/deliveries": {"get"},
		"/v1/deliveries/{id}": {"get"}, "/v1/users/{user_id}/notifications": {"get"},
	} {
		for _, method := range methods {
			require.Contains(t, description.Paths[path], method, path)
		}
	}
	response, page := s.ask(http.MethodGet, "/docs", nil)
	require.Equal(t, 200, response.StatusCode)
	require.NotRegexp(t, `(src|href)="(https?:)?//`, string(page))
}

func TestWhileTemporalIsAwayNothingIsPromisedAndNothingLost(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	s.starts.err = &notify.Error{Code: notify.CodeUnavailable}
	response, text := s.ask(http.MethodPost, "/v1/notifications", object{"template": "welcome", "to": to("ann@example.com")})
	require.Equal(t, 503, response.StatusCode, "%s", text)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	// It is stored: the same key, or else the workers' sweep, starts it.
	require.Len(t, get[struct{ Items []any }](s, http.MethodGet, "/v1/notifications?status=sending", 200, nil).Items, 1)
}
