package channel

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// A TLSMode says how a connection to the mail server is encrypted. A mode is
// kept or the message is not sent: there is no falling back to plain text.
type TLSMode string

// The modes.
const (
	TLSStartTLS TLSMode = "starttls" // plain at first, then STARTTLS (RFC 3207)
	TLSImplicit TLSMode = "implicit" // TLS from the first byte (RFC 8314)
	TLSNone     TLSMode = "none"
)

// Defaults of SMTPConfig. RFC 5321, section 4.5.3.2 would wait minutes for each
// command; a mail server that needs more than 5 s is better tried again later.
const (
	DefaultMaxConnections = 10
	DefaultMaxMessages    = 100
	DefaultIdleTimeout    = 30 * time.Second
	DefaultDialTimeout    = 5 * time.Second
	DefaultCommandTimeout = 5 * time.Second
	DefaultAnswerTimeout  = 10 * time.Minute // RFC 5321, section 4.5.3.2.6
)

// SMTPConfig is what an SMTP provider needs to know. Zero means the default.
type SMTPConfig struct {
	Host     string
	Port     int
	Username string // no AUTH when empty
	Password string
	TLS      TLSMode
	CAFile   string // PEM certificates to trust instead of the system's

	From            string // mailbox of messages that name none: `Belfry <belfry@example.com>`
	EnvelopeSender  string // bare address for bounces; default: the address the message is from
	HelloName       string // our name in EHLO; default: the host's if it is fully qualified, else localhost
	MessageIDDomain string // default: the domain of From

	MaxConnections int // open at a time
	MaxMessages    int // on one connection, which is then renewed: servers limit it
	IdleTimeout    time.Duration

	DialTimeout    time.Duration
	CommandTimeout time.Duration // for each command up to the answer 354 to DATA
	AnswerTimeout  time.Duration // for the content and the answer to it; ctx's deadline may be earlier
}

// ParseSMTPURL reads smtp://user:password@host:port?tls=starttls|implicit|none.
// Only the host is needed. The port is 587 by default, 465 with tls=implicit.
// tls is implicit by default on port 465, starttls on 587, none for a loopback
// host on any other port, else starttls.
//
// An error quotes nothing of the URL: in a mistyped one the password can be
// anywhere.
func ParseSMTPURL(text string) (SMTPConfig, error) {
	u, err := url.Parse(text)
	if err != nil {
		return SMTPConfig{}, errors.New("not a URL (special characters in the password must be percent-encoded)")
	}
	if u.Scheme != "smtp" {
		return SMTPConfig{}, errors.New("the URL must begin with smtp:// (for implicit TLS add ?tls=implicit)")
	}
	if u.Hostname() == "" {
		return SMTPConfig{}, errors.New("the URL names no host")
	}
	if strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return SMTPConfig{}, errors.New("after the host only a port and ?tls= may follow " +
			"(special characters in the password must be percent-encoded)")
	}
	config := SMTPConfig{Host: u.Hostname(), Username: u.User.Username()}
	config.Password, _ = u.User.Password()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) > 1 || len(query) == 1 && len(query["tls"]) != 1 {
		return SMTPConfig{}, errors.New("the only parameter is tls")
	}
	config.TLS = TLSMode(query.Get("tls"))
	if query.Has("tls") && !config.TLS.known() {
		return SMTPConfig{}, errors.New("tls must be starttls, implicit or none")
	}
	if u.Port() != "" {
		if config.Port, err = strconv.Atoi(u.Port()); err != nil || config.Port < 1 || config.Port > 65535 {
			return SMTPConfig{}, errors.New("the port must be a number from 1 to 65535")
		}
	}
	return config.withEndpoint(), nil
}

func (m TLSMode) known() bool { return m == TLSStartTLS || m == TLSImplicit || m == TLSNone }

// withEndpoint fills in port and TLS mode, each from the other.
func (c SMTPConfig) withEndpoint() SMTPConfig {
	if c.Port == 0 {
		c.Port = 587
		if c.TLS == TLSImplicit {
			c.Port = 465
		}
	}
	switch {
	case c.TLS != "":
	case c.Port == 465:
		c.TLS = TLSImplicit
	case c.Port != 587 && c.loopback():
		c.TLS = TLSNone
	default:
		c.TLS = TLSStartTLS
	}
	return c
}

func (c SMTPConfig) withDefaults() SMTPConfig {
	c = c.withEndpoint()
	if c.HelloName == "" {
		c.HelloName = "localhost"
		if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") {
			c.HelloName = name
		}
	}
	c.MaxConnections = orDefault(c.MaxConnections, DefaultMaxConnections)
	c.MaxMessages = orDefault(c.MaxMessages, DefaultMaxMessages)
	c.IdleTimeout = orDefault(c.IdleTimeout, DefaultIdleTimeout)
	c.DialTimeout = orDefault(c.DialTimeout, DefaultDialTimeout)
	c.CommandTimeout = orDefault(c.CommandTimeout, DefaultCommandTimeout)
	c.AnswerTimeout = orDefault(c.AnswerTimeout, DefaultAnswerTimeout)
	return c
}

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

func (c SMTPConfig) check() error {
	switch {
	case c.Host == "":
		return errors.New("smtp: Host is empty")
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("smtp: Port %d is not from 1 to 65535", c.Port)
	case !c.TLS.known():
		return fmt.Errorf("smtp: TLS %q is not starttls, implicit or none", string(c.TLS))
	case strings.ContainsFunc(c.HelloName, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return fmt.Errorf("smtp: HelloName %q is not a host name", c.HelloName)
	case c.MaxConnections < 0, c.MaxMessages < 0:
		return errors.New("smtp: MaxConnections and MaxMessages must not be negative")
	case min(c.IdleTimeout, c.DialTimeout, c.CommandTimeout, c.AnswerTimeout) < 0:
		return errors.New("smtp: a time-out is negative")
	}
	return nil
}

// loopback says whether what is sent to the host stays on this machine, so
// that plain text, even a password, is no risk.
func (c SMTPConfig) loopback() bool {
	ip := net.ParseIP(c.Host)
	return c.Host == "localhost" || ip != nil && ip.IsLoopback()
}

// String is the URL without credentials, so that a printed configuration gives
// nothing away.
func (c SMTPConfig) String() string {
	return fmt.Sprintf("smtp://%s?tls=%s", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), c.TLS)
}

// LogValue keeps credentials out of structured logs.
func (c SMTPConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }
