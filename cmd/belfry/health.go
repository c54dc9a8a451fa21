package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

type healthCommand struct {
	output
	Addr string `default:"127.0.0.1:8080" env:"BELFRY_HTTP_ADDR" help:"Address that the API listens on, host:port; 0.0.0.0 means this machine."`
}

// healthTimeout bounds how long the API may take to answer.
const healthTimeout = 5 * time.Second

// Run asks the API whether it is alive.
func (c *healthCommand) Run(ctx context.Context, env *environment) error {
	address, err := reachable(c.Addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	direct := &http.Client{Transport: &http.Transport{}} // a proxy is not for this machine
	defer direct.CloseIdleConnections()
	client := &apiClient{base: "http://" + address, http: direct, complain: env.complain}
	got, err := client.ask(ctx, http.MethodGet, "/healthz", nil, nil)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	return env.print("ok\n")
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
