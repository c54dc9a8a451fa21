package main

import (
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// A sink takes every mail and throws it away; it keeps when each came.
type sink struct {
	addr string
	smtp *smtp.Server

	mu   sync.Mutex
	came map[string]time.Time // by recipient
	of   map[string]int       // how many recipients, by domain
}

func newSink() (*sink, error) {
	s := &sink{came: map[string]time.Time{}, of: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = l.Addr().String()
	s.smtp = smtp.NewServer(s)
	s.smtp.Domain = "sink.example"
	go func() { _ = s.smtp.Serve(groupingListener{l}) }()
	return s, nil
}

// A groupingListener has the answers to commands that came together leave
// together, as RFC 2920 (3.2) wants it and mail servers do; go-smtp writes each.
type groupingListener struct{ net.Listener }

func (l groupingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &groupingConn{Conn: conn}, err
}

// A groupingConn keeps what is written until more is wanted to read.
type groupingConn struct {
	net.Conn
	answers []byte
}

func (c *groupingConn) Write(p []byte) (int, error) {
	c.answers = append(c.answers, p...)
	return len(p), nil
}

func (c *groupingConn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *groupingConn) Close() error {
	_ = c.flush() // the client may be gone
	return c.Conn.Close()
}

func (c *groupingConn) flush() error {
	if len(c.answers) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.answers)
	c.answers = c.answers[:0]
	return err
}

// NewSession begins one client's dialogue.
func (s *sink) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }

func (s *sink) at(to string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.came[to]
	return at, ok
}

// wait waits until so many recipients of a domain have mail.
func (s *sink) wait(domain string, n int) {
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		came := s.of[domain]
		s.mu.Unlock()
		if came >= n {
			return
		}
	}
}

type session struct {
	sink *sink
	to   string
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	if _, again := s.sink.came[s.to]; !again {
		s.sink.of[s.to[strings.LastIndexByte(s.to, '@')+1:]]++
	}
	s.sink.came[s.to] = time.Now()
	return nil
}
