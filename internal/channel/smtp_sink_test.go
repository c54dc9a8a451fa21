package channel

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	smtpserver "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// A sink is a real mail server, go-smtp, that keeps what it gets.
type sink struct {
	*smtpserver.Server
	address  net.Addr
	password string // of the user "belfry"; AUTH is offered when set

	mutex     sync.Mutex
	envelopes []envelope
}

type envelope struct {
	sender, recipient, content string
	options                    smtpserver.MailOptions
}

func startSink(t testing.TB, change ...func(*sink)) *sink {
	t.Helper()
	s := &sink{}
	s.Server = smtpserver.NewServer(smtpserver.BackendFunc(func(*smtpserver.Conn) (smtpserver.Session, error) {
		session := &sinkSession{sink: s}
		if s.password == "" {
			return session, nil
		}
		return &authSession{session}, nil
	}))
	s.Domain = "mail.test"
	s.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(s)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.address = listener.Addr()
	if s.Addr == "implicit" {
		listener = tls.NewListener(listener, s.TLSConfig)
	}
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() {
		_ = s.Close()
		served.Wait()
	})
	return s
}

func (s *sink) received() []envelope {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]envelope(nil), s.envelopes...)
}

type sinkSession struct {
	sink     *sink
	envelope envelope
}

func (s *sinkSession) Reset()        { s.envelope = envelope{} }
func (s *sinkSession) Logout() error { return nil }

func (s *sinkSession) Mail(from string, options *smtpserver.MailOptions) error {
	s.envelope.sender, s.envelope.options = from, *options
	return nil
}

func (s *sinkSession) Rcpt(to string, _ *smtpserver.RcptOptions) error {
	s.envelope.recipient = to
	return nil
}

func (s *sinkSession) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.envelope.content = string(content)
	s.sink.mutex.Lock()
	defer s.sink.mutex.Unlock()
	s.sink.envelopes = append(s.sink.envelopes, s.envelope)
	return nil
}

type authSession struct{ *sinkSession }

func (s *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "belfry" || password != s.sink.password {
			return &smtpserver.SMTPError{
				Code: 535, EnhancedCode: smtpserver.EnhancedCode{5, 7, 8},
				Message: "no entry for " + username + " with " + password,
			}
		}
		return nil
	}), nil
}

// certificate is one for 127.0.0.1 that only the returned CA file vouches for.
func certificate(t *testing.T) (config *tls.Config, caFile string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(caFile, block, 0o600))
	return &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}, caFile
}
