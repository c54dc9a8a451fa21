package channel

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

const (
	sent      = notify.OutcomeSent
	transient = notify.OutcomeTransient
	permanent = notify.OutcomePermanent
	unknown   = notify.OutcomeUnknown

	rejected = notify.ReasonRejected
	setup    = notify.ReasonProviderError
)

// Every row of DESIGN.md's "Outcomes of an SMTP send", against a server that
// does just that, with commands one by one and pipelined.
func TestOutcomeOfAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		script answers
		kind   notify.OutcomeKind
		reason notify.Reason
		detail string
	}{
		"taken":                         {answers{}, sent, "", ""},
		"taken with another 2xx":        {answers{"RCPT": "251 will forward", "dot": "251 ok"}, sent, "", ""},
		"EOF before greeting":           {answers{"greeting": hangUp}, transient, "", "greeting: the server closed the connection"},
		"421 greeting":                  {answers{"greeting": "421 busy"}, transient, "", "greeting: 421 busy"},
		"554 greeting":                  {answers{"greeting": "554 no mail here"}, transient, setup, "greeting: 554 no mail here"},
		"greeting of another protocol":  {answers{"greeting": "HTTP/1.1 400 Bad"}, transient, "", "greeting: short response"},
		"EHLO 421":                      {answers{"EHLO": "421 busy" + hangUp}, transient, "", "EHLO: 421 busy"},
		"EHLO and HELO 5xx":             {answers{"EHLO": "550 who?", "HELO": "550 who?"}, transient, setup, "EHLO: 550 who?"},
		"EHLO EOF":                      {answers{"EHLO": hangUp}, transient, "", "EHLO: the server closed the connection"},
		"EHLO not known, HELO is":       {answers{"EHLO": "500 what?"}, sent, "", ""},
		"MAIL 4xx":                      {answers{"MAIL": "451 later"}, transient, "", "MAIL: 451 later"},
		"MAIL 421":                      {answers{"MAIL": "421 bye" + hangUp}, transient, "", "MAIL: 421 bye"},
		"MAIL 550 for our sender":       {answers{"MAIL": "550 5.7.1 not you"}, transient, setup, "MAIL: 550 5.7.1 not you"},
		"MAIL 530 log in first":         {answers{"MAIL": "530 5.7.0 log in"}, transient, setup, "MAIL: 530 5.7.0 log in"},
		"MAIL 552 too large":            {answers{"MAIL": "552 5.3.4 too big"}, permanent, rejected, "MAIL: 552 5.3.4 too big"},
		"MAIL EOF":                      {answers{"MAIL": hangUp}, transient, "", "MAIL: the server closed the connection"},
		"RCPT 4xx greylisted":           {answers{"RCPT": "450 4.2.0 greylisted"}, transient, "", "RCPT: 450 4.2.0 greylisted"},
		"RCPT 452 storage":              {answers{"RCPT": "452 4.2.2 full"}, transient, "", "RCPT: 452 4.2.2 full"},
		"RCPT 550 no such user":         {answers{"RCPT": "550 5.1.1 no such user"}, permanent, rejected, "RCPT: 550 5.1.1 no such user"},
		"RCPT 501 bad address":          {answers{"RCPT": "501 5.1.3 bad"}, permanent, rejected, "RCPT: 501 5.1.3 bad"},
		"RCPT 504 dislikes our EHLO":    {answers{"RCPT": "504 5.5.2 helo"}, transient, setup, "RCPT: 504 5.5.2 helo"},
		"RCPT 530 log in first":         {answers{"RCPT": "530 5.7.0 log in"}, transient, setup, "RCPT: 530"},
		"RCPT EOF":                      {answers{"RCPT": hangUp}, transient, "", "RCPT: the server closed the connection"},
		"RCPT 550, DATA accepted":       {answers{"RCPT": "550 no", "DATA": "354 go"}, permanent, rejected, "RCPT: 550 no"},
		"DATA 4xx":                      {answers{"DATA": "451 later"}, transient, "", "DATA: 451 later"},
		"DATA 552":                      {answers{"DATA": "552 5.2.2 full"}, permanent, rejected, "DATA: 552 5.2.2 full"},
		"DATA 554 policy":               {answers{"DATA": "554 5.7.1 policy"}, permanent, rejected, "DATA: 554 5.7.1 policy"},
		"DATA 250 makes no sense":       {answers{"DATA": "250 ok"}, transient, "", "DATA: 250 ok"},
		"DATA EOF":                      {answers{"DATA": hangUp}, transient, "", "DATA: the server closed the connection"},
		"dot 4xx":                       {answers{"dot": "451 4.3.0 later"}, transient, "", "end of content: 451 4.3.0 later"},
		"dot 421":                       {answers{"dot": "421 bye" + hangUp}, transient, "", "end of content: 421 bye"},
		"dot 550":                       {answers{"dot": "550 5.7.1 spam"}, permanent, rejected, "end of content: 550 5.7.1 spam"},
		"dot 552":                       {answers{"dot": "552 5.3.4 too big"}, permanent, rejected, "end of content: 552"},
		"dot EOF":                       {answers{"dot": hangUp}, unknown, "", "end of content: the server closed the connection"},
		"dot answered by nonsense":      {answers{"dot": "hm"}, unknown, "", "end of content: short response"},
		"dot answered by 354":           {answers{"dot": "354 go on"}, unknown, "", "end of content: 354 go on"},
		"dot 250, then hung up":         {answers{"dot": "250 ok" + hangUp}, sent, "", ""},
		"dot 250, RSET and QUIT 5xx":    {answers{"RSET": "500 no", "QUIT": "500 no"}, sent, "", ""},
		"a reply of many lines":         {answers{"RCPT": "550-5.1.1 no such user\r\n550 5.1.1 see\u0007help"}, permanent, rejected, "RCPT: 550 5.1.1 no such user 5.1.1 see help"},
		"a reply longer than is kept":   {answers{"RCPT": "550 " + strings.Repeat("é", 400)}, permanent, rejected, "RCPT: 550 éé"},
		"a refusal before the dot, EOF": {answers{"content": "554 5.6.0 no" + hangUp}, permanent, rejected, "554 5.6.0 no"},
	}
	for name, test := range tests {
		for mode, extensions := range map[string]string{"": "", ", pipelined": "250-PIPELINING\r\n250-SIZE 1000000\r\n"} {
			t.Run(name+mode, func(t *testing.T) {
				t.Parallel()
				script := answers{"EHLO": "250-mail.test\r\n" + extensions + "250 8BITMIME"}
				for point, answer := range test.script {
					script[point] = answer
				}
				got := serve(t, script).provider().Send(t.Context(), hello())
				require.Equal(t, test.kind, got.Kind, got.Detail)
				require.Equal(t, test.reason, got.Reason)
				require.Contains(t, got.Detail, test.detail)
				require.LessOrEqual(t, len(got.Detail), maxDetail)
				require.Equal(t, test.detail == "", got.Detail == "")
			})
		}
	}
}

func TestOutcomeOfRefusedConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	got := provider(t, listener.Addr()).Send(t.Context(), hello())
	require.Equal(t, transient, got.Kind)
	require.Contains(t, got.Detail, "connection refused")
}

func TestOutcomeOfSilence(t *testing.T) {
	t.Parallel()
	const short = time.Second
	for _, point := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA"} {
		t.Run("command time-out at "+point, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answers{point: silence})
			got := server.provider(func(c *SMTPConfig) { c.CommandTimeout = short }).Send(t.Context(), hello())
			require.Equal(t, transient, got.Kind)
			require.Equal(t, point+": no answer in time", got.Detail)
		})
		t.Run("deadline at "+point, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answers{point: silence})
			ctx, cancel := context.WithTimeout(t.Context(), short)
			defer cancel()
			got := server.provider().Send(ctx, hello())
			require.Equal(t, transient, got.Kind)
			require.True(t, strings.HasPrefix(got.Detail, point+": "), got.Detail)
			require.Eventually(t, func() bool { return server.openNow() == 0 }, 10*time.Second, time.Millisecond)
		})
	}
	t.Run("answer time-out at the dot", func(t *testing.T) {
		t.Parallel()
		server := serve(t, answers{"dot": silence})
		got := server.provider(func(c *SMTPConfig) { c.AnswerTimeout = short }).Send(t.Context(), hello())
		require.Equal(t, unknown, got.Kind)
		require.Equal(t, "end of content: no answer in time", got.Detail)
	})
	t.Run("deadline at the dot", func(t *testing.T) {
		t.Parallel()
		server := serve(t, answers{"dot": silence})
		ctx, cancel := context.WithTimeout(t.Context(), short)
		defer cancel()
		begin := time.Now()
		got := server.provider().Send(ctx, hello())
		require.Equal(t, unknown, got.Kind)
		require.Less(t, time.Since(begin), 5*time.Second)
		require.Eventually(t, func() bool { return server.openNow() == 0 }, 10*time.Second, time.Millisecond)
	})
}

