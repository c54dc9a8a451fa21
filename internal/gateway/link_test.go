package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/mongotest"
)

// newCertificate writes a certificate for this machine, which trusts itself, and
// its key.
func newCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
		return file
	}
	return write("cert.pem", "CERTIFICATE", certificate), write("key.pem", "PRIVATE KEY", encoded)
}

func TestOverTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := newCertificate(t)
	strange, _ := newCertificate(t)
	uri := mongotest.NewURI(t)
	secure := gateway.Link{CertFile: certFile, KeyFile: keyFile, CAFile: certFile}
	require.NoError(t, secure.Check())
	require.Error(t, gateway.Link{CertFile: certFile}.Check())
	a, b := newNode(t, uri, secure), newNode(t, uri, secure)
	inTheClear := newNode(t, uri, gateway.Link{})
	trustsAnother := newNode(t, uri, gateway.Link{CertFile: certFile, KeyFile: keyFile, CAFile: strange})
	for _, n := range []*node{a, b, inTheClear, trustsAnother} {
		n.addr()
	}
	s := a.open("ann")
	inTheClear.pusher.PushItems(item("ann", "in the clear"))
	trustsAnother.pusher.PushItems(item("ann", "to a stranger"))
	b.pusher.PushItems(item("ann", "over TLS"))
	require.Contains(t, string(s.next(t).Item.JSON), "over TLS")
	require.Empty(t, s)
}
