package gateway_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/gateway/gatewaypb"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// A node is a process with a gateway and a pusher.
type node struct {
	t       *testing.T
	store   *store.Store
	gateway *gateway.Gateway
	pusher  *gateway.Pusher
	stop    func()
}

func open(t *testing.T, uri string) *store.Store {
	t.Helper()
	s, err := store.Open(uri)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

func newNode(t *testing.T, uri string, link gateway.Link) *node {
	t.Helper()
	s := open(t, uri)
	log := slog.New(slog.DiscardHandler)
	n := &node{t: t, store: s}
	n.gateway = gateway.New(gateway.Config{
		Store: s, Leases: s.Leases("gateway", time.Now), Addr: "127.0.0.1:0", Link: link, Log: log, Now: time.Now,
	})
	n.pusher = gateway.NewPusher(gateway.PusherConfig{
		Directory: s, Leases: s.Leases("gateway", time.Now), Local: n.gateway, Link: link, Log: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{n.gateway.Run, n.pusher.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	n.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(n.stop)
	return n
}

// addr is where others reach the node, once its lease is there.
func (n *node) addr() (addr string) {
	n.t.Helper()
	leases := n.store.Leases("gateway", time.Now)
	require.Eventually(n.t, func() bool {
		alive, err := leases.Alive(n.t.Context())
		require.NoError(n.t, err)
		for _, l := range alive {
			if l.ID == n.gateway.ID() {
				addr = l.Address
			}
		}
		return addr != ""
	}, patience, 10*time.Millisecond)
	return addr
}

// A socket keeps what it is told.
type socket chan *gateway.Message

func (s socket) Tell(m *gateway.Message) {
	select {
	case s <- m:
	default: // it must not wait
	}
}

func (n *node) open(userID string) socket {
	n.t.Helper()
	s := make(socket, 100)
	require.NoError(n.t, n.gateway.Open(n.t.Context(), userID, s))
	return s
}

func (s socket) next(t *testing.T) *gateway.Message {
	t.Helper()
	select {
	case m := <-s:
		return m
	case <-time.After(patience):
		require.Fail(t, "the socket is told nothing")
		return nil
	}
}

func item(userID, title string) *notify.Item {
	return &notify.Item{ID: uuid.NewString(), NotificationID: uuid.NewString(), DeliveryID: uuid.NewString(), UserID: userID, Title: title}
}

func TestNewsGoToTheirUsersWhereverTheyAre(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	a, b := newNode(t, uri, gateway.Link{}), newNode(t, uri, gateway.Link{})
	a.addr()
	b.addr()
	atA, atB, again, bobs := a.open("ann"), b.open("ann"), b.open("ann"), b.open("bob")
	for i, from := range []*node{a, b} {
		sent := item("ann", "<Solaris>")
		from.pusher.PushItems(item("nobody", "x"), sent)
		read := time.Now().UTC().Truncate(time.Millisecond)
		sent.ReadAt = &read
		from.pusher.PushState(sent, 7+i)
		for _, s := range []socket{atA, atB, again} {
			m := s.next(t)
			require.Equal(t, sent.ID, m.Item.ID)
			require.Equal(t, sent.NotificationID, m.Item.NotificationID)
			require.Equal(t, sent.DeliveryID, m.Item.DeliveryID)
			require.Contains(t, string(m.Item.JSON), `"title":"<Solaris>"`)
			require.Equal(t, &gateway.State{ItemID: sent.ID, ReadAt: &read, Unread: 7 + i}, s.next(t).State)
		}
	}
	require.Empty(t, bobs)

	b.gateway.Close("ann", atB)
	a.pusher.PushItems(item("ann", "one socket is left"))
	atA.next(t)
	again.next(t)
	require.Empty(t, atB)
}

func TestWhoIsNoPartOfBelfryIsRefused(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	n := newNode(t, uri, gateway.Link{})
	connection, err := grpc.NewClient(n.addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	secret, err := n.store.GatewaySecret(t.Context())
	require.NoError(t, err)
	s := n.open("ann")
	for header, want := range map[string]codes.Code{
		"": codes.Unauthenticated, "Bearer": codes.Unauthenticated, "Bearer x" + secret: codes.Unauthenticated,
		"Basic " + secret: codes.Unauthenticated, "Bearer " + secret: codes.OK,
	} {
		ctx := t.Context()
		if header != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", header)
		}
		_, err := gatewaypb.NewGatewayServiceClient(connection).Push(ctx, &gatewaypb.PushRequest{Messages: []*gatewaypb.Message{
			{UserId: "ann"}, // of a kind that is not known
			{UserId: "ann", What: &gatewaypb.Message_State{State: &gatewaypb.State{ItemId: "x"}}},
		}})
		require.Equal(t, want, status.Code(err), header)
	}
	require.Equal(t, "x", s.next(t).State.ItemID)
	require.Empty(t, s)
}

func TestProcessesWithAnotherTokenDoNotReachEachOther(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	a, b, other := newNode(t, uri, gateway.Link{Token: "one"}), newNode(t, uri, gateway.Link{Token: "one"}), newNode(t, uri, gateway.Link{Token: "two"})
	for _, n := range []*node{a, b, other} {
		n.addr()
	}
	atA, atB := a.open("ann"), b.open("ann")
	other.pusher.PushItems(item("ann", "is refused"))
	b.pusher.PushItems(item("ann", "is let in"))
	require.Contains(t, string(atB.next(t).Item.JSON), "is let in")
	require.Contains(t, string(atA.next(t).Item.JSON), "is let in")
}

// A gateway that stops is not told of any more, and one that died neither.
func TestGatewaysThatAreGone(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	a, b := newNode(t, uri, gateway.Link{}), newNode(t, uri, gateway.Link{})
	a.addr()
	b.addr()
	s := a.open("ann")
	b.open("ann")
	require.NoError(t, a.store.InsertPresence(t.Context(), "dead", []string{"ann"}, time.Now()))
	b.stop()
	gateways, err := a.store.GatewaysOf(t.Context(), []string{"ann"})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{a.gateway.ID(), "dead"}, gateways["ann"])
	for range 3 {
		a.pusher.PushItems(item("ann", "x"))
		s.next(t)
	}
}

// Who is connected is written down while that lasts, and a little longer.
func TestPresenceIsWrittenDown(t *testing.T) {
	t.Parallel()
	n := newNode(t, mongotest.NewURI(t), gateway.Link{})
	present := func() []string {
		users, err := n.store.Presence(t.Context(), n.gateway.ID())
		require.NoError(t, err)
		return users
	}
	first, second := n.open("ann"), n.open("ann")
	require.Equal(t, []string{"ann"}, present(), "when a socket is open, it is written down")
	n.gateway.Close("ann", first)
	require.Equal(t, []string{"ann"}, present())
	n.gateway.Close("ann", second)
	require.Equal(t, []string{"ann"}, present(), "most come back soon")
	third := n.open("ann")
	n.gateway.Close("ann", third)
	require.Eventually(t, func() bool { return len(present()) == 0 }, patience, 50*time.Millisecond)
	n.open("ann")
	require.Equal(t, []string{"ann"}, present())
	n.stop()
	require.Empty(t, present())
}
