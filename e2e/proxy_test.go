package e2e

import (
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy stands before a server that it can take away and bring back, or make
// slow.
type proxy struct {
	t      *testing.T
	addr   string
	target string
	delay  atomic.Int64 // of what the server says

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{t: t, target: target, addr: freeAddr(t), open: map[net.Conn]bool{}}
	p.restore()
	t.Cleanup(p.cut)
	return p
}

// restore brings the server back, at the address it had.
func (p *proxy) restore() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	require.NoError(p.t, err)
	p.mu.Lock()
	p.listener, p.addr = l, l.Addr().String()
	p.mu.Unlock()
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(client)
		}
	}()
}

func (p *proxy) forward(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.open[client], p.open[server] = true, true
	p.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { pipe(client, &slowReader{Conn: server, delay: &p.delay}) })
	group.Go(func() { pipe(server, client) })
	group.Wait()
	p.mu.Lock()
	delete(p.open, client)
	delete(p.open, server)
	p.mu.Unlock()
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // either side may be cut at any time
	to.Close()
	from.Close()
}

// slow has each answer of the server come so much later.
func (p *proxy) slow(by time.Duration) { p.delay.Store(int64(by)) }

type slowReader struct {
	net.Conn
	delay *atomic.Int64
}

func (r *slowReader) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	if delay := time.Duration(r.delay.Load()); delay > 0 {
		<-time.After(delay)
	}
	return n, err
}

// cut takes the server away: connections break, new ones are refused.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener.Close()
	for c := range p.open {
		c.Close()
	}
}

// before puts a proxy before the server that a variable of the test names.
func (b *belfry) before(variable string) *proxy {
	b.t.Helper()
	value := b.variables[variable]
	if value == "" {
		value = os.Getenv(variable)
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" { // host:port
		p := newProxy(b.t, value)
		b.variables[variable] = p.addr
		return p
	}
	p := newProxy(b.t, u.Host)
	u.Host = p.addr
	b.variables[variable] = u.String()
	return p
}
