package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/certificate"
	"github.com/belfry-notify/belfry/internal/certificate/certtest"
	"github.com/belfry-notify/belfry/internal/template"
)

// syncText is a log that is written and read at once.
type syncText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *syncText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *syncText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *syncText) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

// listen runs the API with its limits on connections, and gives its address.
func (s *server) listen(configure func(*api.Config)) string {
	s.t.Helper()
	cfg := api.Config{
		Addr: "127.0.0.1:0", Access: &access.Authenticator{}, Store: s.store, Templates: template.New(), Starter: s.starts,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	configure(&cfg)
	ctx, stop := context.WithCancel(context.Background())
	listens, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- api.Run(ctx, cfg, func(addr string) { listens <- addr }) }()
	s.t.Cleanup(func() {
		stop()
		require.NoError(s.t, <-ended)
	})
	select {
	case addr := <-listens:
		return addr
	case err := <-ended:
		require.NoError(s.t, err)
	}
	return ""
}

// TestClientsThatSendSlowly has hundreds of connections send a header, a body
// or an upload byte by byte, or nothing at all. Each is cut off, and others are
// served meanwhile.
func TestClientsThatSendSlowly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	// Fewer places than clients that send slowly, enough for those 50 that ask for
	// something with a body that is not read.
	addr := s.listen(func(cfg *api.Config) { cfg.Limits.InFlight = 64 })
	const post, upload = "POST /v1/templates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", "POST /v1/audiences HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
	var group sync.WaitGroup
	var open atomic.Int32
	for name, client := range map[string]struct {
		connections int
		begin       string
		cut         time.Duration
	}{
		"nothing":                  {100, "", 5 * time.Second},
		"a header":                 {100, "GET /v1/templates HTTP/1.1\r\nHost: x\r\nX-Slow: ", 5 * time.Second},
		"a body of a length":       {100, post + "Content-Length: 100000\r\n\r\n", 10 * time.Second},
		"a body in chunks":         {100, post + "Transfer-Encoding: chunked\r\n\r\n186a0\r\n", 10 * time.Second},
		"a body that is not read":  {50, "GET /v1/templates HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", 30 * time.Second},
		"a body that is too long":  {20, post + "Content-Length: 9000000\r\n\r\n" + string(bytes.Repeat([]byte("x"), 1<<20+1)), 10 * time.Second},
		"an upload":                {20, upload + "Content-Length: 100000\r\n\r\nemail\n", 30 * time.Second},
		"an upload without an end": {20, upload + "Transfer-Encoding: chunked\r\n\r\n186a0\r\nemail\n", 30 * time.Second},
	} {
		for range client.connections {
			open.Add(1)
			group.Go(func() {
				defer open.Add(-1)
				took, err := trickle(t.Context(), addr, client.begin)
				if err != nil || took > client.cut+15*time.Second {
					t.Errorf("%s: cut off after %s: %v", name, took, err)
				}
			})
		}
	}
	answered := 0
	for open.Load() > 0 {
		began := time.Now()
		response, err := http.Get("http://" + addr + "/v1/templates")
		require.NoError(t, err)
		response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Less(t, time.Since(began), 5*time.Second)
		answered++
		<-time.After(50 * time.Millisecond)
	}
	group.Wait()
	require.Greater(t, answered, 50)
}

// trickle begins a request and goes on with a byte twice a second, until the
// server has closed the connection. It gives the time that took.
func trickle(ctx context.Context, addr, begin string) (time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	closed := make(chan struct{})
	go func() { // answers are read, and then the end
		defer close(closed)
		reader := bufio.NewReader(conn)
		for {
			if _, err := reader.ReadByte(); err != nil {
				return
			}
		}
	}()
	_, _ = conn.Write([]byte(begin)) // it may be refused before all of it is sent
	beat := time.NewTicker(500 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-closed:
			return time.Since(began), nil
		case <-ctx.Done():
			return time.Since(began), ctx.Err()
		case <-beat.C:
			if begin != "" {
				_, _ = conn.Write([]byte("x"))
			}
			if took := time.Since(began); took > time.Minute {
				return took, fmt.Errorf("it is still open")
			}
		}
	}
}

// A body that is not what its headers say, or that never comes to its end, is
// the client's fault.
func TestABodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	addr := newServer(t).listen(func(*api.Config) {})
	for name, test := range map[string]struct {
		body   string
		half   bool // and then the client says no more
		status int
	}{
		"chunks that are none": {"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", false, http.StatusUnprocessableEntity},
		"half of a chunk":      {"Transfer-Encoding: chunked\r\n\r\n5\r\n{}", true, http.StatusUnprocessableEntity},
		"half of a body":       {"Content-Length: 5\r\n\r\n{}", true, http.StatusUnprocessableEntity},
		"too little, slowly":   {"Content-Length: 5\r\n\r\n{}", false, http.StatusRequestTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte("POST /v1/templates HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + test.body))
			require.NoError(t, err)
			if test.half {
				require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			}
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(40*time.Second)))
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer response.Body.Close()
			require.Equal(t, test.status, response.StatusCode)
			require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
			var p problem
			require.NoError(t, json.NewDecoder(response.Body).Decode(&p))
			require.Equal(t, test.status, p.Status)
		})
	}
}

func TestTLSWithACertificateThatIsRenewed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := certtest.Write(t, certFile, keyFile)
	files, err := certificate.Load(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	addr := newServer(t).listen(func(cfg *api.Config) { cfg.Certificate = files })
	ask := func(trusted *x509.Certificate) (string, error) {
		roots := x509.NewCertPool()
		roots.AddCert(trusted)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get("https://" + addr + "/v1/templates")
		if err != nil {
			return "", err
		}
		response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
		return response.Proto, nil
	}
	spoken, err := ask(first)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", spoken)

	second := certtest.Write(t, certFile, keyFile)
	require.Eventually(t, func() bool { _, err := ask(second); return err == nil }, 20*time.Second, 50*time.Millisecond)
	_, err = ask(first)
	require.Error(t, err)
	plain, err := http.Get("http://" + addr + "/healthz")
	require.NoError(t, err)
	plain.Body.Close()
	require.Equal(t, http.StatusBadRequest, plain.StatusCode, "it speaks nothing else")
}
