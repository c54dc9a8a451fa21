package channel

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 10 * time.Second

func TestConnectionIsReusedWithoutNoise(t *testing.T) {
	t.Parallel()
	server := serve(t)
	p := server.provider()
	for range 5 {
		require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	}
	require.Equal(t, 1, server.count())
	require.Equal(t, 1, server.commands("EHLO"))
	require.Zero(t, server.commands("NOOP")+server.commands("RSET"))
	require.Len(t, server.received(), 5)
}

func TestConnectionIsReusedAfterARefusal(t *testing.T) {
	t.Parallel()
	for _, extensions := range []string{"250 8BITMIME", "250 PIPELINING"} {
		for point, resets := range map[string]int{"RCPT#1": 1, "DATA#1": 1, "dot#1": 0} {
			t.Run(extensions+" "+point, func(t *testing.T) {
				t.Parallel()
				server := serve(t, answers{"EHLO": "250-mail.test\r\n" + extensions, point: "550 no"})
				p := server.provider()
				require.Equal(t, permanent, p.Send(t.Context(), hello()).Kind)
				require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
				require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
				require.Equal(t, 1, server.count())
				require.Equal(t, resets, server.commands("RSET"))
			})
		}
	}
}

// A pooled connection that has died is replaced within the same Send.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	pipelining := "250-mail.test\r\n250 PIPELINING"
	tests := map[string]struct {
		script  answers // of the first connection
		then    answers // of the second
		second  string  // outcome of the second message
		dialled int
	}{
		"closed after the first message":    {answers{"dot": "250 ok" + hangUp}, answers{}, "sent", 2},
		"closed at the second MAIL":         {answers{"MAIL#2": hangUp}, answers{}, "sent", 2},
		"421 at the second MAIL":            {answers{"MAIL#2": "421 idle too long" + hangUp}, answers{}, "sent", 2},
		"421 at MAIL, pipelined":            {answers{"EHLO": pipelining, "MAIL#2": "421 bye" + hangUp}, answers{}, "sent", 2},
		"closed, pipelined":                 {answers{"EHLO": pipelining, "dot": "250 ok" + hangUp}, answers{}, "sent", 2},
		"the new one refuses the recipient": {answers{"MAIL#2": hangUp}, answers{"RCPT": "550 no"}, "permanent", 2},
		"the new one is dead too":           {answers{"MAIL#2": hangUp}, answers{"MAIL": hangUp}, "transient", 2},
		"the new one is not greeted":        {answers{"MAIL#2": hangUp}, answers{"greeting": "421 full"}, "transient", 2},
		"4xx at MAIL is no sign of death":   {answers{"MAIL#2": "451 later"}, answers{}, "transient", 1},
		"closed once MAIL was accepted":     {answers{"RCPT#2": hangUp}, answers{}, "transient", 1},
		"closed after the final dot":        {answers{"dot#2": hangUp}, answers{}, "unknown", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, test.script, test.then)
			p := server.provider()
			require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
			got := p.Send(t.Context(), hello())
			require.Equal(t, test.second, string(got.Kind), got.Detail)
			require.Equal(t, test.dialled, server.count())
		})
	}
}

// Such as one that a firewall has forgotten.
func TestStaleConnectionThatIsSilent(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"MAIL#2": silence}, answers{})
	p := server.provider(func(c *SMTPConfig) { c.CommandTimeout = 4 * time.Second })
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, 2, server.count())
}

func TestConnectionIsRenewedWhenRSETIsRefused(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"RCPT": "550 no", "RSET": "500 what?"}, answers{})
	p := server.provider()
	require.Equal(t, permanent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, 2, server.count())
}

func TestConnectionIsRenewedAfterMaxMessages(t *testing.T) {
	t.Parallel()
	server := serve(t)
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections, c.MaxMessages = 1, 2 })
	for range 5 {
		require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	}
	require.Equal(t, 3, server.count())
	require.Equal(t, 2, server.commands("QUIT"))
	require.Equal(t, 1, server.mostOpen)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"dot": gate + "250 ok"})
	p := server.provider(func(c *SMTPConfig) { c.IdleTimeout = 50 * time.Millisecond })
	var sends sync.WaitGroup
	for range 3 {
		sends.Go(func() { p.Send(t.Context(), hello()) })
		<-server.reached
	}
	require.Equal(t, 3, server.openNow())
	close(server.proceed)
	sends.Wait()
	require.Eventually(t, func() bool { return server.openNow() == 0 }, patience, time.Millisecond)
	require.Equal(t, 3, server.commands("QUIT"))
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, 4, server.count())
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	server := serve(t)
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections = 3 })
	var sends sync.WaitGroup
	kinds := make(chan string, 60)
	for i := range cap(kinds) {
		sends.Go(func() {
			m := hello()
			m.DeliveryID = fmt.Sprintf("delivery-%d", i)
			kinds <- string(p.Send(t.Context(), m).Kind)
		})
	}
	sends.Wait()
	close(kinds)
	for kind := range kinds {
		require.Equal(t, "sent", kind)
	}
	require.Len(t, server.received(), 60)
	require.LessOrEqual(t, server.mostOpen, 3)
}

func TestWaitForAConnectionEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"dot": gate + "250 ok"})
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections = 1 })
	first := make(chan string)
	go func() { first <- string(p.Send(t.Context(), hello()).Kind) }()
	<-server.reached
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	got := p.Send(ctx, hello())
	require.Equal(t, transient, got.Kind)
	require.Equal(t, "wait for a connection: the time for this attempt was over", got.Detail)
	close(server.proceed)
	require.Equal(t, "sent", <-first)
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind, "the slot is free again")
}

func TestClose(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"dot#2": gate + "250 ok"})
	p := server.provider()
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	inFlight := make(chan string)
	go func() { inFlight <- string(p.Send(t.Context(), hello()).Kind) }()
	<-server.reached
	require.NoError(t, p.Close())
	close(server.proceed)
	require.Equal(t, "sent", <-inFlight, "a message on its way is not lost")
	require.Eventually(t, func() bool { return server.openNow() == 0 }, patience, time.Millisecond)
	got := p.Send(t.Context(), hello())
	require.Equal(t, transient, got.Kind)
	require.Contains(t, got.Detail, "the provider is closed")
	require.NoError(t, p.Close())
}
