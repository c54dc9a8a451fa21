package channel

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	smtpserver "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	gomail "github.com/wneessen/go-mail"

	"github.com/belfry-notify/belfry/internal/notify"
)

// benchConnections is how many connections each contestant has.
const benchConnections = 10

type discardSession struct{}

func (discardSession) Reset()                                        {}
func (discardSession) Logout() error                                 { return nil }
func (discardSession) Mail(string, *smtpserver.MailOptions) error    { return nil }
func (discardSession) Rcpt(string, *smtpserver.RcptOptions) error    { return nil }
func (discardSession) Data(r io.Reader) error                        { _, err := io.Copy(io.Discard, r); return err }
func newDiscardSession(*smtpserver.Conn) (smtpserver.Session, error) { return discardSession{}, nil }
func benchMessage() notify.Message {
	m := hello()
	m.Email.Text = strings.Repeat("Hello, Ada. Your order is on its way.\n", 20)
	m.Email.HTML = "<!doctype html>" + strings.Repeat("<p>Hello, Ada. Your order is <b>on its way</b>.</p>\n", 60)
	return m
}

func benchServer(b *testing.B) *net.TCPAddr {
	b.Helper()
	server := smtpserver.NewServer(smtpserver.BackendFunc(newDiscardSession))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	b.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return listener.Addr().(*net.TCPAddr)
}

// perSecond runs send b.N times in all from benchConnections goroutines, each
// with its own number.
func perSecond(b *testing.B, send func(worker int) bool) {
	b.Helper()
	work := make(chan struct{}, b.N)
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	b.ReportAllocs()
	b.ResetTimer()
	var workers sync.WaitGroup
	for worker := range benchConnections {
		workers.Go(func() {
			for range work {
				if !send(worker) {
					b.Error("not sent")
					return
				}
			}
		})
	}
	workers.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkSend is Send over 10 connections to a server in the same process, so
// that half of the time measured is the server's.
func BenchmarkSend(b *testing.B) {
	address := benchServer(b)
	s, err := NewSMTP(SMTPConfig{
		Host: "127.0.0.1", Port: address.Port, TLS: TLSNone, From: "Belfry <belfry@example.com>",
		MaxConnections: benchConnections,
	})
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	m := benchMessage()
	perSecond(b, func(int) bool { return s.Send(b.Context(), m).Kind == notify.OutcomeSent })
}

// BenchmarkGoMail is the same with go-mail's own client, one for each
// connection, connected once: as it is, with NOOP and RSET around each message,
// and without NOOP.
func BenchmarkGoMail(b *testing.B) {
	for name, options := range map[string][]gomail.Option{"default": nil, "without NOOP": {gomail.WithoutNoop()}} {
		b.Run(name, func(b *testing.B) {
			address := benchServer(b)
			clients := make([]*gomail.Client, benchConnections)
			for i := range clients {
				client, err := gomail.NewClient("127.0.0.1", append(options,
					gomail.WithPort(address.Port), gomail.WithTLSPolicy(gomail.NoTLS))...)
				require.NoError(b, err)
				require.NoError(b, client.DialWithContext(b.Context()))
				b.Cleanup(func() { _ = client.Close() })
				clients[i] = client
			}
			m := benchMessage()
			perSecond(b, func(worker int) bool {
				msg := gomail.NewMsg()
				_ = msg.From("belfry@example.com")
				_ = msg.AddToFormat(m.Name, m.Address)
				msg.Subject(m.Email.Subject)
				msg.SetDateWithValue(m.Date)
				msg.SetMessageIDWithValue(m.DeliveryID + "@example.com")
				msg.SetBodyString(gomail.TypeTextPlain, m.Email.Text)
				msg.AddAlternativeString(gomail.TypeTextHTML, m.Email.HTML)
				return clients[worker].Send(msg) == nil
			})
		})
	}
}

// BenchmarkCompose is making the bytes alone.
func BenchmarkCompose(b *testing.B) {
	s, err := NewSMTP(SMTPConfig{Host: "127.0.0.1", From: "Belfry <belfry@example.com>"})
	require.NoError(b, err)
	m := benchMessage()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.compose(m); err != nil {
			b.Fatal(err)
		}
	}
}