// A message so large that the kernel cannot take all of it: the final dot
// cannot be out, whatever goes wrong.
func TestOutcomeOfContentCutShort(t *testing.T) {
	t.Parallel()
	huge := func() *letter {
		l := &letter{sender: "<a@example.com>", recipient: "<b@example.org>"}
		l.finish([]byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 1<<19))) // 32 MiB
		return l
	}
	tests := map[string]struct {
		content, detail string
		kind            notify.OutcomeKind
	}{
		"EOF":              {hangUp, "content: ", transient},
		"nobody reads":     {silence, "content: no answer in time", transient},
		"refusal then EOF": {"552 5.3.4 too big" + hangUp, "content: 552 5.3.4 too big", permanent},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answers{"content": test.content})
			p := server.provider(func(c *SMTPConfig) { c.AnswerTimeout = time.Second })
			session, problem := p.pool.take(t.Context(), nil)
			require.Nil(t, problem)
			_, problem = session.send(t.Context(), huge())
			p.pool.give(session)
			close(server.proceed)
			require.NotNil(t, problem)
			got := problem.outcome()
			require.Equal(t, test.kind, got.Kind, got.Detail)
			require.Contains(t, got.Detail, test.detail)
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	t.Run("ends an attempt whose content is not on its way", func(t *testing.T) {
		t.Parallel()
		for _, point := range []string{"EHLO", "MAIL", "DATA"} {
			server := serve(t, answers{point: silence})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-server.reached
				cancel()
			}()
			got := server.provider().Send(ctx, hello())
			require.Equal(t, transient, got.Kind)
			require.Equal(t, point+": the attempt was cancelled", got.Detail)
		}
	})
	t.Run("waits for the answer to content", func(t *testing.T) {
		t.Parallel()
		server := serve(t, answers{"dot": gate + "250 ok"})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-server.reached
			cancel()
			close(server.proceed)
		}()
		require.Equal(t, sent, server.provider().Send(ctx, hello()).Kind)
	})
	t.Run("before it begins", func(t *testing.T) {
		t.Parallel()
		server := serve(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := server.provider().Send(ctx, hello())
		require.Equal(t, transient, got.Kind)
		require.Equal(t, "wait for a connection: the attempt was cancelled", got.Detail)
		require.Zero(t, server.count())
	})
}

func TestQueueID(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"2.0.0 Ok: queued as 4XyZ12":           "4XyZ12",
		"2.0.0 OK: queued as <abc>.":           "<abc>",
		"OK id=1tYbXq-0001ab-2C":               "1tYbXq-0001ab-2C",
		"Ok 0100018f-1234-000000":              "0100018f-1234-000000",
		"2.0.0 OK 1700000000 a1-2b.3 - gsmtp":  "",
		"2.0.0 queued":                         "",
		"2.0.0 w1CFn00a Message accepted, yes": "",
		"":                                     "",
	} {
		require.Equal(t, want, queueID(words), words)
	}
}
