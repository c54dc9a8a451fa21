package channel

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// goodbyeTimeout bounds QUIT and its answer, which nobody needs.
const goodbyeTimeout = time.Second

// An smtpSession is one connection to the server, greeted, encrypted and logged
// in as configured. One goroutine uses it at a time.
type smtpSession struct {
	raw    net.Conn // below TLS; its deadlines count for TLS too
	client *smtp.Client
	config *SMTPConfig
	pool   *smtpPool

	pipelining, eightBit, utf8, size bool // what the server offers

	used      int     // transactions begun before the present one
	dirty     bool    // a transaction is open and wants RSET
	next      *waiter // who is handed the session after the present message
	announced bool    // the commands for the message after the present one are sent
	broken    bool    // not to be used again
	stale     bool    // died in the pool: nothing of the present message was accepted
	idleSince time.Time
}

// connect opens a session: TCP, TLS, greeting, EHLO, STARTTLS, AUTH.
func (s *SMTP) connect(ctx context.Context) (*smtpSession, *smtpError) {
	dialer := net.Dialer{Timeout: s.config.DialTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", s.address())
	if err != nil {
		return nil, failed(stageConnect, err)
	}
	session := &smtpSession{raw: raw, config: &s.config, pool: s.pool}
	defer context.AfterFunc(ctx, session.drop)()
	if problem := session.open(ctx, s.tls); problem != nil {
		session.drop()
		return nil, problem.because(ctx)
	}
	return session, nil
}

func (c *smtpSession) open(ctx context.Context, config *tls.Config) *smtpError {
	conn := c.raw
	if c.config.TLS == TLSImplicit {
		encrypted := tls.Client(c.raw, config)
		c.allow(ctx)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return failed(stageTLS, err)
		}
		conn = encrypted
	}
	c.allow(ctx)
	var err error
	if c.client, err = smtp.NewClient(conn, c.config.Host); err != nil {
		return failed(stageGreeting, err)
	}
	c.allow(ctx)
	if err = c.client.Hello(c.config.HelloName); err != nil {
		return failed(stageHello, err)
	}
	if c.config.TLS == TLSStartTLS {
		if !c.offers("STARTTLS") {
			return failed(stageTLS, setupError("the server does not offer STARTTLS"))
		}
		c.allow(ctx)
		if err = c.client.StartTLS(config); err != nil {
			return failed(stageTLS, err)
		}
	}
	if c.config.Username != "" {
		c.allow(ctx)
		if problem := c.logIn(); problem != nil {
			return problem
		}
	}
	c.pipelining, c.size = c.offers("PIPELINING"), c.offers("SIZE")
	c.eightBit, c.utf8 = c.offers("8BITMIME"), c.offers("SMTPUTF8")
	return nil
}

func (c *smtpSession) offers(extension string) bool {
	ok, _ := c.client.Extension(extension)
	return ok
}

// allow gives the server CommandTimeout from now for the next answer, or until
// ctx's deadline if that is earlier.
func (c *smtpSession) allow(ctx context.Context) {
	_ = c.raw.SetDeadline(earliest(ctx, c.config.CommandTimeout))
}

func earliest(ctx context.Context, timeout time.Duration) time.Time {
	at := time.Now().Add(timeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(at) {
		return deadline
	}
	return at
}

// logIn authenticates by the best mechanism the server offers (RFC 4954).
func (c *smtpSession) logIn() *smtpError {
	_, offered := c.client.Extension("AUTH")
	state, err := c.client.GetTLSConnectionState()
	encrypted := err == nil
	user, password, host := c.config.Username, c.config.Password, c.config.Host

	var auth smtp.Auth
	switch bestMechanism(offered, encrypted, c.config.loopback()) {
	case "SCRAM-SHA-256-PLUS":
		auth = smtp.ScramSHA256PlusAuth(user, password, state)
	case "SCRAM-SHA-256":
		auth = smtp.ScramSHA256Auth(user, password)
	case "SCRAM-SHA-1-PLUS":
		auth = smtp.ScramSHA1PlusAuth(user, password, state)
	case "SCRAM-SHA-1":
		auth = smtp.ScramSHA1Auth(user, password)
	case "CRAM-MD5":
		auth = smtp.CRAMMD5Auth(user, password)
	case "PLAIN":
		auth = smtp.PlainAuth("", user, password, host, true)
	case "LOGIN":
		auth = smtp.LoginAuth(user, password, host, true)
	default:
		return failed(stageAuth, setupError("the server offers no AUTH mechanism "+
			"that may be used on this connection; without TLS a password is not sent in clear"))
	}
	if err := c.client.Auth(auth); err != nil {
		problem := failed(stageAuth, err)
		problem.words = c.redact(problem.words)
		if problem.code == 0 {
			problem.err = redacted{text: c.redact(explain(err)), err: err}
		}
		return problem
	}
	return nil
}

// bestMechanism picks what go-mail's auto-discovery would, but NTLM, and
// allows a password in clear to a loopback host.
func bestMechanism(offered string, encrypted, loopback bool) string {
	mechanisms := strings.Fields(strings.ToUpper(offered))
	for _, m := range []string{
		"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN",
	} {
		switch {
		case !slices.Contains(mechanisms, m):
		case strings.HasSuffix(m, "-PLUS") && !encrypted:
		case (m == "PLAIN" || m == "LOGIN") && !encrypted && !loopback:
		default:
			return m
		}
	}
	return ""
}

// A redacted error says something else than the error it wraps.
type redacted struct {
	text string
	err  error
}

func (e redacted) Error() string { return e.text }
func (e redacted) Unwrap() error { return e.err }

// redact removes the password from words of a server that repeats what it was
// told.
func (c *smtpSession) redact(words string) string {
	if c.config.Password == "" {
		return words
	}
	encode := base64.StdEncoding.EncodeToString
	return strings.NewReplacer(
		encode([]byte("\x00"+c.config.Username+"\x00"+c.config.Password)), "***",
		encode([]byte(c.config.Password)), "***",
		c.config.Password, "***",
	).Replace(words)
}

// because replaces the error of a connection that was closed under a caller,
// since ctx ended, by ctx's own.
func (e *smtpError) because(ctx context.Context) *smtpError {
	if ctx.Err() != nil && errors.Is(e.err, net.ErrClosed) {
		e.err = ctx.Err()
	}
	return e
}

// quit ends the session with QUIT.
func (c *smtpSession) quit() {
	_ = c.raw.SetDeadline(time.Now().Add(goodbyeTimeout))
	_ = c.client.Quit()
	_ = c.raw.Close()
}

// drop closes the connection at once and makes the kernel forget what it has
// not sent yet, so that nothing of it can arrive later.
func (c *smtpSession) drop() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.raw.Close()
}

// text is the connection's lines, through TLS if there is any.
func (c *smtpSession) text() *textproto.Conn { return c.client.Text }
