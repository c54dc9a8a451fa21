package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/idp"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	healthy := httptest.NewServer(answering(map[string]string{"GET /healthz": `{"status":"ok"}`}))
	defer healthy.Close()
	ill := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer ill.Close()
	gone := httptest.NewServer(nil)
	gone.Close()

	require.Equal(t, ran{out: "ok\n"}, caller{}.run(t.Context(), "health", "--addr", healthy.Listener.Addr().String()))
	require.Equal(t, ran{out: "{\n  \"status\": \"ok\"\n}\n"}, caller{}.run(t.Context(), "health", "--addr", healthy.Listener.Addr().String(), "-o", "json"))
	for _, server := range []*httptest.Server{ill, gone} {
		got := caller{}.run(t.Context(), "health", "--addr", server.Listener.Addr().String())
		require.Equal(t, exitFailed, got.code)
		require.NotEmpty(t, got.err)
	}
}

func TestHealthOfTheIDP(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- idp.Serve(ctx, listener, idp.ServerConfig{UsersFile: "../../dev/users.yaml", Token: "token"})
	}()

	require.Equal(t, ran{out: "ok\n"}, caller{}.run(t.Context(), "health", "--idp", addr))
	require.Equal(t, ran{out: "{\n  \"status\": \"ok\"\n}\n"}, caller{}.run(t.Context(), "health", "--idp", addr, "-o", "json"))
	cancel()
	require.NoError(t, <-served)
	for _, gone := range []string{addr, "nowhere"} {
		got := caller{}.run(t.Context(), "health", "--idp", gone)
		require.Equal(t, exitFailed, got.code)
		require.NotEmpty(t, got.err)
		require.Empty(t, got.out)
	}
}

func TestWhereTheAPIIsReached(t *testing.T) {
	t.Parallel()
	for listens, reached := range map[string]string{
		"":                 "127.0.0.1:8080",
		"127.0.0.1:8080":   "127.0.0.1:8080",
		"0.0.0.0:80":       "127.0.0.1:80",
		":9000":            "127.0.0.1:9000",
		"[::]:9000":        "[::1]:9000",
		"10.1.2.3:80":      "10.1.2.3:80",
		"belfry.local:80":  "belfry.local:80",
		"[2001:db8::1]:80": "[2001:db8::1]:80",
	} {
		address, err := reachable(listens)
		require.NoError(t, err, listens)
		require.Equal(t, reached, address, listens)
	}
}
