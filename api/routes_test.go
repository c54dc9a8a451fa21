package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/template"
)

// openRoutes are answered to whoever asks: they tell and change nothing, or
// authenticate themselves.
var openRoutes = []string{
	"GET /healthz", "GET /readyz", "GET /metrics", "/docs", "/docs/", "/docs/*",
	"GET /openapi.json", "GET /openapi.yaml", "GET /openapi-3.0.json", "GET /openapi-3.0.yaml",
	"POST /v1/webhooks/sendgrid", // its requests are signed
	"GET /v1/stream",             // its first frame may say who connects
}

// TestEveryRouteStatesItsScope walks all of them.
func TestEveryRouteStatesItsScope(t *testing.T) {
	t.Parallel()
	s, err := NewServer(Config{
		Access: &access.Authenticator{}, Templates: template.New(), Starter: struct{ Starter }{}, Stream: stream.New(stream.Config{}), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	require.NoError(t, err)
	handler := s.Handler()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var description struct {
		Paths map[string]map[string]struct {
			OperationID string                `json:"operationId"`
			Security    []map[string][]string `json:"security"`
		} `json:"paths"`
		Components struct {
			SecuritySchemes map[string]any `json:"securitySchemes"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &description))
	require.Contains(t, description.Components.SecuritySchemes, bearerScheme)

	seen := map[string]bool{}
	routes, isRouter := handler.(chi.Routes)
	require.True(t, isRouter)
	require.NoError(t, chi.Walk(routes, func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		seen[path] = true
		if slices.Contains(openRoutes, path) || slices.Contains(openRoutes, method+" "+path) {
			return nil
		}
		described := description.Paths[path][map[string]string{"GET": "get", "POST": "post", "PUT": "put", "DELETE": "delete"}[method]]
		require.NotEmpty(t, described.OperationID, "%s %s is neither described nor on the list of open routes", method, path)
		require.NotEmpty(t, described.Security, "%s %s (%s) states no scope: see needs in access.go", method, path, described.OperationID)
		for _, alternative := range described.Security {
			require.Len(t, alternative[bearerScheme], 1, described.OperationID)
			scope := access.Scope(alternative[bearerScheme][0])
			require.True(t, scope == self || slices.Contains(access.Scopes(), scope), "%s: %s", described.OperationID, scope)
		}
		return nil
	}))
	require.Greater(t, len(seen), 30)
	for path, methods := range description.Paths {
		require.Contains(t, seen, path)
		for method, described := range methods {
			if len(described.Security) == 0 {
				require.Contains(t, openRoutes, map[string]string{"post": "POST", "get": "GET"}[method]+" "+path)
			}
		}
	}
}

// An operation that states nothing is open to nobody, whoever they are.
func TestAnOperationThatStatesNoScopeIsRefused(t *testing.T) {
	t.Parallel()
	require.Nil(t, security("unknown"))
	require.Error(t, allow(access.Anyone, scopesOf(security("unknown")), ""))
}
