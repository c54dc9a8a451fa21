package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/notify"
)

type accepted struct {
	ID       string
	Replayed bool
}

func (s *server) send(key string, status int, body any) accepted {
	s.t.Helper()
	header := []string{"Idempotency-Key", key}
	if key == "" {
		header = nil
	}
	response, text := s.ask(http.MethodPost, "/v1/notifications", body, header...)
	require.Equal(s.t, status, response.StatusCode, "%s", text)
	var answer struct {
		ID   string
		Code string
	}
	require.NoError(s.t, json.Unmarshal(text, &answer))
	return accepted{answer.ID, response.Header.Get("Idempotency-Replayed") == "true"}
}

func TestAKeySendsOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	request := object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris", "n": 1.5}}
	first := s.send("order-17", 202, request)
	require.False(t, first.Replayed)

	for name, same := range map[string]any{
		"the same":          request,
		"in another order":  `{"data":{"n":1.5,"film":"Solaris"},"to":[{"email":"ann@example.com"}],"template":"welcome"}`,
		"in other spelling": `{"template":"w\u0065lcome", "to":[ {"email":"ann@example.com"} ], "data":{"film":"Solaris","n":15e-1}}`,
		"defaults in full":  object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris", "n": 1.5}, "channels": []string{"email"}},
	} {
		require.Equal(t, accepted{first.ID, true}, s.send("order-17", 202, same), name)
	}
	for name, other := range map[string]any{
		"another recipient": object{"template": "welcome", "to": to("bob@example.com"), "data": object{"film": "Solaris", "n": 1.5}},
		"other data":        object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris", "n": 1.6}},
		"no data":           object{"template": "welcome", "to": to("ann@example.com")},
		"a tag":             object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris", "n": 1.5}, "tags": []string{"x"}},
	} {
		response, text := s.ask(http.MethodPost, "/v1/notifications", other, "Idempotency-Key", "order-17")
		require.Equal(t, 409, response.StatusCode, name)
		require.Contains(t, string(text), "idempotency_conflict", name)
	}
	require.NotEqual(t, first.ID, s.send("order-18", 202, request).ID, "another key")
	require.NotEqual(t, first.ID, s.send("", 202, request).ID, "no key")
}

func TestAKeyPinsTheTemplate(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	request := object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris"}}
	first := s.send("k", 202, request)
	get[any](s, http.MethodPut, "/v1/templates/welcome", 200, object{"channels": email("new", "new")})
	require.Equal(t, accepted{first.ID, true}, s.send("k", 202, request))
	get[any](s, http.MethodDelete, "/v1/templates/welcome", 204, nil)
	require.Equal(t, accepted{first.ID, true}, s.send("k", 202, request))
	for _, n := range s.starts.started {
		require.Equal(t, 1, n.Template.Version)
	}
}

func TestAKeyUnderWhichNothingBeganBeginsUnderTheSameID(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	for name, request := range map[string]object{
		"whole":        {"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris"}},
		"by reference": {"content": email("s", "h"), "to": to("ann@example.com")},
	} {
		s.starts.err = &notify.Error{Code: notify.CodeUnavailable}
		s.send(name, 503, request)
		s.send(name, 503, request)
		s.starts.err = nil
		before := len(s.starts.started)
		again := s.send(name, 202, request)
		require.Equal(t, again.ID, s.starts.started[before].ID)
		require.Equal(t, accepted{again.ID, true}, s.send(name, 202, request))
	}
}

func TestAReplayIsNotRefusedForWhatHasChangedSince(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	request := object{
		"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris"},
		"provider": "smtp", "expires_at": time.Now().Add(time.Hour),
	}
	first := s.send("k", 202, request)
	later := s.again(func(cfg *api.Config) {
		cfg.Providers = []string{"sendgrid"}
		cfg.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	})
	require.Equal(t, accepted{first.ID, true}, later.send("k", 202, request))
	require.Equal(t, []string{"body.provider", "body.expires_at"}, later.refused(http.MethodPost, "/v1/notifications", 422, request).locations())
	later.send("another", 422, request)
	s.send("another", 202, request) // what was refused has taken no key
}

func TestAnEndedNotificationIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	request := object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris"}}
	first := s.send("k", 202, request)
	require.NoError(t, s.store.UpdateProgress(t.Context(), first.ID, notify.Progress{Status: notify.StatusDone}))
	began := len(s.starts.started)
	require.Equal(t, accepted{first.ID, true}, s.send("k", 202, request)) // Temporal may have forgotten it
	require.Len(t, s.starts.started, began)
}

func TestFiftyAtOnceUnderOneKeyAreOne(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	request := object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "Solaris"}}
	answers := make([]accepted, 50)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() { answers[i] = s.send("k", 202, request) })
	}
	group.Wait()
	fresh := 0
	for _, answer := range answers {
		require.Equal(t, answers[0].ID, answer.ID)
		if !answer.Replayed {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	for _, n := range s.starts.started {
		require.Equal(t, *s.starts.started[0], *n, "whoever starts it starts the same")
	}
}

func TestAKeyThatCannotBeOneIsRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	request := object{"template": "welcome", "to": to("ann@example.com")}
	for _, key := range []string{strings.Repeat("k", 256), "käse", "", " "} {
		response, text := s.ask(http.MethodPost, "/v1/notifications", request, "Idempotency-Key", key)
		require.Equal(t, 422, response.StatusCode, "%s", text)
		require.Contains(t, string(text), "header.Idempotency-Key")
	}
}
