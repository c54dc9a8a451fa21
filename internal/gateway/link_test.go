package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/certificate/certtest"
	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/mongotest"
)

func TestOverTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certtest.New(t)
	strange, _ := certtest.New(t)
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
