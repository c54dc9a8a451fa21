package api

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/template"
)

// FuzzRequest sends any body to what checks a notification: it is accepted
// with its limits kept, or refused with a problem, soon.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"template":"welcome","to":[{"email":"ann@example.com"}]}`,
		`{"content":{"email":{"subject":"{{ x }}","html":"{% for i in (1..3) %}{{ i }}{% endfor %}"}},"to":[{"user_id":"u"}],"data":{"x":[1.5,null]}}`,
		`{"template":"welcome","to":[{"email":"a@b.c","name":"\u0000"}],"tags":["x"],"metadata":{"a":"b"},"channels":["email"]}`,
		`{"template":"a","template":"b"}`, `[[[[`, `{"to":null}`, "{\"template\":\"\xff\"}", `{} {}`, ``,
	} {
		f.Add([]byte(seed))
	}
	s := &Server{
		Config: Config{Access: &access.Authenticator{}, Templates: template.New(), Now: time.Now},
		log:    slog.New(slog.DiscardHandler), places: newPlaces(1),
	}
	router := chi.NewRouter()
	var accepted *notificationRequest
	huma.Register(s.newAPI(router), route(http.MethodPost, "/", "send-notification", "check", http.StatusAccepted),
		func(_ context.Context, in *struct{ Body notificationRequest }) (*struct{}, error) {
			accepted = &in.Body
			return nil, nil
		})
	f.Fuzz(func(t *testing.T, body []byte) {
		accepted = nil
		request := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		began := time.Now()
		router.ServeHTTP(answer, request)
		require.Less(t, time.Since(began), 2*time.Second)
		if accepted == nil {
			var p problem
			require.Contains(t, []int{422, 413}, answer.Code, "%s", answer.Body)
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &p))
			require.NotEmpty(t, p.Detail)
			return
		}
		r := accepted
		require.NotEqual(t, r.Template == "", r.Content == nil, "exactly one")
		require.NotEmpty(t, r.To)
		require.LessOrEqual(t, len(r.To), notify.MaxRecipients)
		require.LessOrEqual(t, len(r.Data.Object), notify.MaxDataBytes)
		for _, to := range r.To {
			require.NotEqual(t, to.UserID == "", to.Email == "", "exactly one")
			require.NotContains(t, to.UserID+to.Email+to.Name, "\n")
		}
		first, err := hash(r)
		require.NoError(t, err)
		again, err := hash(r)
		require.NoError(t, err)
		require.Equal(t, first, again)
	})
}
