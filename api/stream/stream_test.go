package stream_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// An instance is one of the API's, as far as sockets go.
type instance struct {
	t      *testing.T
	url    string
	store  *store.Store
	stream *stream.Stream
	pusher *gateway.Pusher
	stop   func()
}

// newInstance starts an instance over a database.
func newInstance(t *testing.T, uri string, configure func(*stream.Config)) *instance {
	t.Helper()
	kept, err := store.Open(uri)
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	here := gateway.New(gateway.Config{
		Store: kept, Leases: kept.Leases("gateway", time.Now), Addr: "127.0.0.1:0", Log: log, Now: time.Now,
	})
	i := &instance{t: t, store: kept}
	i.pusher = gateway.NewPusher(gateway.PusherConfig{
		Directory: kept, Leases: kept.Leases("gateway", time.Now), Local: here, Log: log,
	})
	cfg := stream.Config{
		Store: kept, Gateway: here, Pusher: i.pusher, Connections: 1000, UserConnections: 100, Log: log, Now: time.Now,
	}
	if configure != nil {
		configure(&cfg)
	}
	i.stream = stream.New(cfg)
	served := httptest.NewServer(i.stream)
	i.url = "ws" + strings.TrimPrefix(served.URL, "http")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { i.stream.Run(ctx) })
	for _, run := range []func(context.Context) error{here.Run, i.pusher.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	i.stop = sync.OnceFunc(func() {
		i.stream.Drain(context.Background())
		served.Close()
		cancel()
		running.Wait()
		require.NoError(t, kept.Close(context.Background()))
	})
	t.Cleanup(i.stop)
	return i
}

func alone(t *testing.T) *instance { return newInstance(t, mongotest.NewURI(t), nil) }

