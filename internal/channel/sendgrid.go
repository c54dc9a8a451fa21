package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/sendgrid/rest"
	"github.com/sendgrid/sendgrid-go"

	"github.com/belfry-notify/belfry/internal/notify"
)

// DefaultSendGridURL is where SendGrid's API is; accounts kept in the EU have
// https://api.eu.sendgrid.com ("Mail Send API Overview").
const DefaultSendGridURL = "https://api.sendgrid.com"

// DefaultSendGridTimeout bounds one attempt, from the connection to the answer.
const DefaultSendGridTimeout = 30 * time.Second

// mailSendPath is the one call that is made ("Mail Send").
const mailSendPath = "/v3/mail/send"

// SendGridConfig is what the SendGrid provider needs to know. Zero means the
// default.
type SendGridConfig struct {
	APIKey  string // needs the permission Mail Send only
	BaseURL string // scheme, host and, before a proxy, a path

	From            string // mailbox of messages that name none: `Belfry <belfry@example.com>`
	MessageIDDomain string // default: the domain of From

	MaxConnections int // requests at a time
	DialTimeout    time.Duration
	IdleTimeout    time.Duration // of a connection kept open
	Timeout        time.Duration // for the whole attempt; ctx's deadline may be earlier
}

// String names the server, so that a printed configuration holds no key.
func (c SendGridConfig) String() string { return c.BaseURL }

// LogValue keeps the key out of structured logs.
func (c SendGridConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// SendGrid is the provider "sendgrid": it hands messages to Twilio SendGrid's
// Web API v3. It is safe for concurrent use.
type SendGrid struct {
	config  SendGridConfig
	from    *mail.Address
	request rest.Request // without a body
	client  *rest.Client
	slots   chan struct{} // one for each request under way
	closing context.Context
	close   context.CancelFunc
	now     func() time.Time
}

// NewSendGrid makes a provider from a configuration; it connects when it first
// has something to send. An error names the wrong field and never holds the
// key.
func NewSendGrid(config SendGridConfig) (*SendGrid, error) {
	if config.BaseURL == "" {
		config.BaseURL = DefaultSendGridURL
	}
	config.BaseURL = strings.TrimRight(config.BaseURL, "/")
	config.MaxConnections = orDefault(config.MaxConnections, DefaultMaxConnections)
	config.DialTimeout = orDefault(config.DialTimeout, DefaultDialTimeout)
	config.IdleTimeout = orDefault(config.IdleTimeout, DefaultIdleTimeout)
	config.Timeout = orDefault(config.Timeout, DefaultSendGridTimeout)
	if err := config.check(); err != nil {
		return nil, err
	}
	from, err := parseMailbox(config.From)
	if err != nil {
		return nil, fmt.Errorf("sendgrid: From: %w", err)
	}
	if config.MessageIDDomain == "" {
		_, config.MessageIDDomain = splitAddress(from.Address)
	} else if config.MessageIDDomain, err = asciiDomain(config.MessageIDDomain); err != nil {
		return nil, fmt.Errorf("sendgrid: MessageIDDomain: %w", err)
	}
	s := &SendGrid{
		config:  config,
		from:    from,
		request: sendgrid.GetRequest(config.APIKey, mailSendPath, config.BaseURL),
		// Not sendgrid.Client, which goes through a client that the whole
		// process shares, nor its MakeRequestRetry, which sleeps through a 429.
		client: &rest.Client{HTTPClient: httpClient(config)},
		slots:  make(chan struct{}, config.MaxConnections),
		now:    time.Now,
	}
	s.request.Method = rest.Post
	s.closing, s.close = context.WithCancel(context.Background())
	return s, nil
}

func (c SendGridConfig) check() error {
	u, err := url.Parse(c.BaseURL)
	switch {
	case c.APIKey == "":
		return errors.New("sendgrid: APIKey is empty")
	case strings.ContainsFunc(c.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("sendgrid: APIKey contains a space, a line break or a letter outside ASCII")
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return errors.New("sendgrid: BaseURL is not a URL such as " + DefaultSendGridURL)
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("sendgrid: BaseURL may have no user, query or fragment")
	case c.MaxConnections < 0:
		return errors.New("sendgrid: MaxConnections must not be negative")
	case min(c.DialTimeout, c.IdleTimeout, c.Timeout) < 0:
		return errors.New("sendgrid: a time-out is negative")
	}
	return nil
}

// httpClient makes a client of the provider's own. It speaks HTTP/1.1, where
// giving up closes the connection, so that nothing goes out later. It follows
// no redirect, which would take message and key elsewhere.
//
// It repeats a POST by itself in one case only: on a connection kept open that
// the server closed before a byte of the request was written to it (package
// net/http, "Transport").
func httpClient(config SendGridConfig) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: shortAnswers{&http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: config.DialTimeout}).DialContext,
			TLSHandshakeTimeout: config.DialTimeout,
			MaxIdleConns:        config.MaxConnections,
			MaxIdleConnsPerHost: config.MaxConnections,
			IdleConnTimeout:     config.IdleTimeout,
			Protocols:           protocols,
		}},
	}
}

// Name is the provider's name in deliveries and metrics.
func (s *SendGrid) Name() string { return "sendgrid" }

// Send tries once to hand one message to SendGrid. The outcome is exact
// (sendGridOutcome has the rules): transient and permanent mean that the
// message is certainly not out, unknown that SendGrid may have it.
//
// ctx's deadline is the claim's deadline. It is kept by closing the connection.
// A cancelled ctx ends the attempt only until the request is written: after
// that an answer is waited for until the deadline, for giving up would turn a
// certain outcome into a doubtful one.
func (s *SendGrid) Send(ctx context.Context, m notify.Message) notify.Outcome {
	body, err := s.compose(m)
	if err != nil {
		return unsendable(err)
	}
	return s.post(ctx, body)
}

// post makes one request, when one of MaxConnections is free.
func (s *SendGrid) post(ctx context.Context, body []byte) notify.Outcome {
	limited, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-limited.Done():
	case <-s.closing.Done():
	}
	if s.closing.Err() != nil {
		return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "the provider is closed"}
	}
	if err := limited.Err(); err != nil {
		return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "wait for a connection: " + explain(err)}
	}

	deadline, _ := limited.Deadline()
	patient, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	traced, progress := watch(patient)
	stop := context.AfterFunc(limited, func() {
		if !progress.mayBeOut() {
			cancel()
		}
	})
	defer stop()

	request := s.request
	request.Body = body
	answer, err := s.client.SendWithContext(traced, request)
	if answer == nil { // there is one with an error where its body broke off
		return s.unanswered(err, progress)
	}
	return s.answered(answer)
}

// Close closes idle connections. Requests under way are finished; a later Send
// is transient. It always returns nil.
func (s *SendGrid) Close() error {
	s.close()
	s.client.HTTPClient.CloseIdleConnections()
	return nil
}
