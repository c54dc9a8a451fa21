// Package config reads the configuration from environment variables.
package config

import (
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/channel"
)

// Prefix begins the name of every variable. Temporal's own variables
// (TEMPORAL_ADDRESS and so on) are read by its client.
const Prefix = "BELFRY_"

// Config is everything that can be set. Each field names its variable.
type Config struct {
	HTTPAddr           string                 // HTTP_ADDR
	MongoURI           string                 // MONGO_URI
	AMQPURL            string                 // AMQP_URL, empty: no events
	IDPAddr            string                 // IDP_ADDR
	IDPTLS             bool                   // IDP_TLS
	IDPCAFile          string                 // IDP_CA_FILE
	IDPToken           string                 // IDP_TOKEN
	SMTP               channel.SMTPConfig     // SMTP_URL, EMAIL_FROM, SMTP_*
	SMTPRate           rate.Limit             // SMTP_RATE, a second
	SendGrid           channel.SendGridConfig // SENDGRID_API_KEY, SENDGRID_URL, SENDGRID_CONNECTIONS, EMAIL_FROM
	SendGridRate       rate.Limit             // SENDGRID_RATE, a second
	SendGridWebhookKey *ecdsa.PublicKey       // SENDGRID_WEBHOOK_KEY, nil: no webhook
	EmailProvider      []string               // EMAIL_PROVIDER, an order
	TemporalUIURL      string                 // TEMPORAL_UI_URL, empty: no links to it
	SweepInterval      time.Duration          // SWEEP_INTERVAL
	LogLevel           slog.Level             // LOG_LEVEL
	LogFormat          string                 // LOG_FORMAT: text or json
}

// An Error says which variable has a wrong value, and what is wrong with it.
// It never quotes a value that may hold a secret.
type Error struct {
	Variable string
	Problem  string
}

func (e *Error) Error() string { return e.Variable + ": " + e.Problem }

// Load reads the configuration; lookup is os.LookupEnv or stands in for it.
// An empty variable counts as not set.
func Load(lookup func(string) (string, bool)) (Config, error) {
	l := loader{lookup: lookup}
	c := Config{
		HTTPAddr:      l.address("HTTP_ADDR", "127.0.0.1:8080"),
		MongoURI:      l.url("MONGO_URI", "mongodb://127.0.0.1:27017/belfry", "mongodb", "mongodb+srv"),
		AMQPURL:       l.url("AMQP_URL", "", "amqp", "amqps"),
		IDPAddr:       l.address("IDP_ADDR", "127.0.0.1:50051"),
		IDPTLS:        l.boolean("IDP_TLS"),
		IDPCAFile:     l.text("IDP_CA_FILE", ""),
		IDPToken:      l.text("IDP_TOKEN", ""),
		EmailProvider: l.order("EMAIL_PROVIDER", "smtp", "sendgrid"),
		SMTPRate:      l.rate("SMTP_RATE"),
		SendGridRate:  l.rate("SENDGRID_RATE"),
		TemporalUIURL: strings.TrimSuffix(l.url("TEMPORAL_UI_URL", "", "http", "https"), "/"),
		SweepInterval: l.duration("SWEEP_INTERVAL", time.Minute, time.Second),
		LogLevel:      l.level("LOG_LEVEL", slog.LevelInfo),
		LogFormat:     l.oneOf("LOG_FORMAT", "text", "json"),
	}
	c.SMTP = l.smtp()
	c.SendGrid = l.sendGrid(c.SMTP)
	if slices.Contains(c.EmailProvider, "sendgrid") && c.SendGrid.APIKey == "" {
		l.fail("SENDGRID_API_KEY", "is needed where BELFRY_EMAIL_PROVIDER names sendgrid")
	}
	if key := l.text("SENDGRID_WEBHOOK_KEY", ""); key != "" {
		var err error
		if c.SendGridWebhookKey, err = channel.ParseSendGridWebhookKey(key); err != nil {
			l.fail("SENDGRID_WEBHOOK_KEY", "%v", err)
		}
	}
	return c, l.err
}

// A loader keeps the first error.
type loader struct {
	lookup func(string) (string, bool)
	err    error
}

func (l *loader) text(name, fallback string) string {
	if v, ok := l.lookup(Prefix + name); ok && v != "" {
		return v
	}
	return fallback
}

func (l *loader) fail(name, problem string, args ...any) {
	if l.err == nil {
		l.err = &Error{Variable: Prefix + name, Problem: fmt.Sprintf(problem, args...)}
	}
}

func (l *loader) address(name, fallback string) string {
	v := l.text(name, fallback)
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		l.fail(name, "%q is not host:port", v)
	}
	return v
}

func (l *loader) url(name, fallback string, schemes ...string) string {
	v := l.text(name, fallback)
	if v == "" {
		return v
	}
	scheme, rest, found := strings.Cut(v, "://")
	for _, s := range schemes {
		if found && scheme == s && rest != "" {
			return v
		}
	}
	l.fail(name, "not a URL that begins with %s://", strings.Join(schemes, ":// or "))
	return v
}

func (l *loader) duration(name string, fallback, least time.Duration) time.Duration {
	v, err := time.ParseDuration(l.text(name, fallback.String()))
	if err != nil || v < least {
		l.fail(name, "not a duration of at least %s, such as %s", least, fallback)
		return fallback
	}
	return v
}

func (l *loader) boolean(name string) bool {
	v, err := strconv.ParseBool(l.text(name, "false"))
	if err != nil {
		l.fail(name, "not true or false")
	}
	return v
}

func (l *loader) oneOf(name string, values ...string) string {
	v := l.text(name, values[0])
	for _, allowed := range values {
		if v == allowed {
			return v
		}
	}
	l.fail(name, "%q is not one of %s", v, strings.Join(values, ", "))
	return v
}

// order reads a list of some of the values, each once, separated by commas.
func (l *loader) order(name string, values ...string) []string {
	var order []string
	for v := range strings.SplitSeq(l.text(name, values[0]), ",") {
		v = strings.TrimSpace(v)
		if !slices.Contains(values, v) || slices.Contains(order, v) {
			l.fail(name, "not an order of some of %s, such as %s", strings.Join(values, ", "), strings.Join(values, ","))
		}
		order = append(order, v)
	}
	return order
}

// rate reads "100/s", "100/m" or "100/h"; 0 where there is no limit.
func (l *loader) rate(name string) rate.Limit {
	v := l.text(name, "")
	if v == "" {
		return 0
	}
	number, unit, _ := strings.Cut(v, "/")
	n, err := strconv.ParseFloat(number, 64)
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || n <= 0 || !known {
		l.fail(name, "not a rate such as 100/s or 5000/m")
		return 0
	}
	return rate.Limit(n / per.Seconds())
}

func (l *loader) level(name string, fallback slog.Level) slog.Level {
	v := l.text(name, fallback.String())
	var level slog.Level
	if err := level.UnmarshalText([]byte(v)); err != nil {
		l.fail(name, "%q is not one of debug, info, warn, error", v)
	}
	return level
}

// smtp reads how to reach the mail server.
func (l *loader) smtp() channel.SMTPConfig {
	c, err := channel.ParseSMTPURL(l.text("SMTP_URL", "smtp://127.0.0.1:1025"))
	if err != nil {
		l.fail("SMTP_URL", "%v", err)
	}
	c.From = l.text("EMAIL_FROM", "Belfry <belfry@localhost>")
	if _, err := mail.ParseAddress(c.From); err != nil {
		l.fail("EMAIL_FROM", "%q is not a mail address such as \"Belfry <belfry@example.com>\"", c.From)
	}
	c.CAFile = l.text("SMTP_CA_FILE", "")
	c.HelloName = l.text("SMTP_HELLO_NAME", "")
	c.EnvelopeSender = l.text("SMTP_ENVELOPE_SENDER", "")
	c.MessageIDDomain = l.text("SMTP_MESSAGE_ID_DOMAIN", "")
	c.MaxConnections = l.number("SMTP_CONNECTIONS", channel.DefaultMaxConnections, 1, 1000)
	return c
}

func (l *loader) sendGrid(smtp channel.SMTPConfig) channel.SendGridConfig {
	return channel.SendGridConfig{
		APIKey:          l.text("SENDGRID_API_KEY", ""),
		BaseURL:         l.url("SENDGRID_URL", "https://api.sendgrid.com", "https", "http"),
		From:            smtp.From,
		MessageIDDomain: smtp.MessageIDDomain,
		MaxConnections:  l.number("SENDGRID_CONNECTIONS", channel.DefaultMaxConnections, 1, 1000),
	}
}

func (l *loader) number(name string, fallback, least, most int) int {
	v, err := strconv.Atoi(l.text(name, strconv.Itoa(fallback)))
	if err != nil || v < least || v > most {
		l.fail(name, "not a number from %d to %d", least, most)
	}
	return v
}
