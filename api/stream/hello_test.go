package stream_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

// guarded lets in those who show one of these words.
func guarded(t *testing.T) *instance {
	t.Helper()
	callers := map[string]access.Caller{
		"service":  {ID: "key/1", Scopes: []access.Scope{access.ScopeInbox}},
		"no-inbox": {ID: "key/2", Scopes: []access.Scope{access.ScopeSend}},
		"ann":      {ID: "user/ann", UserID: "ann", Scopes: []access.Scope{access.ScopeInbox}},
		"over":     {ID: "user/ann", UserID: "ann", Scopes: []access.Scope{access.ScopeInbox}, Until: time.Now().Add(-time.Second)},
	}
	return newInstance(t, mongotest.NewURI(t), func(c *stream.Config) {
		c.Origins = []string{"https://app.example.com"}
		c.Authenticate = func(_ context.Context, bearer string) (access.Caller, error) {
			if bearer == "away" {
				return access.Caller{}, &notify.Error{Code: notify.CodeUnavailable}
			}
			if bearer == "soon" { // it ends soon after it was shown, however busy the machine is
				return access.Caller{ID: "user/ann", UserID: "ann", Scopes: []access.Scope{access.ScopeInbox}, Until: time.Now().Add(2 * time.Second)}, nil
			}
			caller, known := callers[bearer]
			if !known {
				return access.Caller{}, &notify.Error{Code: notify.CodeUnauthorized}
			}
			return caller, nil
		}
	})
}

func hello(fields ...string) map[string]string {
	h := map[string]string{"type": "hello"}
	for i := 0; i < len(fields); i += 2 {
		h[fields[i]] = fields[i+1]
	}
	return h
}

func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	i := guarded(t)
	ticket, expires, err := i.stream.Issue(t.Context(), access.Caller{ID: "key/1", Scopes: []access.Scope{access.ScopeInbox}}, "ann")
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(30*time.Second), expires, 2*time.Second)
	for name, test := range map[string]struct {
		header string
		hello  map[string]string
		code   int // 0: let in
		word   string
	}{
		"a service, for a user":        {hello: hello("token", "service", "user_id", "ann")},
		"a service, for nobody":        {hello: hello("token", "service"), code: 4400, word: "bad_frame"},
		"a user":                       {hello: hello("token", "ann")},
		"a user, by name":              {hello: hello("token", "ann", "user_id", "ann")},
		"a user, for another":          {hello: hello("token", "ann", "user_id", "bob"), code: 4401, word: "forbidden"},
		"a user by header":             {header: "Bearer ann", hello: hello()},
		"a header, for another":        {header: "Bearer ann", hello: hello("user_id", "bob"), code: 4401, word: "forbidden"},
		"no token":                     {hello: hello("user_id", "ann"), code: 4401, word: "unauthorized"},
		"a wrong token":                {hello: hello("token", "forged"), code: 4401, word: "unauthorized"},
		"a token that has ended":       {hello: hello("token", "over"), code: 4401, word: "unauthorized"},
		"without the scope":            {hello: hello("token", "no-inbox", "user_id", "ann"), code: 4401, word: "scope_missing"},
		"a token that nobody knows of": {hello: hello("token", "away"), code: websocket.CloseTryAgainLater, word: "unavailable"},
		"a wrong ticket":               {hello: hello("ticket", "forged"), code: 4401, word: "unauthorized"},
		"ticket and token":             {hello: hello("ticket", "x", "token", "ann"), code: 4400, word: "bad_frame"},
		"a cursor that is none":        {hello: hello("token", "ann", "after", "x"), code: 4400, word: "bad_frame"},
		"a field that is none":         {hello: hello("token", "ann", "color", "x"), code: 4400, word: "bad_frame"},
		"something else first":         {hello: map[string]string{"type": "ack", "cursor": "x"}, code: 4400, word: "bad_frame"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			if test.header != "" {
				header.Set("Authorization", test.header)
			}
			s := (&instance{t: t, url: i.url}).dial(header)
			s.send(test.hello)
			if test.code == 0 {
				s.expect("hello")
				return
			}
			frames := s.expectClose(test.code)
			require.Len(t, frames, 1)
			require.Equal(t, "error", frames[0].Type)
			require.Equal(t, test.word, frames[0].Code)
		})
	}
	t.Run("a ticket, once", func(t *testing.T) {
		s := i.dial(nil)
		s.send(hello("ticket", ticket))
		s.expect("hello")
		i.put(newItem("ann", "to ann"))
		s.expectItems("to ann")
		s = i.dial(nil)
		s.send(hello("ticket", ticket))
		require.Equal(t, "unauthorized", s.expectClose(4401)[0].Code)
	})
	t.Run("a ticket for another", func(t *testing.T) {
		ticket, _, err := i.stream.Issue(t.Context(), access.Caller{ID: "key/1", Scopes: []access.Scope{access.ScopeInbox}}, "ann")
		require.NoError(t, err)
		s := i.dial(nil)
		s.send(hello("ticket", ticket, "user_id", "bob"))
		require.Equal(t, "forbidden", s.expectClose(4401)[0].Code)
	})
	t.Run("of one ticket at many instances one use is the first", func(t *testing.T) {
		ticket, _, err := i.stream.Issue(t.Context(), access.Caller{ID: "key/1", Scopes: []access.Scope{access.ScopeInbox}}, "ann")
		require.NoError(t, err)
		let := make(chan bool)
		for range 10 {
			s := i.dial(nil)
			s.send(hello("ticket", ticket))
			go func() {
				f, err := s.next()
				let <- err == nil && f.Type == "hello"
			}()
		}
		in := 0
		for range 10 {
			if <-let {
				in++
			}
		}
		require.Equal(t, 1, in)
	})
}

func TestASocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	i := guarded(t)
	s := i.dial(nil)
	s.send(hello("token", "soon"))
	s.expect("hello")
	began := time.Now()
	s.expectClose(4401)
	require.Less(t, time.Since(began), 10*time.Second)

	ticket, _, err := i.stream.Issue(t.Context(), access.Caller{ID: "user/ann", UserID: "ann", Scopes: []access.Scope{access.ScopeInbox}, Until: time.Now().Add(5 * time.Second)}, "ann")
	require.NoError(t, err)
	s = i.dial(nil)
	s.send(hello("ticket", ticket))
	s.expect("hello")
	s.expectClose(4401)
}

func TestNoHello(t *testing.T) {
	t.Parallel()
	i := alone(t)
	s := i.dial(nil)
	began := time.Now()
	require.Empty(t, s.expectClose(4408))
	require.InDelta(t, 5, time.Since(began).Seconds(), 3)
}

func TestWhatIsRefusedBeforeItIsASocket(t *testing.T) {
	t.Parallel()
	i := guarded(t)
	httpURL := "http" + strings.TrimPrefix(i.url, "ws")
	for name, test := range map[string]struct {
		header http.Header
		status int
	}{
		"a foreign origin":         {http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden},
		"no origin that one knows": {http.Header{"Origin": {"null"}}, http.StatusForbidden},
		"two origins":              {http.Header{"Origin": {httpURL, "https://evil.example"}}, http.StatusForbidden},
		"a wrong token":            {http.Header{"Authorization": {"Bearer forged"}}, http.StatusUnauthorized},
		"no bearer":                {http.Header{"Authorization": {"Basic YTpi"}}, http.StatusUnauthorized},
		"without the scope":        {http.Header{"Authorization": {"Bearer no-inbox"}}, http.StatusForbidden},
		"nobody to ask":            {http.Header{"Authorization": {"Bearer away"}}, http.StatusServiceUnavailable},
		"the server's own origin":  {http.Header{"Origin": {httpURL}}, http.StatusSwitchingProtocols},
		"a listed origin":          {http.Header{"Origin": {"https://app.example.com"}}, http.StatusSwitchingProtocols},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, response, err := (&instance{t: t, url: i.url}).tryDial(test.header)
			require.NotNil(t, response, "%v", err)
			require.Equal(t, test.status, response.StatusCode)
			if err == nil {
				require.NoError(t, conn.Close())
			}
		})
	}
	t.Run("no WebSocket", func(t *testing.T) {
		response, err := http.Get(httpURL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusUpgradeRequired, response.StatusCode)
	})
	t.Run("no subprotocol", func(t *testing.T) {
		_, response, err := websocket.DefaultDialer.DialContext(t.Context(), i.url, nil)
		require.Error(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusBadRequest, response.StatusCode)
	})
}
