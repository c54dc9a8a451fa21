package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/belfry-notify/belfry/internal/idp"
)

type healthCommand struct {
	output
	Addr string `default:"127.0.0.1:8080" env:"BELFRY_HTTP_ADDR" help:"Address that the API listens on, host:port; 0.0.0.0 means this machine."`
	Cert string `env:"BELFRY_TLS_CERT_FILE" hidden:"" help:"Set where the API speaks TLS."`
	IDP  string `name:"idp" placeholder:"ADDR" help:"Ask the reference idp (belfry idp, without TLS) at this address instead."`
}

// healthTimeout bounds how long an answer may take.
const healthTimeout = 5 * time.Second

// Run asks the API, or the idp, whether it is alive.
func (c *healthCommand) Run(ctx context.Context, env *environment) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	answer, err := c.ask(ctx, env)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(answer)
	}
	return env.print("ok\n")
}

func (c *healthCommand) ask(ctx context.Context, env *environment) (json.RawMessage, error) {
	if c.IDP != "" {
		return json.RawMessage(`{"status":"ok"}`), askIDP(ctx, c.IDP)
	}
	address, err := reachable(c.Addr)
	if err != nil {
		return nil, err
	}
	scheme, transport := "http://", &http.Transport{} // a proxy is not for this machine
	if c.Cert != "" {
		scheme = "https://"
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // nothing secret is said, and the certificate is for another name than this machine's
	}
	direct := &http.Client{Transport: transport}
	defer direct.CloseIdleConnections()
	client := &apiClient{base: scheme + address, http: direct, complain: env.complain}
	got, err := client.ask(ctx, http.MethodGet, "/healthz", nil, nil)
	if err != nil {
		return nil, err
	}
	return got.text, nil
}

// askIDP asks an idp's gRPC health service.
func askIDP(ctx context.Context, addr string) (err error) {
	client, err := idp.New(idp.Config{Addr: addr})
	if err != nil {
		return fmt.Errorf("set up the idp client: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return client.Ping(ctx)
}

// reachable is where to reach somebody who listens on an address: all of a
// machine's addresses include the loopback one.
func reachable(listens string) (string, error) {
	if listens == "" { // an empty variable counts as not set
		return "127.0.0.1:8080", nil
	}
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return "", usagef("BELFRY_HTTP_ADDR: %q is not host:port", listens)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
