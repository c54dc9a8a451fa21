package main

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A role that does not use a part does not fail because of that part's
// variables; the others say which one is wrong.
func TestARoleNeedsOnlyItsOwnVariables(t *testing.T) {
	t.Setenv("BELFRY_SMTP_URL", "wrong")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, run := range map[string]func(context.Context) error{
		"api": apiCommand{}.Run, "worker": workerCommand{}.Run, "starter": starterCommand{}.Run, "all": allCommand{}.Run,
	} {
		require.ErrorContains(t, run(stopped), "BELFRY_SMTP_URL: ", name)
	}

	addr := freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- idpCommand{Addr: addr, Users: "../../dev/users.yaml"}.Run(ctx) }()
	require.Eventually(t, func() bool { return askIDP(ctx, addr) == nil }, 10*time.Second, 20*time.Millisecond)
	cancel()
	require.NoError(t, <-served)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
