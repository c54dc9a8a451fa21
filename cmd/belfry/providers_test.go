package main

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/config"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A mail server that says nothing keeps all connections of broadcasts busy.
func TestBroadcastsLeaveDirectMailItsConnections(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	connections := make(chan net.Conn)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections <- c
		}
	}()
	cfg, err := config.Load(func(name string) (string, bool) {
		value, ok := map[string]string{
			"BELFRY_SMTP_URL": "smtp://" + listener.Addr().String() + "?tls=none", "BELFRY_SMTP_RATE": "100/s",
			"BELFRY_SMTP_CONNECTIONS": "1", "BELFRY_SMTP_BULK_CONNECTIONS": "2",
			"BELFRY_EMAIL_PROVIDER": "smtp,sendgrid", "BELFRY_SENDGRID_API_KEY": "SG.x",
		}[name]
		return value, ok
	})
	require.NoError(t, err)
	b := &belfry{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	require.NoError(t, b.openProviders())
	require.Len(t, b.limiters, 1, "of SMTP alone")
	require.Equal(t, 1, b.activities(false).Concurrency)
	require.Equal(t, 2, b.activities(true).Concurrency)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var open []net.Conn
	for _, g := range []*channel.Guard{b.bulk[0], b.bulk[0], b.direct[0]} {
		ready, _ := g.Ready(ctx, false)
		require.True(t, ready)
		go g.Send(ctx, notify.Message{Address: "ann@example.com", Email: notify.Email{Subject: "x", HTML: "x"}})
		select {
		case c := <-connections:
			open = append(open, c)
		case <-ctx.Done():
			require.Fail(t, "no connection")
		}
	}
	for _, c := range open {
		c.Close()
	}
	for _, g := range append(b.direct, b.bulk...) {
		require.NoError(t, g.Close())
	}
}