// newItem is an item for a user, with an id of its moment.
func newItem(userID, title string) *notify.Item {
	return &notify.Item{
		ID: uuid.Must(uuid.NewV7()).String(), NotificationID: uuid.NewString(), DeliveryID: uuid.NewString(),
		UserID: userID, Title: title, Body: "body", Data: `{"n":12345678901234567890}`, CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

// idOf is an item's id of a moment: a version 7 UUID (RFC 9562, section 5.7).
func idOf(at time.Time) string {
	id := uuid.Must(uuid.NewV7())
	ms := uint64(at.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id.String()
}

// put stores items and has them pushed, as the channel inbox does.
func (i *instance) put(items ...*notify.Item) {
	i.t.Helper()
	for _, item := range items {
		require.NoError(i.t, i.store.InsertItem(i.t.Context(), item))
		i.pusher.PushItems(item)
	}
}

// A frame is any of the server's.
type frame struct {
	Type         string       `json:"type"`
	ConnectionID string       `json:"connection_id"`
	Cursor       string       `json:"cursor"`
	Item         *notify.Item `json:"item"`
	ItemID       string       `json:"item_id"`
	SeenAt       *time.Time   `json:"seen_at"`
	ReadAt       *time.Time   `json:"read_at"`
	ArchivedAt   *time.Time   `json:"archived_at"`
	Unread       int          `json:"unread"`
	Code         string       `json:"code"`
	Detail       string       `json:"detail"`
}

// A socket is a client's.
type socket struct {
	t *testing.T
	*websocket.Conn
}

// dial opens a socket and says nothing.
func (i *instance) dial(header http.Header) *socket {
	i.t.Helper()
	conn, response, err := i.tryDial(header)
	require.NoError(i.t, err, "%v", response)
	i.t.Cleanup(func() { _ = conn.Close() })
	return &socket{i.t, conn}
}

func (i *instance) tryDial(header http.Header) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{Subprotocols: []string{stream.Subprotocol}, HandshakeTimeout: patience}
	conn, response, err := dialer.DialContext(i.t.Context(), i.url, header)
	if response != nil {
		_ = response.Body.Close()
	}
	return conn, response, err
}

// open opens a socket of a user, who has what is before the cursor.
func (i *instance) open(userID, after string) (*socket, frame) {
	i.t.Helper()
	hello := map[string]string{"type": "hello", "user_id": userID}
	if after != "" {
		hello["after"] = after
	}
	for tries := 0; ; tries++ {
		s := i.dial(nil)
		s.send(hello)
		f, err := s.next()
		if err == nil && f.Code == "unavailable" && tries < 10 { // the database of a busy machine
			continue
		}
		require.NoError(i.t, err)
		require.Equal(i.t, "hello", f.Type, "%+v", f)
		return s, f
	}
}

func (s *socket) send(frame any) {
	s.t.Helper()
	require.NoError(s.t, s.WriteJSON(frame))
}

// next reads a frame.
func (s *socket) next() (frame, error) {
	_ = s.SetReadDeadline(time.Now().Add(patience))
	var f frame
	_, text, err := s.ReadMessage()
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	return f, err
}

// expect reads a frame, which is to be of the type.
func (s *socket) expect(kind string) frame {
	s.t.Helper()
	f, err := s.next()
	require.NoError(s.t, err)
	require.Equal(s.t, kind, f.Type, "%+v", f)
	return f
}

// expectItems reads items, in this order.
func (s *socket) expectItems(titles ...string) (last frame) {
	s.t.Helper()
	for _, title := range titles {
		last = s.expect("item")
		require.Equal(s.t, title, last.Item.Title)
	}
	return last
}

// expectClose reads to the end, which is to be this one.
func (s *socket) expectClose(code int) (before []frame) {
	s.t.Helper()
	for {
		f, err := s.next()
		if err == nil {
			before = append(before, f)
			continue
		}
		require.True(s.t, websocket.IsCloseError(err, code), "%v, not %d", err, code)
		return before
	}
}

// quiet is when nothing is to come that has not come after that long.
const quiet = 300 * time.Millisecond

func (s *socket) expectNothing() {
	s.t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(quiet))
	_, text, err := s.ReadMessage()
	require.Error(s.t, err, "%s", text)
	require.ErrorContains(s.t, err, "timeout")
}

func TestItemsComeLive(t *testing.T) {
	t.Parallel()
	i := alone(t)
	i.put(newItem("ann", "before"))
	s, hello := i.open("ann", "")
	require.Equal(t, 1, hello.Unread)
	require.NoError(t, uuid.Validate(hello.ConnectionID))
	other, _ := i.open("ann", "")
	bob, _ := i.open("bob", "")
	first := newItem("ann", "first <&>")
	i.put(first, newItem("bob", "to bob"), newItem("ann", "second"))
	got := s.expectItems("first <&>")
	require.Equal(t, first.ID, got.Item.ID)
	want := *first
	want.DeliveryID, want.UserID = "", ""
	require.Equal(t, want, *got.Item)
	s.expectItems("second")
	other.expectItems("first <&>", "second")
	bob.expectItems("to bob")
}

func TestAcrossInstances(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	a, b := newInstance(t, uri, nil), newInstance(t, uri, nil)
	atA, _ := a.open("ann", "")
	atB, _ := b.open("ann", "")
	item := newItem("ann", "one")
	a.put(item)
	atA.expectItems("one")
	atB.expectItems("one")
	b.put(newItem("ann", "two"))
	atA.expectItems("two")
	atB.expectItems("two")

	atB.send(map[string]string{"type": "read", "item_id": item.ID})
	for _, s := range []*socket{atA, atB} {
		state := s.expect("state")
		require.Equal(t, item.ID, state.ItemID)
		require.NotNil(t, state.ReadAt)
		require.NotNil(t, state.SeenAt)
		require.Nil(t, state.ArchivedAt)
		require.Equal(t, 1, state.Unread)
	}
	b.stop()
	atB.expectClose(websocket.CloseServiceRestart)
	a.put(newItem("ann", "three"))
	atA.expectItems("three")
}

// What nobody was told of is found.
func TestWhatWasNotPushedIsFound(t *testing.T) {
	t.Parallel()
	i := newInstance(t, mongotest.NewURI(t), func(c *stream.Config) { c.LookEvery = 100 * time.Millisecond })
	s, _ := i.open("ann", "")
	late := newItem("ann", "late")
	late.ID = idOf(time.Now().Add(-time.Hour))
	i.put(newItem("ann", "pushed"))
	s.expectItems("pushed")
	require.NoError(t, i.store.InsertItem(t.Context(), late)) // with an older id
	s.expectItems("late")
	s.expectNothing()
}
