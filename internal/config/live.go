package config

import (
	"net"
	"strings"

	"github.com/belfry-notify/belfry/internal/gateway"
)

// A Live is how users are connected.
type Live struct {
	Origins         []string // STREAM_ORIGINS
	Connections     int      // STREAM_CONNECTIONS
	UserConnections int      // STREAM_USER_CONNECTIONS

	GatewayAddr      string       // GATEWAY_ADDR
	GatewayAdvertise string       // GATEWAY_ADVERTISE, empty: it is derived
	GatewayLink      gateway.Link // GATEWAY_TOKEN, GATEWAY_CERT_FILE, GATEWAY_KEY_FILE, GATEWAY_CA_FILE
}

func (l *loader) live() Live {
	return Live{
		Origins:         l.origins("STREAM_ORIGINS", ""),
		Connections:     l.number("STREAM_CONNECTIONS", 10_000, 1, 1_000_000),
		UserConnections: l.number("STREAM_USER_CONNECTIONS", 20, 1, 10_000),

		GatewayAddr:      l.address("GATEWAY_ADDR", "127.0.0.1:0"),
		GatewayAdvertise: l.advertised("GATEWAY_ADVERTISE"),
		GatewayLink:      l.link(),
	}
}

// advertised reads a host or a host:port.
func (l *loader) advertised(name string) string {
	v := l.text(name, "")
	if v == "" {
		return v
	}
	if _, _, err := net.SplitHostPort(v); err == nil {
		if host, _, _ := net.SplitHostPort(l.address(name, "")); host == "" {
			l.fail(name, "%s has no host", l.quote(name, v))
		}
	} else if strings.ContainsAny(v, ":/ \t\r\n") && net.ParseIP(v) == nil {
		l.fail(name, "%s is not a host or host:port", l.quote(name, v))
	}
	return v
}

// link reads how Belfry's processes know each other.
func (l *loader) link() gateway.Link {
	link := gateway.Link{
		Token:    l.text("GATEWAY_TOKEN", ""),
		CertFile: l.text("GATEWAY_CERT_FILE", ""),
		KeyFile:  l.text("GATEWAY_KEY_FILE", ""),
		CAFile:   l.certificates("GATEWAY_CA_FILE"),
	}
	if strings.ContainsFunc(link.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		l.fail("GATEWAY_TOKEN", "contains a space, a line break or a letter outside ASCII")
	}
	if err := link.Check(); err != nil && l.err == nil {
		l.fail("GATEWAY_CERT_FILE", "with BELFRY_GATEWAY_KEY_FILE it is to name a certificate and its key")
	}
	return link
}
