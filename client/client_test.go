package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belfry-notify/belfry/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A server plays a part for each connection; the end-to-end tests have the real
// one. What a part returns is how the socket is closed.
type server struct {
	t     *testing.T
	http  *httptest.Server
	parts []func(s *session) (code int)
	next  atomic.Int64
}

type session struct {
	*websocket.Conn
	t      *testing.T
	header http.Header
	hello  map[string]string
}

func serve(t *testing.T, parts ...func(s *session) int) *server {
	t.Helper()
	s := &server{t: t, parts: parts}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := s.parts[min(int(s.next.Add(1))-1, len(s.parts)-1)]
	if part == nil {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"detail":"who are you?","code":"unauthorized"}`))
		return
	}
	upgrader := websocket.Upgrader{Subprotocols: []string{"belfry.v1"}}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	session := &session{Conn: conn, t: s.t, header: r.Header}
	if err := conn.ReadJSON(&session.hello); err != nil {
		s.t.Error(err)
		return
	}
	if code := part(session); code != 0 {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "said so"), time.Now().Add(time.Second))
	}
}

func (s *session) say(frames ...string) {
	for _, frame := range frames {
		if err := s.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			s.t.Error(err)
		}
	}
}

func hello(cursor string) string {
	return fmt.Sprintf(`{"type":"hello","connection_id":"c","unread":2,"cursor":%q}`, cursor)
}

func item(id, cursor string) string {
	return fmt.Sprintf(`{"type":"item","item":{"id":%q,"title":"title of %s","data":{}},"cursor":%q}`, id, id, cursor)
}

// stay reads until the client goes.
func (s *session) stay() int {
	for {
		if _, _, err := s.ReadMessage(); err != nil {
			return 0
		}
	}
}

// listen collects what a listener gives until it has n items, or an error.
func listen(t *testing.T, cfg client.Config, n int) (events []client.Event, listener *client.Listener, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	listener, err = client.New(cfg)
	require.NoError(t, err)
	items := 0
	for event, err := range listener.Listen(ctx) {
		if err != nil {
			return events, listener, err
		}
		events = append(events, event)
		if event.Item != nil {
			items++
		}
		if items == n {
			break
		}
	}
	return events, listener, nil
}

func ids(events []client.Event) (ids []string) {
	for _, e := range events {
		if e.Item != nil {
			ids = append(ids, e.Item.ID)
		}
	}
	return ids
}

func TestItGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	var hellos []map[string]string
	s := serve(t,
		func(s *session) int {
			hellos = append(hellos, s.hello)
			s.say(hello("c0"), item("1", "c1"), item("2", "c2"))
			return websocket.CloseServiceRestart
		},
		func(s *session) int { // dies
			hellos = append(hellos, s.hello)
			s.say(hello("c2"), item("2", "c2b"), item("3", "c3"))
			return 0
		},
		func(s *session) int {
			hellos = append(hellos, s.hello)
			s.say(hello("c3"), `{"type":"news"}`, item("3", "c3"), item("1", "c3"),
				`{"type":"state","item_id":"1","read_at":"2026-01-02T03:04:05Z","unread":1}`, `{"type":"gap","cursor":"g"}`,
				`{"type":"error","code":"not_found","detail":"gone"}`, item("4", "c4"))
			return s.stay()
		})
	var lost []error
	events, listener, err := listen(t, client.Config{URL: s.http.URL, UserID: "ann", After: "before", Lost: func(err error, next time.Duration) {
		lost = append(lost, err)
		require.Less(t, next, 2*time.Second)
	}}, 4)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3", "4"}, ids(events))
	require.Equal(t, "c4", listener.Cursor())
	for i, after := range []string{"before", "c2", "c3"} {
		require.Equal(t, map[string]string{"type": "hello", "user_id": "ann", "after": after}, hellos[i])
	}
	require.Len(t, lost, 2)
	connects := 0
	for _, e := range events {
		switch {
		case e.Connected != nil:
			connects++
			require.Equal(t, &client.Connected{ConnectionID: "c", Unread: 2}, e.Connected)
		case e.State != nil:
			require.Equal(t, "1", e.State.ItemID)
			require.Equal(t, 2026, e.State.ReadAt.Year())
			require.Equal(t, 1, e.State.Unread)
		case e.Problem != nil:
			require.Equal(t, client.Problem{Code: "not_found", Detail: "gone"}, *e.Problem)
		}
		require.True(t, json.Valid(e.Frame))
	}
	require.Equal(t, 3, connects)
	require.Len(t, events, 3+4+3)
}

func TestItAcknowledgesWhatItGave(t *testing.T) {
	t.Parallel()
	acks := make(chan string, 10)
	s := serve(t, func(s *session) int {
		s.say(hello("c0"), item("1", "c1"), item("2", "c2"), item("2", "c2"), item("3", "c3"))
		for {
			var ack map[string]string
			if s.ReadJSON(&ack) != nil {
				close(acks)
				return 0
			}
			acks <- ack["type"] + " " + ack["cursor"]
		}
	})
	_, _, err := listen(t, client.Config{URL: s.http.URL, Ack: true}, 3)
	require.NoError(t, err)
	last := ""
	for ack := range acks {
		last = ack
	}
	require.Equal(t, "ack c3", last, "also when the loop ends")
}

func TestItTellsOfItems(t *testing.T) {
	t.Parallel()
	told := make(chan string, 3)
	s := serve(t, func(s *session) int {
		s.say(hello("c0"))
		for range 3 {
			var frame map[string]string
			if err := s.ReadJSON(&frame); err != nil {
				t.Error(err)
			}
			told <- frame["type"] + " " + frame["item_id"]
		}
		s.say(item("1", "c1"))
		return s.stay()
	})
	listener, err := client.New(client.Config{URL: s.http.URL})
	require.NoError(t, err)
	require.Error(t, listener.Read("x"), "there is no connection")
	for event, err := range listener.Listen(t.Context()) {
		require.NoError(t, err)
		if event.Item != nil {
			break
		}
		require.NoError(t, listener.Seen("a"))
		require.NoError(t, listener.Read("b"))
		require.NoError(t, listener.Archive("c"))
	}
	for _, want := range []string{"seen a", "read b", "archive c"} {
		require.Equal(t, want, <-told)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	forbidden := func(*session) int { return 4401 }
	for name, test := range map[string]struct {
		part func(*session) int
		code int
	}{
		"before there is a socket": {nil, http.StatusUnauthorized},
		"after the hello":          {forbidden, 4401},
		"a bad frame":              {func(*session) int { return 4400 }, 4400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := listen(t, client.Config{URL: serve(t, test.part).http.URL}, 1)
			refusal, ok := errors.AsType[*client.Refusal](err)
			require.True(t, ok, err)
			require.Equal(t, test.code, refusal.Code)
		})
	}
	t.Run("a token that ends is followed by another", func(t *testing.T) {
		t.Parallel()
		var shown []string
		s := serve(t, func(s *session) int {
			shown = append(shown, s.header.Get("Authorization"))
			s.say(hello("c0"))
			return 4401
		}, func(s *session) int {
			shown = append(shown, s.header.Get("Authorization"))
			s.say(hello("c0"), item("1", "c1"))
			return s.stay()
		})
		tokens := 0
		events, _, err := listen(t, client.Config{URL: s.http.URL, Bearer: func(context.Context) (string, error) {
			tokens++
			return fmt.Sprint(tokens), nil
		}}, 1)
		require.NoError(t, err)
		require.Equal(t, []string{"1"}, ids(events))
		require.Equal(t, []string{"Bearer 1", "Bearer 2"}, shown)
	})
	t.Run("what is no address", func(t *testing.T) {
		t.Parallel()
		for _, url := range []string{"", "ws://x", "example.com", "https://"} {
			_, err := client.New(client.Config{URL: url})
			require.Error(t, err, url)
		}
	})
}

func TestItEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := serve(t, func(s *session) int {
		s.say(hello("c0"))
		return s.stay()
	})
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := client.New(client.Config{URL: s.http.URL})
	require.NoError(t, err)
	var last error
	for _, err := range listener.Listen(ctx) {
		last = err
		cancel()
	}
	require.ErrorIs(t, last, context.Canceled)

	away, err := client.New(client.Config{URL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, last = range away.Listen(ctx) {
	}
	require.ErrorIs(t, last, context.DeadlineExceeded)
}
