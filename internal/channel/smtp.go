package channel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"os"
	"strconv"
	"strings"

	"github.com/belfry-notify/belfry/internal/notify"
)

// SMTP is the provider "smtp": it hands messages to one mail server (RFC 5321)
// over a small pool of connections. Messages are made by go-mail, connections
// opened by its smtp package; the mail transaction itself is spoken here,
// since whether a message is out depends on which byte got how far.
//
// It is safe for concurrent use.
type SMTP struct {
	config SMTPConfig
	from   *mail.Address
	sender *mail.Address // the configured envelope sender, or nil
	tls    *tls.Config   // nil for TLSNone
	pool   *smtpPool
}

// NewSMTP makes a provider from a configuration; it connects when it first has
// something to send. An error names the wrong field and never holds the
// password.
func NewSMTP(config SMTPConfig) (*SMTP, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &SMTP{config: config}
	var err error
	if s.from, err = parseMailbox(config.From); err != nil {
		return nil, fmt.Errorf("smtp: From: %w", err)
	}
	if config.EnvelopeSender != "" {
		if s.sender, err = parseAddress(config.EnvelopeSender); err != nil {
			return nil, fmt.Errorf("smtp: EnvelopeSender: %w", err)
		}
	}
	if config.MessageIDDomain == "" {
		_, domain := splitAddress(s.from.Address)
		s.config.MessageIDDomain = domain
	} else if s.config.MessageIDDomain, err = asciiDomain(config.MessageIDDomain); err != nil {
		return nil, fmt.Errorf("smtp: MessageIDDomain: %w", err)
	}
	if config.TLS != TLSNone {
		if s.tls, err = tlsConfig(config); err != nil {
			return nil, fmt.Errorf("smtp: CAFile: %w", err)
		}
	}
	s.pool = newSMTPPool(s.connect, config.MaxConnections, config.MaxMessages, config.IdleTimeout)
	return s, nil
}

func tlsConfig(config SMTPConfig) (*tls.Config, error) {
	c := &tls.Config{ServerName: config.Host, MinVersion: tls.VersionTLS12}
	if config.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(config.CAFile)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file holds no PEM certificate")
	}
	return c, nil
}

// Name is the provider's name in deliveries and metrics.
func (s *SMTP) Name() string { return "smtp" }

// Send tries once to hand one message to the mail server. The outcome is exact
// (smtpError.outcome has the rules): transient and permanent mean that the
// message is certainly not out, unknown that the server may have it.
//
// ctx's deadline is the claim's deadline. It is kept by closing the connection,
// so that nothing goes out after it. A cancelled ctx ends the attempt only as
// long as the message's content is not on its way: after that an answer is
// waited for until the deadline, for giving up would turn a certain outcome
// into a doubtful one.
func (s *SMTP) Send(ctx context.Context, m notify.Message) notify.Outcome {
	letter, err := s.compose(m)
	if err != nil {
		return unsendable(err)
	}
	defer letter.free()
	session, problem := s.pool.take(ctx, letter)
	if problem != nil {
		return problem.outcome()
	}
	words, problem := session.send(ctx, letter)
	if problem != nil && session.stale {
		if session, problem = s.pool.replace(ctx, session); problem != nil {
			return problem.outcome()
		}
		words, problem = session.send(ctx, letter)
	}
	s.pool.give(session)
	if problem != nil {
		return problem.outcome()
	}
	return notify.Outcome{Kind: notify.OutcomeSent, ProviderID: queueID(words)}
}

// Close says goodbye on idle connections and waits for that, a second at most.
// Connections in use are closed as their messages end, and those announced
// behind them; a later Send is transient. It always returns nil.
func (s *SMTP) Close() error {
	s.pool.close()
	return nil
}

func (s *SMTP) address() string {
	return net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.Port))
}

// queueID finds the id that the server gave the message in its answer to the
// final dot. There is no standard; these forms are Postfix's and go-smtp's
// ("queued as ID"), Exim's ("id=ID") and Amazon SES's ("Ok ID"). It is empty
// when the answer has none of them.
func queueID(words string) string {
	fields := strings.Fields(words)
	for i, field := range fields {
		if id, ok := strings.CutPrefix(field, "id="); ok {
			return id
		}
		if strings.EqualFold(field, "queued") && i+2 < len(fields) && strings.EqualFold(fields[i+1], "as") {
			return strings.TrimRight(fields[i+2], ".,;")
		}
	}
	if len(fields) == 2 && strings.EqualFold(fields[0], "ok") {
		return fields[1]
	}
	return ""
}
