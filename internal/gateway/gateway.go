package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/belfry-notify/belfry/internal/gateway/gatewaypb"
	"github.com/belfry-notify/belfry/internal/store"
)

// A Store keeps which users are at which gateway.
type Store interface {
	InsertPresence(ctx context.Context, gateway string, userIDs []string, at time.Time) error
	DeletePresence(ctx context.Context, gateway string, userIDs []string) error
	Presence(ctx context.Context, gateway string) ([]string, error)
	EndPresence(ctx context.Context, gateway string) error
	ForgetGateways(ctx context.Context, alive []string, before time.Time) error
	GatewaySecret(ctx context.Context) (string, error)
}

// OwnLeases are the leases of the gateways, of which one is this one's.
type OwnLeases interface {
	Leases
	Beat(ctx context.Context, own *store.Lease) error
	End(ctx context.Context, id string) error
}

// Config is what a gateway needs to know and to call.
type Config struct {
	Store     Store
	Leases    OwnLeases
	Addr      string // where to listen for pushes, host:port
	Advertise string // where the others dial that, host or host:port; empty: it is derived
	Link      Link
	Log       *slog.Logger
	Now       func() time.Time
}

// A Socket is an open connection of a user to this instance.
type Socket interface {
	// Tell is given news of the user. It must not wait.
	Tell(m *Message)
}

// A Gateway is this instance of the API with the sockets that are open here.
type Gateway struct {
	Config
	id       string
	presence *presence

	mu      sync.RWMutex
	sockets map[string][]Socket // by user
}

// New makes a gateway, whose sockets are told what is given to Deliver; Run
// makes it known to others.
func New(cfg Config) *Gateway {
	id := uuid.NewString()
	return &Gateway{Config: cfg, id: id, sockets: map[string][]Socket{}, presence: newPresence(cfg, id)}
}

// ID is that of its lease.
func (g *Gateway) ID() string { return g.id }

// Open adds a socket of a user. When it returns, everybody who stores an item
// after this moment finds the user here; what was stored before can be read. An
// error says that this could not be written down: the socket is told what it is
// to know later then.
func (g *Gateway) Open(ctx context.Context, userID string, s Socket) error {
	g.mu.Lock()
	g.sockets[userID] = append(g.sockets[userID], s)
	g.mu.Unlock()
	return g.presence.enter(ctx, userID)
}

// Close takes a socket out that was added.
func (g *Gateway) Close(userID string, s Socket) {
	g.mu.Lock()
	var left []Socket // a list that is told from is never changed
	for _, other := range g.sockets[userID] {
		if other != s {
			left = append(left, other)
		}
	}
	if g.sockets[userID] = left; left == nil {
		delete(g.sockets, userID)
	}
	g.mu.Unlock()
	g.presence.leave(userID)
}

// Deliver gives messages to the sockets of their users.
func (g *Gateway) Deliver(messages []*Message) {
	for _, m := range messages {
		g.mu.RLock()
		sockets := g.sockets[m.UserID]
		g.mu.RUnlock()
		for _, s := range sockets {
			s.Tell(m)
		}
	}
}

// Run has others know and reach this gateway until ctx ends, which is to be when
// its sockets are closed.
func (g *Gateway) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", g.Addr)
	if err != nil {
		return fmt.Errorf("BELFRY_GATEWAY_ADDR: listen for other instances: %w", err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it, if it came to that
	addr, err := advertised(g.Advertise, listener.Addr())
	if err != nil {
		return err
	}
	server, err := g.server(ctx)
	if err != nil || server == nil {
		return err
	}
	g.Log.InfoContext(ctx, "gateway", "id", g.id, "listens", listener.Addr().String(), "advertised", addr)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ending, end := context.WithCancel(ctx)
	defer end()
	var group sync.WaitGroup
	group.Go(func() { g.beat(ending, store.Lease{ID: g.id, Address: addr}) })
	group.Go(func() { g.presence.run(ending) })
	select {
	case err = <-served:
		err = fmt.Errorf("serve other instances: %w", err)
	case <-ctx.Done():
		server.Stop()
		if err = <-served; errors.Is(err, grpc.ErrServerStopped) { // told to before it began
			err = nil
		}
	}
	end()
	group.Wait()
	return errors.Join(err, g.leave(context.WithoutCancel(ctx)))
}

// server makes the gRPC server once the secret is known; nil when ctx ends
// before.
func (g *Gateway) server(ctx context.Context) (*grpc.Server, error) {
	transport, err := g.Link.serverCredentials()
	if err != nil {
		return nil, err
	}
	token, err := backoff.Retry(ctx, func() (string, error) { return g.Link.token(ctx, g.Store) }, backoff.WithMaxElapsedTime(0))
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil //nolint:nilerr // told to stop
		}
		return nil, err
	}
	server := grpc.NewServer(
		grpc.Creds(transport),
		grpc.UnaryInterceptor(guard(token)),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.MaxConcurrentStreams(100),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}))
	gatewaypb.RegisterGatewayServiceServer(server, &service{gateway: g})
	return server, nil
}

type service struct {
	gatewaypb.UnimplementedGatewayServiceServer
	gateway *Gateway
}

// Push gives messages to sockets.
func (s *service) Push(_ context.Context, request *gatewaypb.PushRequest) (*gatewaypb.PushResponse, error) {
	messages := make([]*Message, 0, len(request.GetMessages()))
	for _, p := range request.GetMessages() {
		if m := fromProto(p); m != nil {
			messages = append(messages, m)
		}
	}
	s.gateway.Deliver(messages)
	return &gatewaypb.PushResponse{}, nil
}

// beat keeps the lease.
func (g *Gateway) beat(ctx context.Context, lease store.Lease) {
	ticker := time.NewTicker(store.LeaseBeat)
	defer ticker.Stop()
	away := false
	for {
		err := g.Leases.Beat(ctx, &lease)
		if err != nil && !away && ctx.Err() == nil {
			g.Log.WarnContext(ctx, "the gateway's lease could not be kept: users connected here learn of news late", "error", err)
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// leave takes back what others know of this gateway.
func (g *Gateway) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	if err := errors.Join(g.Leases.End(ctx, g.id), g.Store.EndPresence(ctx, g.id)); err != nil {
		g.Log.WarnContext(ctx, "the gateway's lease could not be ended: it is taken for dead soon", "error", err)
	}
	return nil
}
