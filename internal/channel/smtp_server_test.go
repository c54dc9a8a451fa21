package channel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a scripted server can do other than answer.
const (
	silence = "silence"   // answer nothing until the client goes away
	hangUp  = "\x00hang"  // after an answer, or alone: close the connection
	gate    = "\x00gate:" // before an answer: report that this point is reached, wait for proceed
)

// Points at which the usual answer is another one: the final dot behind which
// more has come already, and what that is.
const (
	dotInGroup  = "dot in group"
	mailInGroup = "MAIL in group"
	rcptInGroup = "RCPT in group"
)

// Answers of a scripted server by point: "greeting", a command's verb,
// "content" (after 354, before anything is read), "dot", "other". "MAIL#2" is
// the second MAIL on a connection. The usual answer is given where none is set.
type answers map[string]string

// A scriptedServer speaks just enough SMTP to do what no well-behaved server
// would. Each connection follows the next script, the last one again and again.
type scriptedServer struct {
	t        *testing.T
	listener net.Listener
	scripts  []answers
	reached  chan string
	proceed  chan struct{}
	done     sync.WaitGroup

	mutex       sync.Mutex
	open        map[net.Conn]bool
	connections int
	mostOpen    int
	lines       []string // all commands, of all connections
	contents    []string
	groups      int // contents behind which more has come already
}

func serve(t *testing.T, scripts ...answers) *scriptedServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if len(scripts) == 0 {
		scripts = []answers{{}}
	}
	s := &scriptedServer{
		t: t, listener: listener, scripts: scripts, open: map[net.Conn]bool{},
		reached: make(chan string, 100), proceed: make(chan struct{}),
	}
	s.done.Go(s.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		s.mutex.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.mutex.Unlock()
		s.done.Wait()
	})
	return s
}

func (s *scriptedServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mutex.Lock()
		script := s.scripts[min(s.connections, len(s.scripts)-1)]
		s.connections++
		s.open[conn] = true
		s.mostOpen = max(s.mostOpen, len(s.open))
		s.mutex.Unlock()
		s.done.Go(func() {
			(&scriptedConn{server: s, script: script, conn: conn, in: bufio.NewReader(conn), seen: map[string]int{}}).run()
			_ = conn.Close()
			s.left(conn)
		})
	}
}

func (s *scriptedServer) left(conn net.Conn) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.open, conn)
}

func (s *scriptedServer) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.connections
}

func (s *scriptedServer) openNow() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.open)
}

// commands is how often a command was received.
func (s *scriptedServer) commands(verb string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	n := 0
	for _, line := range s.lines {
		if strings.HasPrefix(line, verb) {
			n++
		}
	}
	return n
}

func (s *scriptedServer) inGroups() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.groups
}

func (s *scriptedServer) received() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]string(nil), s.contents...)
}

type scriptedConn struct {
	server  *scriptedServer
	script  answers
	conn    net.Conn
	in      *bufio.Reader
	seen    map[string]int
	last    string // answer
	refused bool   // the last RCPT was
	grouped bool   // this message came behind another one's content
}

func (c *scriptedConn) run() {
	if !c.say("greeting", "220 mail.test ESMTP") {
		return
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		c.server.mutex.Lock()
		c.server.lines = append(c.server.lines, line)
		c.server.mutex.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if !c.command(verb) {
			return
		}
	}
}

func (c *scriptedConn) command(verb string) bool {
	switch verb {
	case "EHLO":
		return c.say(verb, "250-mail.test\r\n250 8BITMIME")
	case "RCPT":
		goOn := c.say(verb, "250 ok")
		c.refused = !strings.HasPrefix(c.last, "2")
		return goOn
	case "DATA":
		usual := "354 go ahead"
		if c.refused {
			usual = "503 no valid recipients"
		}
		return c.say(verb, usual)
	case "QUIT":
		c.server.left(c.conn) // before the client, which has its 221, opens another
		c.say(verb, "221 bye")
		return false
	case "RSET":
		c.grouped = false
		return c.say(verb, "250 ok")
	case "MAIL", "HELO", "STARTTLS", "AUTH":
		return c.say(verb, "250 ok")
	}
	return c.say("other", "500 what?")
}

// say answers at a point and, after 354, takes the content.
func (c *scriptedConn) say(point, usual string) bool {
	c.seen[point]++
	answer, ok := c.script[fmt.Sprintf("%s#%d", point, c.seen[point])]
	if !ok && c.grouped {
		answer, ok = c.script[point+" in group"]
	}
	if !ok {
		answer, ok = c.script[point]
	}
	if !ok {
		answer = usual
	}
	if answer == silence {
		c.server.reached <- point
		_, _ = io.Copy(io.Discard, c.conn)
		return false
	}
	if rest, gated := strings.CutPrefix(answer, gate); gated {
		c.server.reached <- point
		<-c.server.proceed
		answer = rest
	}
	c.last = answer
	answer, bye := strings.CutSuffix(answer, hangUp)
	if answer != "" {
		if _, err := io.WriteString(c.conn, answer+"\r\n"); err != nil {
			return false
		}
	}
	if bye {
		return false
	}
	if point == "DATA" && strings.HasPrefix(answer, "354") {
		return c.content()
	}
	return true
}

func (c *scriptedConn) content() bool {
	if c.script["content"] != "" {
		if c.script["content"] == silence { // not even reading
			c.server.reached <- "content"
			<-c.server.proceed
			return false
		}
		return c.say("content", "")
	}
	var content strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		content.WriteString(strings.TrimPrefix(line, "."))
	}
	c.server.mutex.Lock()
	c.server.contents = append(c.server.contents, content.String())
	if c.grouped = c.in.Buffered() > 0; c.grouped {
		c.server.groups++
	}
	c.server.mutex.Unlock()
	return c.say("dot", "250 2.0.0 Ok: queued as Q1")
}

// provider makes a provider for a server on a loopback port. Time-outs are
// long: a test that waits for one sets it.
func provider(t *testing.T, address net.Addr, change ...func(*SMTPConfig)) *SMTP {
	t.Helper()
	config := SMTPConfig{
		Host: "127.0.0.1", Port: address.(*net.TCPAddr).Port, TLS: TLSNone,
		From: "Belfry <belfry@example.com>", HelloName: "client.test",
		DialTimeout: 10 * time.Second, CommandTimeout: 10 * time.Second, AnswerTimeout: 10 * time.Second,
	}
	for _, f := range change {
		f(&config)
	}
	s, err := NewSMTP(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (s *scriptedServer) provider(change ...func(*SMTPConfig)) *SMTP {
	s.t.Helper()
	return provider(s.t, s.listener.Addr(), change...)
}

func hello() notify.Message {
	return notify.Message{
		DeliveryID: "2f1e8f5e-6f0c-5d5b-9d6e-0a4b5c6d7e8f",
		Address:    "ada@example.org",
		Name:       "Ada",
		Email:      notify.Email{Subject: "Hello", Text: "Hello, Ada.\n", HTML: "<p>Hello, Ada.</p>\n"},
		Date:       time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC),
	}
}
