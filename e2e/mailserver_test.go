package e2e

import (
	"io"
	"math/rand/v2"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// A mailServer is outside of the stack: it counts what it took, whatever
// happens to Belfry, and refuses what its rule refuses.
type mailServer struct {
	addr string
	smtp *smtp.Server

	mu    sync.Mutex
	rule  func(to string) error // at the final dot; nil takes it
	pause time.Duration         // before the answer to it
	hang  string                // the address after whose next message the connection is cut
	oneIn int                   // of that many messages one is cut after; 0: none
	taken map[string][]takenMail
}

type takenMail struct{ messageID, body string }

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	m := &mailServer{taken: map[string][]takenMail{}}
	m.listen(t, freeAddr(t))
	t.Cleanup(func() { m.smtp.Close() })
	return m
}

// listen starts the server; it may have been stopped before.
func (m *mailServer) listen(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	m.addr = l.Addr().String()
	m.smtp = smtp.NewServer(m)
	m.smtp.Domain = "mail.example.org"
	go m.smtp.Serve(l) //nolint:errcheck // it ends when the test does
}

func (m *mailServer) url() string { return "smtp://" + m.addr + "?tls=none" }

// refuse sets the rule.
func (m *mailServer) refuse(rule func(to string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rule = rule
}

// slow sets how long the answer to the final dot takes.
func (m *mailServer) slow(pause time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pause = pause
}

// mails are those taken for each address.
func (m *mailServer) mails() map[string][]takenMail {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string][]takenMail, len(m.taken))
	for to, mails := range m.taken {
		all[to] = append([]takenMail{}, mails...)
	}
	return all
}

// hangUpOnce takes the next message to an address, and cuts the connection
// instead of an answer.
func (m *mailServer) hangUpOnce(to string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hang = to
}

// hangUpOneIn does so at random, for ever.
func (m *mailServer) hangUpOneIn(messages int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.oneIn = messages
}

// NewSession begins one client's dialogue.
func (m *mailServer) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &mailSession{server: m, conn: c}, nil
}

type mailSession struct {
	server *mailServer
	conn   *smtp.Conn
	to     string
}

func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Reset()                               { s.to = "" }
func (s *mailSession) Logout() error                        { return nil }

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.server.mu.Lock()
	pause := s.server.pause
	s.server.mu.Unlock()
	<-time.After(pause)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.rule != nil {
		if err := s.server.rule(s.to); err != nil {
			return err
		}
	}
	message, err := netmail.ReadMessage(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(message.Body)
	if err != nil {
		return err
	}
	s.server.taken[s.to] = append(s.server.taken[s.to], takenMail{message.Header.Get("Message-Id"), string(body)})
	if s.server.hang == s.to || s.server.oneIn > 0 && rand.IntN(s.server.oneIn) == 0 {
		s.server.hang = ""
		return s.conn.Conn().Close()
	}
	return nil
}
