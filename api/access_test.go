package api_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/issuer"
)

func TestNobodyGetsInWhoMayNot(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	operations := g.operations()
	require.Greater(t, len(operations), 30)

	good := g.key(nil, access.ScopeAdmin)
	past, now := time.Now().Add(-time.Second), time.Now()
	revoked := g.key(nil, access.ScopeAdmin)
	revokedID := strings.Split(revoked, "_")[1]
	get[any](g.open, http.MethodDelete, "/v1/keys/"+revokedID, 204, nil)

	// A token of the issuer's first key, which is known; then that is retired.
	retired := g.token(g.issuer, issuer.Claims{"sub": "ann"})
	own := operation{method: http.MethodGet, path: "/v1/users/ann/notifications"}
	first, _ := own.ask(g.server, "Bearer "+retired)
	require.Equal(t, 200, first.StatusCode)
	bare, _ := own.ask(g.server)
	require.Equal(t, `Bearer realm="belfry"`, bare.Header.Get("WWW-Authenticate"), "RFC 6750, section 3.1")
	require.NoError(t, g.issuer.Rotate())
	still, _ := own.ask(g.server, "Bearer "+retired)
	require.Equal(t, 200, still.StatusCode, "a key that is published still verifies")
	require.NoError(t, g.issuer.Rotate())
	fresh, _ := own.ask(g.server, "Bearer "+g.token(g.issuer, issuer.Claims{"sub": "ann"}))
	require.Equal(t, 200, fresh.StatusCode, "a new key is known at once")

	foreign := newIssuer(t)
	claims, err := json.Marshal(issuer.Claims{"iss": g.issuer.URL(), "aud": audienceOfTokens, "sub": "ann", "exp": now.Add(time.Hour).Unix(), "roles": "editor"})
	require.NoError(t, err)
	everyone := issuer.Claims{"sub": "ann", "roles": []string{"editor"}}
	with := func(claim string, value any) issuer.Claims {
		return issuer.Claims{"sub": "ann", "roles": everyone["roles"], claim: value}
	}
	for name, authorization := range map[string]string{
		"no key":                           "",
		"another scheme":                   "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+good)),
		"no scheme":                        good,
		"nothing after the scheme":         "Bearer ",
		"a key of another secret":          "Bearer " + good[:len(good)-4] + "aaaa",
		"a key that is cut":                "Bearer " + good[:len(good)-1],
		"a key that never was":             "Bearer belfry_" + uuid.NewString() + good[strings.LastIndex(good, "_"):],
		"an expired key":                   "Bearer " + g.key(&past, access.ScopeAdmin),
		"a revoked key":                    "Bearer " + revoked,
		"no token at all":                  "Bearer x",
		"alg none":                         "Bearer " + unsigned(string(claims)),
		"alg none, with a signature":       "Bearer " + unsigned(string(claims)) + "AAAA",
		"a wrong audience":                 "Bearer " + g.token(g.issuer, with("aud", "elsewhere")),
		"a wrong issuer":                   "Bearer " + g.token(foreign, everyone),
		"another issuer in its name":       "Bearer " + g.token(foreign, with("iss", g.issuer.URL())),
		"our key in another issuer's name": "Bearer " + g.token(g.issuer, with("iss", foreign.URL())),
		"a retired key":                    "Bearer " + retired,
		"an expired token":                 "Bearer " + g.token(g.issuer, with("exp", now.Add(-time.Minute).Unix())),
		"a token that never expires":       "Bearer " + g.token(g.issuer, with("exp", nil)),
		"a token that is not valid yet":    "Bearer " + g.token(g.issuer, with("nbf", now.Add(10*time.Minute).Unix())),
		"a token of nobody":                "Bearer " + g.token(g.issuer, with("sub", nil)),
	} {
		t.Run(name, func(t *testing.T) {
			g.refuses(t, operations, func(operation) (string, int, string) { return authorization, 401, "unauthorized" })
		})
	}
	t.Run("a key without the scope", func(t *testing.T) {
		keys := map[string]string{}
		for _, o := range operations {
			others := slices.DeleteFunc(access.Scopes(), func(s access.Scope) bool { return s == access.ScopeAdmin || slices.Contains(o.scopes, s) })
			keys[o.id] = "Bearer " + g.key(nil, others...)
		}
		g.refuses(t, operations, func(o operation) (string, int, string) { return keys[o.id], 403, "scope_missing" })
	})
	t.Run("another user's token", func(t *testing.T) {
		bruno := "Bearer " + g.token(g.issuer, nil)
		g.refuses(t, operations, func(o operation) (string, int, string) {
			if slices.Contains(o.scopes, "self") {
				return bruno, 403, "forbidden"
			}
			return bruno, 403, "scope_missing"
		})
	})
	t.Run("and whoever may is let in", func(t *testing.T) {
		for _, o := range operations {
			for _, scope := range append(o.scopes, access.ScopeAdmin) {
				bearer := "Bearer " + g.token(g.issuer, issuer.Claims{"sub": "ann"})
				if scope != "self" {
					bearer = "Bearer " + g.key(nil, scope)
				}
				response, text := o.ask(g.server, bearer)
				require.NotContains(t, []int{401, 403}, response.StatusCode, "%s with %s: %s", o.id, scope, text)
				require.Less(t, response.StatusCode, 500, "%s with %s: %s", o.id, scope, text)
			}
		}
	})
}

