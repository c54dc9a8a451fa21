package access_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/issuer"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A served issuer counts what it is asked, and can be away.
type served struct {
	*issuer.Issuer
	away atomic.Bool
	read atomic.Int64 // how often its keys were
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{}
	server := httptest.NewUnstartedServer(nil)
	var err error
	s.Issuer, err = issuer.New("http://"+server.Listener.Addr().String(), time.Now)
	require.NoError(t, err)
	handler := s.Handler(issuer.Config{Known: func(string) bool { return true }, Audience: "belfry"})
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if r.URL.Path == "/jwks" {
			s.read.Add(1)
		}
		handler.ServeHTTP(w, r)
	})
	server.Start()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return s
}

func (s *served) token(t *testing.T, claims issuer.Claims) string {
	t.Helper()
	all := issuer.Claims{"sub": "ann", "aud": "belfry"}
	for name, value := range claims {
		all[name] = value
	}
	text, err := s.Token(all)
	require.NoError(t, err)
	return text
}

func withIssuer(t *testing.T, s *served, now func() time.Time, change func(*access.OIDCConfig)) *access.Authenticator {
	t.Helper()
	cfg := access.OIDCConfig{Issuer: s.URL(), Audience: "belfry", Algorithms: []string{"RS256", "ES256"}, RolesClaim: "roles"}
	change(&cfg)
	a, err := access.New(access.Config{OIDC: &cfg}, nil, slog.New(slog.DiscardHandler), now)
	require.NoError(t, err)
	return a
}

func asIs(*access.OIDCConfig) {}

func TestAnIssuerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var later atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	a := withIssuer(t, s, now, asIs)
	token := s.token(t, issuer.Claims{"exp": time.Now().Add(3 * time.Hour).Unix()})
	s.away.Store(true)
	require.Error(t, a.Issuer()(t.Context()))
	for range 3 {
		_, err := a.Authenticate(t.Context(), token)
		require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err), "%v", err)
	}
	s.away.Store(false)
	later.Add(int64(6 * time.Second))
	caller, err := a.Authenticate(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, "ann", caller.UserID)
	require.NoError(t, a.Issuer()(t.Context()))

	s.away.Store(true)
	_, err = a.Authenticate(t.Context(), token)
	require.NoError(t, err, "its keys are known")
	later.Add(int64(time.Hour + time.Second))
	_, err = a.Authenticate(t.Context(), token)
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err), "they may have been retired since")
}

func TestKeysOfARotatingIssuer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	a := withIssuer(t, s, time.Now, asIs)
	first := s.token(t, nil)
	for range 3 { // RS256, ES256, RS256
		token := s.token(t, nil)
		caller, err := a.Authenticate(t.Context(), token)
		require.NoError(t, err)
		require.Equal(t, "user/ann", caller.ID)
		require.NoError(t, s.Rotate())
	}
	_, err := a.Authenticate(t.Context(), first)
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err), "its key is retired")
	read := s.read.Load()
	for range 10 {
		_, err := a.Authenticate(t.Context(), s.token(t, nil)[:100]+"x")
		require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	}
	require.Equal(t, read, s.read.Load(), "what is no token at all does not have the keys read")
}

func TestAlgorithmsArePinned(t *testing.T) {
	t.Parallel()
	s := serve(t)
	a := withIssuer(t, s, time.Now, func(c *access.OIDCConfig) { c.Algorithms = []string{"ES256"} })
	_, err := a.Authenticate(t.Context(), s.token(t, nil))
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	require.Zero(t, s.read.Load())
	require.NoError(t, s.Rotate())
	_, err = a.Authenticate(t.Context(), s.token(t, nil))
	require.NoError(t, err)
}

func TestRolesBecomeScopes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	roles := map[string][]access.Scope{"editor": {access.ScopeTemplates}, "ops": {access.ScopeAdmin, access.ScopeRead}}
	own := []access.Scope{access.ScopeRead, access.ScopeInbox}
	for name, test := range map[string]struct {
		claim  string
		claims issuer.Claims
		want   []access.Scope
	}{
		"none":                     {"roles", nil, nil},
		"a list":                   {"roles", issuer.Claims{"roles": []string{"editor", "other", "editor"}}, []access.Scope{access.ScopeTemplates}},
		"a text":                   {"scope", issuer.Claims{"scope": "openid editor ops"}, []access.Scope{access.ScopeTemplates, access.ScopeAdmin, access.ScopeRead}},
		"within another":           {"realm_access.roles", issuer.Claims{"realm_access": map[string]any{"roles": []string{"editor"}}}, []access.Scope{access.ScopeTemplates}},
		"a name with dots":         {"https://x.example/roles", issuer.Claims{"https://x.example/roles": []string{"editor"}}, []access.Scope{access.ScopeTemplates}},
		"neither list nor text":    {"roles", issuer.Claims{"roles": 17}, nil},
		"a list of other things":   {"roles", issuer.Claims{"roles": []any{17, nil, "editor"}}, []access.Scope{access.ScopeTemplates}},
		"within what is no object": {"roles.x", issuer.Claims{"roles": []string{"editor"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := withIssuer(t, s, time.Now, func(c *access.OIDCConfig) { c.RolesClaim, c.Roles = test.claim, roles })
			until := time.Now().Add(time.Minute).UTC().Truncate(time.Second)
			claims := issuer.Claims{"exp": until.Unix(), "sub": "a/b"}
			for name, value := range test.claims {
				claims[name] = value
			}
			caller, err := a.Authenticate(t.Context(), s.token(t, claims))
			require.NoError(t, err)
			require.Equal(t, "user/a%2Fb", caller.ID)
			require.Equal(t, "a/b", caller.UserID)
			require.Equal(t, until, caller.Until)
			require.Equal(t, test.want, caller.Service)
			require.Subset(t, caller.Scopes, append(own, test.want...))
		})
	}
}

func TestEachWayInIsForThoseOnly(t *testing.T) {
	t.Parallel()
	s := serve(t)
	_, key := access.NewKey("x", nil, "test", time.Now(), nil)
	tokensOnly := withIssuer(t, s, time.Now, asIs)
	_, err := tokensOnly.Authenticate(t.Context(), key)
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	keysOnly, err := access.New(access.Config{Keys: true}, nil, slog.New(slog.DiscardHandler), time.Now)
	require.NoError(t, err)
	_, err = keysOnly.Authenticate(t.Context(), s.token(t, nil))
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	require.Nil(t, keysOnly.Issuer())
	_, err = keysOnly.Authenticate(t.Context(), "")
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	caller, err := (&access.Authenticator{}).Authenticate(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, access.Anyone, caller)
	_, err = access.New(access.Config{OIDC: &access.OIDCConfig{Issuer: "x"}}, nil, nil, time.Now)
	require.Error(t, err)
}
