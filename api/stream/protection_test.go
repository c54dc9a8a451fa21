package stream_test

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

func TestBadFrames(t *testing.T) {
	t.Parallel()
	i := alone(t)
	for name, test := range map[string]struct {
		kind int
		text string
		code int
	}{
		"no JSON":          {websocket.TextMessage, `{`, 4400},
		"not text":         {websocket.BinaryMessage, `{"type":"ack"}`, 4400},
		"no type":          {websocket.TextMessage, `{}`, 4400},
		"an unknown type":  {websocket.TextMessage, `{"type":"dance"}`, 4400},
		"a second hello":   {websocket.TextMessage, `{"type":"hello"}`, 4400},
		"a repeated key":   {websocket.TextMessage, `{"type":"seen","type":"ack","cursor":""}`, 4400},
		"an unknown field": {websocket.TextMessage, `{"type":"seen","item_id":"` + uuid.NewString() + `","x":1}`, 4400},
		"no id":            {websocket.TextMessage, `{"type":"seen","item_id":"x"}`, 4400},
		"no cursor":        {websocket.TextMessage, `{"type":"ack","cursor":"x"}`, 4400},
		"too long":         {websocket.TextMessage, `{"type":"ack","cursor":"` + strings.Repeat("x", 20_000) + `"}`, websocket.CloseMessageTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := (&instance{t: t, url: i.url}).open("ann", "")
			require.NoError(t, s.WriteMessage(test.kind, []byte(test.text)))
			s.expectClose(test.code)
		})
	}
}

func TestAnItemThatIsNotThere(t *testing.T) {
	t.Parallel()
	i := alone(t)
	i.put(newItem("bob", "bob's"))
	s, _ := i.open("bob", "")
	item := newItem("bob", "bob's too")
	i.put(item)
	s.expectItems("bob's too")
	ann, _ := i.open("ann", "")
	ann.send(map[string]string{"type": "read", "item_id": item.ID})
	require.Equal(t, "not_found", ann.expect("error").Code)
	stored, err := i.store.Item(t.Context(), "bob", item.ID)
	require.NoError(t, err)
	require.Nil(t, stored.ReadAt)
	ann.send(map[string]string{"type": "read", "item_id": uuid.NewString()})
	require.Equal(t, "not_found", ann.expect("error").Code)
}

func TestTooManyFrames(t *testing.T) {
	t.Parallel()
	i := alone(t)
	s, hello := i.open("ann", "")
	for range 1500 {
		if s.WriteJSON(map[string]string{"type": "ack", "cursor": hello.Cursor}) != nil {
			break // it has closed
		}
	}
	s.expectClose(4429)
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	i := newInstance(t, mongotest.NewURI(t), func(c *stream.Config) { c.Connections, c.UserConnections = 3, 2 })
	i.open("ann", "")
	last, _ := i.open("ann", "")
	s := i.dial(nil)
	s.send(hello("user_id", "ann"))
	require.Equal(t, "too_much", s.expectClose(4429)[0].Code)
	i.opens("bob")
	_, response, err := i.tryDial(nil)
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	require.NoError(t, last.Close())
	i.opens("ann")
}

// opens waits until a user can connect.
func (i *instance) opens(userID string) {
	i.t.Helper()
	require.Eventually(i.t, func() bool {
		conn, _, err := i.tryDial(nil)
		if err != nil {
			return false
		}
		i.t.Cleanup(func() { _ = conn.Close() })
		s := &socket{i.t, conn}
		s.send(hello("user_id", userID))
		f, err := s.next()
		return err == nil && f.Type == "hello"
	}, patience, 20*time.Millisecond)
}

// A client that never reads is disconnected, and nobody else notices.
func TestAClientThatNeverReads(t *testing.T) {
	t.Parallel()
	i := alone(t)
	body := strings.Repeat("x", 20_000)
	reader, _ := i.open("ann", "")
	for range 10 {
		i.open("ann", "") // these do not read
	}
	latency := func(n int) time.Duration {
		took := make([]time.Duration, n)
		for k := range took {
			item := newItem("ann", "x")
			item.Body = body
			began := time.Now()
			i.pusher.PushItems(item)
			require.Equal(t, item.ID, reader.expect("item").Item.ID)
			took[k] = time.Since(began)
		}
		slices.Sort(took)
		return took[n*99/100]
	}
	quiet := latency(100)
	before := heap()
	busy := latency(1500) // 30 MB for each that does not read
	t.Logf("p99 %s before, %s while ten sockets fill up; memory %d KiB more", quiet, busy, (heap()-before)/1024)
	require.Less(t, busy, 10*quiet+100*time.Millisecond)
	require.Less(t, heap()-before, int64(10*2<<20+20<<20), "less than two MiB for each, and some")
	require.Eventually(t, func() bool { // they are gone, and their places free
		i.pusher.PushState(&notify.Item{ID: uuid.NewString(), UserID: "ann"}, 0)
		reader.expect("state")
		return i.stream.Count("ann") == 1
	}, patience, 100*time.Millisecond)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
