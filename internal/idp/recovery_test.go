package idp

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

func TestClientOutlivesTheServer(t *testing.T) {
	t.Parallel()
	// A Unix socket: nobody can take its address while the server is down.
	socket := filepath.Join(t.TempDir(), "idp.sock")
	up := func() func() {
		listener, err := net.Listen("unix", socket)
		require.NoError(t, err)
		return (&fake{answer: known}).start(t, listener)
	}
	client := newClient(t, Config{Addr: "unix:" + socket, Timeout: 3 * time.Second, CacheTTL: -1})
	lookUp := func() error {
		_, err := client.Lookup(t.Context(), "ana")
		return err
	}

	started := time.Now()
	requireCode(t, notify.CodeUnavailable, lookUp())
	require.Less(t, time.Since(started), 4*time.Second)

	down := up()
	require.Eventually(t, func() bool { return lookUp() == nil }, patience, 20*time.Millisecond)
	down()
	requireCode(t, notify.CodeUnavailable, lookUp())
	requireCode(t, notify.CodeUnavailable, client.Ping(t.Context()))
	down = up()
	require.Eventually(t, func() bool { return lookUp() == nil }, patience, 20*time.Millisecond)
	require.NoError(t, client.Ping(t.Context()))
	down()
}

func TestShortOutageIsRetried(t *testing.T) {
	t.Parallel()
	server, addr := newFake(t, nil)
	server.answer = func(ctx context.Context, id string) (*idppb.Info, error) {
		if server.asked.Load() < 4 {
			return nil, status.Error(codes.Unavailable, "starting")
		}
		return known(ctx, id)
	}
	_, err := newClient(t, Config{Addr: addr}).Lookup(t.Context(), "ana")
	require.NoError(t, err)
	require.EqualValues(t, 4, server.asked.Load())
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	_, slow := newFake(t, func(ctx context.Context, _ string) (*idppb.Info, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	mute := listen(t) // takes connections and never says a word
	t.Cleanup(func() { _ = mute.Close() })
	for name, addr := range map[string]string{"slow answer": slow, "no answer at all": mute.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, Config{Addr: addr, Timeout: 200 * time.Millisecond})
			started := time.Now()
			_, err := client.Lookup(t.Context(), "ana")
			requireCode(t, notify.CodeUnavailable, err)
			require.Less(t, time.Since(started), 5*time.Second)

			client = newClient(t, Config{Addr: addr, Timeout: patience})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err = client.Lookup(ctx, "ana")
			requireCode(t, notify.CodeUnavailable, err)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	t.Run("reference server", func(t *testing.T) {
		t.Parallel()
		addr := serve(t, ServerConfig{Token: "secret"}) // probes need no token
		require.NoError(t, newClient(t, Config{Addr: addr}).Ping(t.Context()))
	})
	t.Run("server without the health service", func(t *testing.T) {
		t.Parallel()
		_, addr := newFake(t, known)
		require.NoError(t, newClient(t, Config{Addr: addr}).Ping(t.Context()))
	})
	t.Run("server that does not answer", func(t *testing.T) {
		t.Parallel()
		mute := listen(t)
		t.Cleanup(func() { _ = mute.Close() })
		client := newClient(t, Config{Addr: mute.Addr().String(), Timeout: 100 * time.Millisecond})
		requireCode(t, notify.CodeUnavailable, client.Ping(t.Context()))
	})
	t.Run("server that is not healthy", func(t *testing.T) {
		t.Parallel()
		server, listener, served := grpc.NewServer(), listen(t), make(chan error, 1)
		sick := health.NewServer()
		sick.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		healthpb.RegisterHealthServer(server, sick)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() {
			server.Stop()
			require.NoError(t, <-served)
		})
		requireCode(t, notify.CodeUnavailable, newClient(t, Config{Addr: listener.Addr().String()}).Ping(t.Context()))
	})
}

func TestClosedClient(t *testing.T) {
	t.Parallel()
	_, addr := newFake(t, known)
	client, err := New(Config{Addr: addr})
	require.NoError(t, err)
	require.NoError(t, client.Close())
	_, err = client.Lookup(t.Context(), "ana")
	requireCode(t, notify.CodeUnavailable, err)
}
