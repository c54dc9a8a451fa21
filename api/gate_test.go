package api_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/issuer"
)

// A gate is an API that asks who calls, beside an open one over the same store.
type gate struct {
	*server
	open   *server
	issuer *issuer.Issuer
	plans  *planner
}

const audienceOfTokens = "belfry"

func newGate(t *testing.T) *gate {
	t.Helper()
	open := newServer(t)
	g := &gate{open: open, issuer: newIssuer(t), plans: &planner{}}
	authenticator, err := access.New(access.Config{Keys: true, OIDC: &access.OIDCConfig{
		Issuer: g.issuer.URL(), Audience: audienceOfTokens, Algorithms: []string{"RS256", "ES256"},
		RolesClaim: "roles", Roles: map[string][]access.Scope{"editor": {access.ScopeTemplates, access.ScopeRead}},
	}}, open.store, slog.New(slog.DiscardHandler), time.Now)
	require.NoError(t, err)
	g.server = open.again(func(cfg *api.Config) { cfg.Access, cfg.Schedules = authenticator, g.plans })
	g.open = open.again(func(cfg *api.Config) { cfg.Schedules = g.plans })
	return g
}

// newIssuer serves an issuer.
func newIssuer(t *testing.T) *issuer.Issuer {
	t.Helper()
	served := httptest.NewUnstartedServer(nil)
	made, err := issuer.New("http://"+served.Listener.Addr().String(), time.Now)
	require.NoError(t, err)
	served.Config.Handler = made.Handler(issuer.Config{Known: func(string) bool { return true }, Audience: audienceOfTokens})
	served.Start()
	t.Cleanup(served.Close)
	return made
}

// key is the text of a new API key.
func (g *gate) key(expires *time.Time, scopes ...access.Scope) string {
	g.t.Helper()
	key, text := access.NewKey("test", scopes, "test", time.Now().UTC(), expires)
	require.NoError(g.t, g.store.InsertAPIKey(g.t.Context(), key))
	return text
}

// token is one of the issuer's with other claims.
func (g *gate) token(from *issuer.Issuer, claims issuer.Claims) string {
	g.t.Helper()
	all := issuer.Claims{"sub": "bruno", "aud": audienceOfTokens}
	for name, value := range claims {
		all[name] = value
	}
	text, err := from.Token(all)
	require.NoError(g.t, err)
	return text
}

// An operation is one of the API as its description has it, and a request that
// would do something.
type operation struct {
	id, method, path string
	scopes           []access.Scope
	body             any
	header           []string
}

func (o operation) ask(s *server, authorization ...string) (*http.Response, []byte) {
	header := slices.Clone(o.header)
	if len(authorization) > 0 {
		header = append(header, "Authorization", authorization[0])
	}
	return s.ask(o.method, o.path, o.body, header...)
}

// operations are all that are not open, with something there for each to act on.
func (g *gate) operations() []operation {
	g.t.Helper()
	welcome(g.open)
	get[any](g.open, http.MethodPost, "/v1/schedules", 201, weekly(nil))
	get[any](g.open, http.MethodPost, "/v1/triggers", 201, placed(nil))
	sent := get[struct{ ID string }](g.open, http.MethodPost, "/v1/notifications", 202, sending).ID
	list := g.open.upload(ndjson, `{"user_id":"ann"}`).ID
	key := get[struct{ ID string }](g.open, http.MethodPost, "/v1/keys", 201, object{"name": "k", "scopes": []string{"read"}}).ID
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	bodies := map[string]any{
		"send-notification": sending, "reschedule-notification": object{"send_at": later},
		"create-template": object{"name": "another", "channels": email("s", "h")}, "update-template": object{"channels": email("s", "h")},
		"preview-template": object{"data": object{"film": "x"}}, "create-audience": `{"user_id":"bob"}`,
		"create-schedule": weekly(object{"name": "another"}), "update-schedule": weekly(object{"name": nil, "cron": "0 8 * * *"}),
		"backfill-schedule": object{"from": past, "to": time.Now().Add(-time.Minute)},
		"create-trigger":    placed(object{"name": "another"}), "update-trigger": placed(object{"name": nil, "to": "'ann'"}),
		"test-trigger": object{"data": object{"total": 120, "film": "x", "user_id": "ann"}},
		"create-key":   object{"name": "another", "scopes": []string{"read"}},
	}
	description := get[struct {
		Paths map[string]map[string]struct {
			OperationID string                `json:"operationId"`
			Security    []map[string][]string `json:"security"`
		} `json:"paths"`
	}](g.open, http.MethodGet, "/openapi.json", 200, nil)
	var all []operation
	for path, methods := range description.Paths {
		for method, described := range methods {
			if described.Security != nil && len(described.Security) == 0 {
				continue
			}
			id := map[string]string{"notifications": sent, "audiences": list, "keys": key, "deliveries": uuid.NewString()}[strings.Split(path, "/")[2]]
			name := map[string]string{"templates": "welcome", "schedules": "weekly", "triggers": "placed"}[strings.Split(path, "/")[2]]
			o := operation{
				id: described.OperationID, method: strings.ToUpper(method), body: bodies[described.OperationID],
				path: strings.NewReplacer("{id}", id, "{name}", name, "{user_id}", "ann", "{item_id}", uuid.NewString()).Replace(path),
			}
			for _, alternative := range described.Security {
				o.scopes = append(o.scopes, access.Scope(alternative["bearer"][0]))
			}
			if o.id == "create-audience" {
				o.header = []string{"Content-Type", ndjson}
			}
			all = append(all, o)
		}
	}
	return all
}

var sending = object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "x"}}

// dump is all that a database holds.
func dump(t *testing.T, uri string) map[string][]string {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) }()
	db := client.Database(strings.Trim(uri[strings.LastIndex(uri, "/"):], "/"))
	names, err := db.ListCollectionNames(t.Context(), bson.D{})
	require.NoError(t, err)
	all := map[string][]string{}
	for _, name := range names {
		cursor, err := db.Collection(name).Find(t.Context(), bson.D{})
		require.NoError(t, err)
		var documents []bson.D
		require.NoError(t, cursor.All(t.Context(), &documents))
		for _, document := range documents {
			text, err := bson.MarshalExtJSON(document, true, false)
			require.NoError(t, err)
			all[name] = append(all[name], string(text))
		}
		slices.Sort(all[name])
	}
	return all
}

// unsigned is a token that says that it needs no signature.
func unsigned(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode([]byte(claims)) + "."
}
