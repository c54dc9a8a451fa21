package gateway

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhereOthersDial(t *testing.T) {
	t.Parallel()
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7946}
	all := &net.TCPAddr{IP: net.IPv4zero, Port: 7946}
	for _, test := range []struct {
		wish    string
		listens net.Addr
		want    string
	}{
		{"", loopback, "127.0.0.1:7946"},
		{"api-1.internal", all, "api-1.internal:7946"},
		{"api-1.internal:80", all, "api-1.internal:80"},
		{"2001:db8::1", all, "[2001:db8::1]:7946"},
	} {
		got, err := advertised(test.wish, test.listens)
		require.NoError(t, err)
		require.Equal(t, test.want, got)
	}
	got, err := advertised("", all)
	if err == nil { // where this machine has an address
		host, port, err := net.SplitHostPort(got)
		require.NoError(t, err)
		require.Equal(t, "7946", port)
		require.True(t, net.ParseIP(host).IsGlobalUnicast(), got)
	}
}

func TestABacklogIsBounded(t *testing.T) {
	t.Parallel()
	b := newBacklog()
	large := &Message{Item: &Item{JSON: make([]byte, 1<<20)}}
	for range 20 {
		b.add(large)
	}
	require.Equal(t, 13, b.droppedSince())
	require.Zero(t, b.droppedSince())
	require.Len(t, b.take(t.Context(), 100, 3<<20), 2)
	require.Len(t, b.take(t.Context(), 100, 1), 1, "one at least")
	require.Len(t, b.take(t.Context(), 3, 100<<20), 3)
	b.add(large)
	require.Len(t, b.take(t.Context(), 100, 100<<20), 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Empty(t, b.take(ctx, 100, 100))
	for range maxWaiting + 5 {
		b.add(&Message{State: &State{}})
	}
	require.Equal(t, 5, b.droppedSince())
}
