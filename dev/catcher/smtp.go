package catcher

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// newSMTPServer takes mail for anybody from anybody into the spool.
func newSMTPServer(spool *spool, logger *slog.Logger) *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{spool: spool}, nil
	}))
	server.Domain = "localhost"
	server.MaxMessageBytes = MaxMessageBytes
	server.MaxLineLength = 1 << 20 // be liberal: it is the message that is looked at
	server.EnableSMTPUTF8 = true
	server.AllowInsecureAuth = true
	server.ReadTimeout = 5 * time.Minute // RFC 5321, section 4.5.3.2.7
	server.WriteTimeout = time.Minute
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	return server
}

// A session is one connection.
type session struct {
	spool *spool
	from  string
	to    []string
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (s *session) Reset() { s.from, s.to = "", nil }

func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data keeps the mail; it is kept when the client reads the answer.
func (s *session) Data(r io.Reader) error {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	defer func() {
		if buffer.Cap() <= 1<<20 {
			buffers.Put(buffer)
		}
	}()
	if _, err := buffer.ReadFrom(r); err != nil {
		return err // go-smtp's own, which it answers as is
	}
	if err := s.spool.append(s.from, s.to, buffer.Bytes(), time.Now()); err != nil {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: err.Error()}
	}
	return nil
}

// AuthMechanisms lets clients that are set up with a password use it.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// Auth accepts any user and password.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, _, _ string) error { return nil }), nil
	case sasl.Login:
		return &loginServer{}, nil
	default:
		return nil, smtp.ErrAuthUnknownMechanism
	}
}

// A loginServer asks for a name and a password and accepts both.
type loginServer struct{ known int }

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response != nil {
		l.known++
	}
	switch l.known {
	case 0:
		return []byte("Username:"), false, nil
	case 1:
		return []byte("Password:"), false, nil
	default:
		return nil, true, nil
	}
}
