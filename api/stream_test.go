package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/notify"
)

// nowhere is a gateway that is told nothing.
type nowhere struct{}

func (nowhere) Open(context.Context, string, gateway.Socket) error { return nil }
func (nowhere) Close(string, gateway.Socket)                       {}

// callers are who shows what.
type callers map[string]access.Caller

func (c callers) Authenticate(_ context.Context, bearer string) (access.Caller, error) {
	if caller, known := c[bearer]; known {
		return caller, nil
	}
	return access.Caller{}, &notify.Error{Code: notify.CodeUnauthorized}
}

func (callers) Forget(string) {}

func TestTickets(t *testing.T) {
	t.Parallel()
	known := callers{
		"service": {ID: "key/1", Scopes: []access.Scope{access.ScopeInbox}},
		"sender":  {ID: "key/2", Scopes: []access.Scope{access.ScopeSend}},
		"ann":     {ID: "user/ann", UserID: "ann", Scopes: []access.Scope{access.ScopeInbox}},
	}
	s := newServer(t)
	s = s.again(func(c *api.Config) {
		c.Access = known
		c.Stream = stream.New(stream.Config{
			Store: s.store, Gateway: nowhere{}, Authenticate: known.Authenticate, Connections: 10, UserConnections: 10, Log: c.Log, Now: time.Now,
		})
	})
	for _, test := range []struct {
		bearer string
		body   string
		status int
		code   string
	}{
		{"service", `{"user_id": "ann"}`, http.StatusCreated, ""},
		{"service", `{}`, http.StatusUnprocessableEntity, "invalid"},
		{"service", `{"user_id": "ann", "for": "ever"}`, http.StatusUnprocessableEntity, "invalid"},
		{"ann", `{}`, http.StatusCreated, ""},
		{"ann", `{"user_id": "ann"}`, http.StatusCreated, ""},
		{"ann", `{"user_id": "bob"}`, http.StatusForbidden, "forbidden"},
		{"sender", `{"user_id": "ann"}`, http.StatusForbidden, "scope_missing"},
		{"", `{"user_id": "ann"}`, http.StatusUnauthorized, "unauthorized"},
	} {
		var got struct {
			Ticket    string    `json:"ticket"`
			ExpiresAt time.Time `json:"expires_at"`
			Code      string    `json:"code"`
		}
		response, text := s.ask(http.MethodPost, "/v1/stream/tickets", test.body, "Authorization", "Bearer "+test.bearer)
		require.Equal(t, test.status, response.StatusCode, "%s", text)
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, test.code, got.Code, test)
		if test.code != "" {
			continue
		}
		require.WithinDuration(t, time.Now().Add(30*time.Second), got.ExpiresAt, 5*time.Second)
		dialer := websocket.Dialer{Subprotocols: []string{stream.Subprotocol}}
		conn, response, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(s.http.URL, "http")+"/v1/stream", nil)
		require.NoError(t, err)
		require.Equal(t, stream.Subprotocol, response.Header.Get("Sec-WebSocket-Protocol"))
		require.NoError(t, conn.WriteJSON(map[string]string{"type": "hello", "ticket": got.Ticket, "user_id": "ann"}))
		var hello struct{ Type string }
		require.NoError(t, conn.ReadJSON(&hello))
		require.Equal(t, "hello", hello.Type)
		require.NoError(t, conn.Close())
	}
}
