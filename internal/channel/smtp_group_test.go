package channel

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

const grouping = "250-mail.test\r\n250-PIPELINING\r\n250 8BITMIME"

// What becomes of a message whose commands travelled behind the content of
// another one, whatever becomes of that.
func TestMessageAnnouncedBehindAnother(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script        answers // "dot, more behind it" is that of the other message
		other, second notify.OutcomeKind
		dialled       int
	}{
		"both taken":                       {answers{}, sent, sent, 1},
		"the other refused":                {answers{dotInGroup: "550 spam"}, permanent, sent, 1},
		"the other refused for now":        {answers{dotInGroup: "451 later"}, transient, sent, 1},
		"421 to the other":                 {answers{dotInGroup: "421 bye" + hangUp}, transient, sent, 2},
		"no answer to the other":           {answers{dotInGroup: hangUp}, unknown, sent, 2},
		"nonsense to the other":            {answers{dotInGroup: "hm"}, unknown, sent, 2},
		"the other taken, then hung up":    {answers{dotInGroup: "250 ok" + hangUp}, sent, sent, 2},
		"the second one's recipient wrong": {answers{rcptInGroup: "550 no"}, sent, permanent, 1},
		"the second one's sender wrong":    {answers{mailInGroup: "451 later"}, sent, transient, 1},
		"421 to the second one's sender":   {answers{mailInGroup: "421 bye" + hangUp}, sent, sent, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.script["EHLO"] = grouping
			server := serve(t, test.script, answers{})
			p := server.provider(func(c *SMTPConfig) { c.MaxConnections = 1 })
			other, second := sendBehind(t.Context(), p, hello())
			require.Equal(t, test.other, other)
			require.Equal(t, test.second, second().Kind)
			require.Equal(t, test.dialled, server.count())
			require.Equal(t, sent, p.Send(t.Context(), hello()).Kind, "the slot is free")
		})
	}
}

// sendBehind sends messages over the only connection until m waits for it and
// is announced behind one, of which it gives the outcome.
func sendBehind(ctx context.Context, p *SMTP, m notify.Message) (other notify.OutcomeKind, second func() notify.Outcome) {
	l, err := p.compose(hello())
	if err != nil {
		panic(err)
	}
	session, problem := p.pool.take(context.WithoutCancel(ctx), l)
	if problem != nil {
		panic(problem.detail())
	}
	outcome := make(chan notify.Outcome, 1)
	go func() { outcome <- p.Send(ctx, m) }()
	for session.next == nil {
		_, problem = session.send(context.WithoutCancel(ctx), l)
	}
	other = sent
	if problem != nil {
		other = problem.outcome().Kind
	}
	var once sync.Once
	return other, func() notify.Outcome {
		once.Do(func() { p.pool.give(session) })
		return <-outcome
	}
}

func TestAnnouncedMessageIsGivenUp(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"EHLO": grouping})
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	_, second := sendBehind(ctx, p, hello())
	before := len(server.received())
	cancel()
	got := second()
	require.Equal(t, transient, got.Kind)
	require.Equal(t, "wait for a connection: the attempt was cancelled", got.Detail)
	require.Len(t, server.received(), before, "nothing of its content went out")
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, 2, server.count(), "the server waited for content on the first")
}

func TestMessageThatTheSessionCannotCarryIsNotAnnounced(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"EHLO": grouping})
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections = 1 })
	m := hello()
	m.Address = "däda@example.org"
	other, second := sendBehind(t.Context(), p, m)
	require.Equal(t, sent, other)
	require.Equal(t, notify.ReasonBadAddress, second().Reason)
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, 1, server.count())
}

// Many at once over few connections: each once, most of them announced behind
// another one, and never more on a connection than are allowed.
func TestMessagesInGroups(t *testing.T) {
	t.Parallel()
	const connections, messages, atMost = 2, 100, 7
	server := serve(t, answers{"EHLO": grouping})
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections, c.MaxMessages = connections, atMost })
	var sends sync.WaitGroup
	kinds := make(chan notify.OutcomeKind, messages)
	for i := range messages {
		sends.Go(func() {
			m := hello()
			m.DeliveryID = fmt.Sprintf("delivery-%d", i)
			kinds <- p.Send(t.Context(), m).Kind
		})
	}
	sends.Wait()
	close(kinds)
	for kind := range kinds {
		require.Equal(t, sent, kind)
	}
	received := map[string]bool{}
	for _, content := range server.received() {
		received[content] = true
	}
	require.Len(t, received, messages)
	require.Len(t, server.received(), messages)
	require.LessOrEqual(t, server.mostOpen, connections)
	require.GreaterOrEqual(t, server.count(), messages/atMost)
	require.Greater(t, server.inGroups(), messages/2)
}

func TestNobodyIsAnnouncedOnceClosed(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"EHLO": grouping, "dot": gate + "250 ok"})
	p := server.provider(func(c *SMTPConfig) { c.MaxConnections = 1 })
	first, second := make(chan notify.Outcome, 1), make(chan notify.Outcome, 1)
	go func() { first <- p.Send(t.Context(), hello()) }()
	<-server.reached
	require.NoError(t, p.Close())
	go func() { second <- p.Send(t.Context(), hello()) }()
	close(server.proceed)
	require.Equal(t, sent, (<-first).Kind)
	require.Contains(t, (<-second).Detail, "the provider is closed")
	require.Len(t, server.received(), 1)
}
