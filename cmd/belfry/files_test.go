package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/config"
)

// A flag's variable may name a file, as those of servers may.
func TestAKeyMayStandInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("hunter2\n"), 0o600))
	t.Setenv("BELFRY_KEY_FILE", file)
	var given string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"items":[]}`))
	})
	got := caller{handler: handler}.run(t.Context(), "template", "list")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "Bearer hunter2", given)

	got = caller{handler: handler}.run(t.Context(), "template", "list", "--key", "other")
	require.Zero(t, got.code, got.err)
	require.Equal(t, "Bearer other", given, "a flag wins")

	t.Setenv("BELFRY_KEY", "hunter2")
	got = caller{handler: handler}.run(t.Context(), "template", "list")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.err, "BELFRY_KEY: is set twice")
	require.NotContains(t, got.err, "hunter2")
}

func TestTemporalsKeyMayStandInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("hunter2\n"), 0o600))
	t.Setenv("TEMPORAL_API_KEY_FILE", file)
	var wrong error
	key, found := temporalVariables{&wrong}.LookupEnv("TEMPORAL_API_KEY")
	require.NoError(t, wrong)
	require.True(t, found)
	require.Equal(t, "hunter2", key)
	c, _, err := dialTemporal(codec.Keys{}, newLogger(config.Log{Format: "text"}))
	require.NoError(t, err)
	c.Close()

	t.Setenv("TEMPORAL_API_KEY_FILE", file+"x")
	_, _, err = dialTemporal(codec.Keys{}, newLogger(config.Log{Format: "text"}))
	require.ErrorContains(t, err, "TEMPORAL_API_KEY_FILE: the file cannot be read")
}

func TestHealthOverTLS(t *testing.T) {
	healthy := httptest.NewUnstartedServer(answering(map[string]string{"GET /healthz": `{"status":"ok"}`}))
	healthy.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	healthy.StartTLS()
	defer healthy.Close()
	t.Setenv("BELFRY_TLS_CERT_FILE", "cert.pem")
	require.Equal(t, ran{out: "ok\n"}, caller{}.run(t.Context(), "health", "--addr", healthy.Listener.Addr().String()))
}
