package channel

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wneessen/go-mail/smtp"

	"github.com/belfry-notify/belfry/internal/notify"
)

const grouping = "250-mail.test\r\n250-PIPELINING\r\n250 8BITMIME"

func oneConnection(c *SMTPConfig) { c.MaxConnections, c.MaxMessages = 1, 10_000 }

// What becomes of a message whose commands travelled behind the content of
// another one, whatever becomes of that.
func TestMessageAnnouncedBehindAnother(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script        answers // dotInGroup is of the other message
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
			p := server.provider(oneConnection)
			other, second := sendBehind(t, p, func() notify.Outcome { return p.Send(t.Context(), hello()) })
			require.Equal(t, test.other, other)
			require.Equal(t, test.second, second().Kind)
			require.Equal(t, test.dialled, server.count())
			require.Equal(t, sent, p.Send(t.Context(), hello()).Kind, "the slot is free")
		})
	}
}

// sendBehind sends messages over the only connection until the one that send sends
// waits for it and is announced behind another one, of which it gives the outcome.
func sendBehind(t *testing.T, p *SMTP, send func() notify.Outcome) (other notify.OutcomeKind, second func() notify.Outcome) {
	t.Helper()
	l, err := p.compose(hello())
	require.NoError(t, err)
	session, problem := p.pool.take(t.Context(), l)
	require.Nil(t, problem)
	outcome := make(chan notify.Outcome, 1)
	go func() { outcome <- send() }()
	for problem == nil && session.next == nil {
		_, problem = session.send(t.Context(), l)
	}
	require.NotNil(t, session.next, "nobody was announced")
	other = sent
	if problem != nil {
		other = problem.outcome().Kind
	}
	return other, func() notify.Outcome {
		p.pool.give(session)
		return <-outcome
	}
}

func TestAnnouncedMessageIsGivenUp(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"EHLO": grouping})
	p := server.provider(oneConnection)
	ctx, cancel := context.WithCancel(t.Context())
	_, second := sendBehind(t, p, func() notify.Outcome { return p.Send(ctx, hello()) })
	before := len(server.received())
	cancel()
	got := second()
	require.Equal(t, transient, got.Kind)
	require.Equal(t, "wait for a connection: the attempt was cancelled", got.Detail)
	require.Len(t, server.received(), before, "nothing of its content went out")
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.Equal(t, 2, server.count(), "on the first one the server waited for content")
}

func TestMessageThatTheSessionCannotCarryIsNotAnnounced(t *testing.T) {
	t.Parallel()
	server := serve(t, answers{"EHLO": grouping})
	p := server.provider(oneConnection)
	m := hello()
	m.Address = "däda@example.org"
	other, second := sendBehind(t, p, func() notify.Outcome { return p.Send(t.Context(), m) })
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
	server := serve(t, answers{"EHLO": grouping})
	p := server.provider(oneConnection)
	l, err := p.compose(hello())
	require.NoError(t, err)
	session, problem := p.pool.take(t.Context(), l)
	require.Nil(t, problem)
	require.NoError(t, p.Close())
	outcome := make(chan notify.Outcome, 1)
	go func() { outcome <- p.Send(t.Context(), hello()) }()
	const messages = 100
	for range messages {
		_, problem = session.send(t.Context(), l)
		require.Nil(t, problem)
		require.Nil(t, session.next)
	}
	p.pool.give(session)
	require.Contains(t, (<-outcome).Detail, "the provider is closed")
	require.Len(t, server.received(), messages)
}

// A brokenConn takes so many bytes, and answers all the same.
type brokenConn struct {
	net.Conn
	takes  int
	answer io.Reader
}

func (c *brokenConn) Write(p []byte) (int, error) {
	n := min(len(p), c.takes)
	if c.takes -= n; n < len(p) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

func (c *brokenConn) Read(p []byte) (int, error)      { return c.answer.Read(p) }
func (c *brokenConn) SetDeadline(time.Time) error     { return nil }
func (c *brokenConn) SetReadDeadline(time.Time) error { return nil }
func (c *brokenConn) Close() error                    { return nil }

// How far a write of content with commands behind it got says what is known.
func TestOutcomeOfAGroupCutShort(t *testing.T) {
	t.Parallel()
	const large = 100_000 // more than is buffered
	for _, size := range []int{100, large} {
		var l letter
		l.finish([]byte(strings.Repeat("x", size)))
		l.sender, l.recipient = "<a@example.com>", "<b@example.org>"
		end := len(l.content)
		for takes, want := range map[int]struct {
			answer string
			kind   notify.OutcomeKind
		}{
			0:         {"", transient},
			l.dot:     {"", transient},
			l.dot + 1: {"", unknown},
			end - 1:   {"", unknown},
			end:       {"250 ok\r\n", sent},
			end + 1:   {"250 ok\r\n", sent},
			end + 2:   {"550 no\r\n", permanent},
			end + 3:   {"", unknown},
			2 * large: {"250 ok\r\n", sent}, // all
		} {
			conn := &brokenConn{takes: takes, answer: strings.NewReader(want.answer)}
			session := &smtpSession{
				raw: conn, client: &smtp.Client{Text: textproto.NewConn(conn)}, pipelining: true,
				config: &SMTPConfig{AnswerTimeout: time.Minute}, pool: newSMTPPool(nil, 1, 10, time.Minute),
			}
			session.pool.waiting = make(chan *waiter, 1)
			session.pool.waiting <- &waiter{letter: &l}
			_, problem := session.transmit(t.Context(), &l)
			require.True(t, session.announced)
			kind := sent
			if problem != nil {
				kind = problem.outcome().Kind
			}
			require.Equal(t, want.kind, kind, "%d of %d bytes and more", takes, end)
			require.Equal(t, takes < 2*large, session.broken)
		}
	}
}
