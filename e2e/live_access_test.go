package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// tokenWith is a token that the issuer gives for what a form asks.
func (i *oidcIssuer) tokenWith(user string, form url.Values) string {
	i.t.Helper()
	form.Set("grant_type", "password")
	form.Set("username", user)
	response, err := http.PostForm(i.url+"/token", form)
	require.NoError(i.t, err)
	defer response.Body.Close()
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(i.t, json.NewDecoder(response.Body).Decode(&granted))
	require.NotEmpty(i.t, granted.AccessToken)
	return granted.AccessToken
}

// remade is a token with another header or other claims, under its signature.
func remade(t *testing.T, token string, part int, content map[string]any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	encoded, err := json.Marshal(content)
	require.NoError(t, err)
	parts[part] = base64.RawURLEncoding.EncodeToString(encoded)
	return strings.Join(parts, ".")
}

// connect opens a socket with a header and a hello, and gives what it is
// answered: HTTP's status, or the type of the first frame and, where that is an
// error, the code with which the socket is closed.
func (b *belfry) connect(header http.Header, hello map[string]string) (conn *websocket.Conn, answer string, code int) {
	b.t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"belfry.v1"}, HandshakeTimeout: patience}
	conn, response, err := dialer.DialContext(b.t.Context(), "ws"+strings.TrimPrefix(b.url, "http")+"/v1/stream", header)
	if err != nil {
		require.NotNil(b.t, response, "%v", err)
		require.NoError(b.t, response.Body.Close())
		return nil, "refused", response.StatusCode
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	hello["type"] = "hello"
	require.NoError(b.t, conn.WriteJSON(hello))
	var first struct{ Type, Code string }
	require.NoError(b.t, conn.ReadJSON(&first))
	if first.Type != "error" {
		return conn, first.Type, 0
	}
	return conn, first.Code, closeCode(b.t, conn)
}

// closeCode reads to the end and gives the code with which the server closes.
func closeCode(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			var closed *websocket.CloseError
			require.ErrorAs(t, err, &closed)
			return closed.Code
		}
	}
}

