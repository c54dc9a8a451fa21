package certificate_test

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/certificate"
	"github.com/belfry-notify/belfry/internal/certificate/certtest"
)

func TestARenewedCertificateIsTakenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := certtest.Write(t, certFile, keyFile)
	var log bytes.Buffer
	files, err := certificate.Load(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	served := func() *x509.Certificate {
		got, err := files.Get(nil)
		require.NoError(t, err)
		return got.Leaf
	}
	require.Equal(t, first, served())

	// One file is renewed, the other not yet.
	newKey := filepath.Join(dir, "new")
	second := certtest.Write(t, certFile, newKey)
	require.Eventually(t, func() bool {
		require.Equal(t, first, served())
		return bytes.Contains(log.Bytes(), []byte("cannot be used"))
	}, 10*time.Second, 20*time.Millisecond)
	require.NoError(t, os.Rename(newKey, keyFile))
	require.Eventually(t, func() bool { return served().Equal(second) }, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("cannot be used")), "said once")

	require.NoError(t, os.Remove(certFile))
	require.Eventually(t, func() bool {
		require.True(t, served().Equal(second))
		return bytes.Count(log.Bytes(), []byte("cannot be used")) == 2
	}, 10*time.Second, 20*time.Millisecond)
}

func TestAWrongPairIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := func(file string) string { return filepath.Join(dir, file) }
	certtest.Write(t, name("a"), name("a.key"))
	certtest.Write(t, name("b"), name("b.key"))
	for _, pair := range [][2]string{{"a", "b.key"}, {"a.key", "a"}, {"a", "none"}, {"none", "a.key"}} {
		_, err := certificate.Load(name(pair[0]), name(pair[1]), nil)
		require.Error(t, err, pair)
		require.NotContains(t, err.Error(), "\n")
	}
}
