package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/gateway"
)

// gatewayLeases is the kind of the gateways' leases.
const gatewayLeases = "gateway"

// openGateway prepares this process for the sockets of users.
func (b *belfry) openGateway() error {
	b.gateway = gateway.New(gateway.Config{
		Store:     b.store,
		Leases:    b.store.Leases(gatewayLeases, time.Now),
		Addr:      b.cfg.Live.GatewayAddr,
		Advertise: b.cfg.Live.GatewayAdvertise,
		Link:      b.cfg.Live.GatewayLink,
		Log:       b.log,
		Now:       now,
	})
	return nil
}

// openPusher prepares what tells gateways of news.
func (b *belfry) openPusher() {
	b.pusher = gateway.NewPusher(gateway.PusherConfig{
		Directory: b.store,
		Leases:    b.store.Leases(gatewayLeases, time.Now),
		Local:     b.gateway,
		Link:      b.cfg.Live.GatewayLink,
		Log:       b.log,
	})
}

// stream serves the sockets.
func (b *belfry) stream(callers *access.Authenticator) *stream.Stream {
	authenticate := callers.Authenticate
	if b.cfg.Auth.Nobody() {
		authenticate = nil
	}
	return stream.New(stream.Config{
		Store:           b.store,
		Gateway:         b.gateway,
		Pusher:          b.pusher,
		Authenticate:    authenticate,
		Origins:         b.cfg.Live.Origins,
		Connections:     b.cfg.Live.Connections,
		UserConnections: b.cfg.Live.UserConnections,
		Log:             b.log,
		Now:             time.Now,
	})
}

// whileLive runs roles while what brings news to users runs beneath them: it
// ends after them, so that they can tell the last ones too, and when it fails
// they end.
func (b *belfry) whileLive(ctx context.Context, roles func(context.Context) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	beneath, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var live errgroup.Group
	live.Go(func() error { return b.pusher.Run(beneath) })
	if b.gateway != nil {
		live.Go(func() error {
			err := b.gateway.Run(beneath)
			end() // where it fails, this is before the roles end by themselves
			return err
		})
	}
	err := roles(ctx)
	stop()
	return errors.Join(err, live.Wait())
}