func TestOnlyThoseWhoMayGetASocket(t *testing.T) {
	t.Parallel()
	issuerAddr := freeAddr(t)
	i := &oidcIssuer{t: t, url: "http://" + issuerAddr}
	start(t, map[string]string{"BELFRY_OIDC_ISSUER": i.url}, "idp", "--addr", freeAddr(t), "--users", "../dev/users.yaml", "--oidc", issuerAddr)
	token := i.token(ann)
	a := newBelfry(t).with("BELFRY_AUTH", "keys,oidc").with("BELFRY_OIDC_ISSUER", i.url).with("BELFRY_OIDC_AUDIENCE", "belfry").
		with("BELFRY_STREAM_ORIGINS", "https://app.example.com")
	b := a.another()
	a.run("api")
	b.run("api")
	a.run("worker")
	b.eventually("ready", func() bool { return b.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	service := a.keys("create", "--name", "backend", "--scope", "inbox,send")
	sender := a.keys("create", "--name", "sender", "--scope", "send")

	claims := map[string]any{"iss": i.url, "aud": "belfry", "sub": bruno, "exp": time.Now().Add(time.Hour).Unix()}
	expired := i.tokenWith(ann, url.Values{"expires_in": {"1"}})
	a.eventually("it has expired", func() bool { // allowing for clocks that differ
		_, answer, _ := a.connect(nil, map[string]string{"token": expired})
		return answer == "unauthorized"
	})
	for name, test := range map[string]struct {
		header http.Header
		hello  map[string]string
		answer string
		code   int
	}{
		"a user":                       {nil, map[string]string{"token": token}, "hello", 0},
		"a user by header":             {bearing(token), map[string]string{}, "hello", 0},
		"a service for a user":         {nil, map[string]string{"token": service, "user_id": ann}, "hello", 0},
		"a service for nobody":         {nil, map[string]string{"token": service}, "bad_frame", 4400},
		"nobody":                       {nil, map[string]string{"user_id": ann}, "unauthorized", 4401},
		"another user":                 {nil, map[string]string{"token": token, "user_id": bruno}, "forbidden", 4401},
		"a key without the scope":      {nil, map[string]string{"token": sender, "user_id": ann}, "scope_missing", 4401},
		"a key of nobody's":            {nil, map[string]string{"token": service + "x", "user_id": ann}, "unauthorized", 4401},
		"expired":                      {nil, map[string]string{"token": expired}, "unauthorized", 4401},
		"for another audience":         {nil, map[string]string{"token": i.tokenWith(ann, url.Values{"audience": {"shop"}})}, "unauthorized", 4401},
		"with other claims":            {nil, map[string]string{"token": remade(t, token, 1, claims)}, "unauthorized", 4401},
		"unsigned":                     {nil, map[string]string{"token": remade(t, remade(t, token, 0, map[string]any{"alg": "none"}), 1, claims)}, "unauthorized", 4401},
		"unsigned, without signature":  {nil, map[string]string{"token": strings.Join(strings.Split(remade(t, token, 0, map[string]any{"alg": "none"}), ".")[:2], ".") + "."}, "unauthorized", 4401},
		"signed by nobody":             {nil, map[string]string{"token": madeUpToken}, "unauthorized", 4401},
		"a wrong header":               {bearing(madeUpToken), map[string]string{}, "refused", http.StatusUnauthorized},
		"a header without the scope":   {bearing(sender), map[string]string{}, "refused", http.StatusForbidden},
		"a foreign page":               {http.Header{"Origin": {"https://evil.example"}}, map[string]string{"token": token}, "refused", http.StatusForbidden},
		"a page that is listed":        {http.Header{"Origin": {"https://app.example.com"}}, map[string]string{"token": token}, "hello", 0},
		"a ticket that nobody gave":    {nil, map[string]string{"ticket": "AAAAAAAAAAAAAAAAAAAAAAAAAA"}, "unauthorized", 4401},
		"a token in place of a ticket": {nil, map[string]string{"ticket": token}, "unauthorized", 4401},
	} {
		_, answer, code := []*belfry{a, b}[len(name)%2].connect(test.header, test.hello)
		require.Equal(t, test.answer, answer, name)
		require.Equal(t, test.code, code, name)
	}

	// A ticket of one instance opens one socket, at whichever.
	var got struct{ Ticket string }
	a.doWith(bearing(token), http.MethodPost, "/v1/stream/tickets", http.StatusCreated, map[string]any{}, &got)
	conn, answer, _ := b.connect(nil, map[string]string{"ticket": got.Ticket})
	require.Equal(t, "hello", answer)
	_, answer, code := a.connect(nil, map[string]string{"ticket": got.Ticket})
	require.Equal(t, "unauthorized", answer)
	require.Equal(t, 4401, code)
	a.doWith(bearing(token), http.MethodPost, "/v1/stream/tickets", http.StatusForbidden, map[string]any{"user_id": bruno}, nil)
	a.doWith(bearing(service), http.MethodPost, "/v1/notifications", http.StatusAccepted, map[string]any{
		"content": map[string]any{"inbox": map[string]string{"title": "Solaris", "body": "x"}}, "to": []map[string]string{{"user_id": ann}}, "channels": []string{"inbox"},
	}, nil)
	var item struct{ Item struct{ Title string } }
	require.NoError(t, conn.ReadJSON(&item))
	require.Equal(t, "Solaris", item.Item.Title)

	// A socket ends with its token, also one that was opened with a ticket.
	short := i.tokenWith(ann, url.Values{"expires_in": {"4"}})
	a.doWith(bearing(short), http.MethodPost, "/v1/stream/tickets", http.StatusCreated, map[string]any{}, &got)
	byToken, answer, _ := a.connect(nil, map[string]string{"token": short})
	require.Equal(t, "hello", answer)
	byTicket, answer, _ := b.connect(nil, map[string]string{"ticket": got.Ticket})
	require.Equal(t, "hello", answer)
	require.Equal(t, 4401, closeCode(t, byToken))
	require.Equal(t, 4401, closeCode(t, byTicket))
}