// refuses asks for every operation at once; each is refused as documented, and
// nothing is done.
func (g *gate) refuses(t *testing.T, operations []operation, as func(operation) (authorization string, status int, code string)) {
	t.Helper()
	started, before := len(g.starts.started), dump(t, g.uri)
	ensured, backfilled := len(g.plans.ensured), len(g.plans.backfill)
	var group errgroup.Group
	answers := make([]*http.Response, len(operations))
	texts := make([][]byte, len(operations))
	for i, o := range operations {
		group.Go(func() error {
			authorization, _, _ := as(o)
			if authorization == "" {
				answers[i], texts[i] = o.ask(g.server)
			} else {
				answers[i], texts[i] = o.ask(g.server, authorization)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	for i, o := range operations {
		_, status, code := as(o)
		require.Equal(t, status, answers[i].StatusCode, "%s: %s", o.id, texts[i])
		require.Equal(t, "application/problem+json", answers[i].Header.Get("Content-Type"), o.id)
		var p problem
		require.NoError(t, json.Unmarshal(texts[i], &p), o.id)
		require.Equal(t, code, p.Code, o.id)
		require.Equal(t, status, p.Status, o.id)
		require.NotEmpty(t, p.Detail, o.id)
		if code != "forbidden" {
			require.Contains(t, answers[i].Header.Get("WWW-Authenticate"), `Bearer realm="belfry"`, o.id)
		}
	}
	require.Equal(t, before, dump(t, g.uri), "the store is as it was")
	require.Len(t, g.starts.started, started, "no workflow was started")
	require.Len(t, g.plans.ensured, ensured)
	require.Len(t, g.plans.backfill, backfilled)
}

func TestEndUsersHaveTheirOwnDataAndWhatTheirRolesGive(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	welcome(g.open)
	status := func(method, path, bearer string, body any) int {
		response, _ := g.ask(method, path, body, "Authorization", "bearer "+bearer)
		return response.StatusCode
	}
	odd := g.token(g.issuer, issuer.Claims{"sub": "auth0|a/b"})
	editor := g.token(g.issuer, issuer.Claims{"sub": "ann", "roles": []string{"editor", "unknown"}})
	require.Equal(t, 200, status(http.MethodGet, "/v1/users/auth0%7Ca%2Fb/notifications", odd, nil))
	require.Equal(t, 403, status(http.MethodGet, "/v1/users/auth0%7Ca/notifications", odd, nil))
	require.Equal(t, 403, status(http.MethodGet, "/v1/templates", odd, nil))
	require.Equal(t, 200, status(http.MethodGet, "/v1/users/bruno/notifications", editor, nil), "a role that reads, reads all")
	require.Equal(t, 200, status(http.MethodPut, "/v1/templates/welcome", editor, object{"channels": email("s", "h")}))
	require.Equal(t, 403, status(http.MethodPost, "/v1/notifications", editor, sending))
	require.Equal(t, 403, status(http.MethodGet, "/v1/keys", editor, nil))
}

func TestIdempotencyKeysAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	welcome(g.open)
	send := func(bearer, key, film string) (*http.Response, string) {
		response, text := g.ask(http.MethodPost, "/v1/notifications", object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": film}},
			"Authorization", "Bearer "+bearer, "Idempotency-Key", key)
		var accepted struct{ ID string }
		require.NoError(t, json.Unmarshal(text, &accepted))
		return response, accepted.ID
	}
	one, other := g.key(nil, access.ScopeSend), g.key(nil, access.ScopeSend)
	_, first := send(one, "order", "Solaris")
	again, same := send(one, "order", "Solaris")
	require.Equal(t, first, same)
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	theirs, another := send(other, "order", "Stalker")
	require.Equal(t, 202, theirs.StatusCode)
	require.NotEqual(t, first, another)
}

func TestKeysOverHTTP(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	admin := g.key(nil, access.ScopeAdmin)
	ask := func(bearer, method, path string, status int, body any) (answer struct {
		ID, Name, Key, Detail, Code string
		Scopes                      []string
		ExpiresAt                   *time.Time `json:"expires_at"`
		LastUsedAt                  *time.Time `json:"last_used_at"`
		CreatedBy                   string     `json:"created_by"`
		Items                       []map[string]any
		NextCursor                  string `json:"next_cursor"`
	}) {
		t.Helper()
		response, text := g.ask(method, path, body, "Authorization", "Bearer "+bearer)
		require.Equal(t, status, response.StatusCode, "%s", text)
		if len(text) > 0 {
			require.NoError(t, json.Unmarshal(text, &answer))
		}
		return answer
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	made := ask(admin, http.MethodPost, "/v1/keys", 201, object{"name": "shop", "scopes": []string{"send", "admin"}, "expires_at": until})
	require.Equal(t, "shop", made.Name)
	require.Equal(t, []string{"send", "admin"}, made.Scopes)
	require.Equal(t, until, made.ExpiresAt.UTC())
	require.Equal(t, "key/"+strings.Split(admin, "_")[1], made.CreatedBy)
	require.Regexp(t, `^belfry_`+made.ID+`_[a-z2-7]{52}$`, made.Key)

	page := ask(admin, http.MethodGet, "/v1/keys?limit=1", 200, nil)
	require.Len(t, page.Items, 1)
	rest := ask(admin, http.MethodGet, "/v1/keys?cursor="+page.NextCursor, 200, nil)
	require.Len(t, rest.Items, 1)
	require.Equal(t, made.ID, rest.Items[0]["id"])
	for name := range rest.Items[0] {
		require.Contains(t, []string{"id", "name", "scopes", "created_at", "created_by", "expires_at"}, name, "nothing of the secret")
	}
	for collection, documents := range dump(t, g.uri) {
		require.NotContains(t, strings.Join(documents, "\n"), made.Key[len(made.Key)-52:], collection)
	}

	// What it makes does not outlive it.
	require.Equal(t, "forbidden", ask(made.Key, http.MethodPost, "/v1/keys", 403, object{"name": "x", "scopes": []string{"send"}}).Code)
	require.Equal(t, "forbidden", ask(made.Key, http.MethodPost, "/v1/keys", 403, object{"name": "x", "scopes": []string{"send"}, "expires_at": until.Add(time.Second)}).Code)
	child := ask(made.Key, http.MethodPost, "/v1/keys", 201, object{"name": "x", "scopes": []string{"send"}, "expires_at": until})
	for _, wrong := range []object{
		{"name": "", "scopes": []string{"send"}}, {"name": "x", "scopes": []string{}}, {"name": "x", "scopes": []string{"self"}}, {"name": "x\ny", "scopes": []string{"send"}},
		{"name": "x", "scopes": []string{"send", "send"}}, {"name": "x", "scopes": []string{"send"}, "expires_at": time.Now().Add(-time.Second)}, {"name": "x"},
	} {
		ask(admin, http.MethodPost, "/v1/keys", 422, wrong)
	}

	ask(admin, http.MethodDelete, "/v1/keys/"+made.ID, 204, nil)
	ask(made.Key, http.MethodGet, "/v1/keys", 401, nil)
	ask(child.Key, http.MethodGet, "/v1/keys", 403, nil)
	ask(admin, http.MethodDelete, "/v1/keys/"+made.ID, 404, nil)
}

// Who may not ask is not told what is wrong with the request.
func TestWhoAsksIsFoundOutFirst(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for _, contentType := range []string{"application/json", "text/plain"} {
		for _, body := range []string{`{"to":`, `{}`, strings.Repeat(" ", 2<<20)} {
			response, _ := g.ask(http.MethodPost, "/v1/notifications?colour=red", body, "Content-Type", contentType)
			require.Equal(t, 401, response.StatusCode)
		}
	}
}
