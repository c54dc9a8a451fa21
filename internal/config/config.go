// Package config reads the configuration from environment variables.
package config

import (
	"crypto/ecdsa"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/idp"
)

// Prefix begins the name of every variable. Temporal's own variables
// (TEMPORAL_ADDRESS and so on) are read by its client.
const Prefix = "BELFRY_"

// Config is everything that can be set. Each field names its variable.
type Config struct {
	Log                Log
	AMQPURL            string                 // AMQP_URL, empty: no events
	HTTPAddr           string                 // HTTP_ADDR
	Auth               access.Config          // AUTH, AUTH_NONE_ANYWHERE, OIDC_*
	MongoURI           string                 // MONGO_URI
	IDP                idp.Config             // IDP_ADDR, IDP_TLS, IDP_CA_FILE, IDP_TOKEN
	SMTP               channel.SMTPConfig     // SMTP_URL, EMAIL_FROM, SMTP_*
	SMTPRate           rate.Limit             // SMTP_RATE, a second, of all workers together
	SendGrid           channel.SendGridConfig // SENDGRID_API_KEY, SENDGRID_URL, SENDGRID_CONNECTIONS, EMAIL_FROM
	SendGridRate       rate.Limit             // SENDGRID_RATE, a second, of all workers together
	SendGridWebhookKey *ecdsa.PublicKey       // SENDGRID_WEBHOOK_KEY, nil: no webhook
	EmailProvider      []string               // EMAIL_PROVIDER, an order
	TemporalUIURL      string                 // TEMPORAL_UI_URL, empty: no links to it
	DirectLimit        int                    // DIRECT_LIMIT
	SweepInterval      time.Duration          // SWEEP_INTERVAL
	AudienceRetention  time.Duration          // AUDIENCE_RETENTION
	Limits             Limits
	Codec              Codec
	Live               Live // STREAM_*, GATEWAY_*

	// Connections that broadcasts have besides those of SMTP and SendGrid.
	SMTPBulkConnections     int // SMTP_BULK_CONNECTIONS
	SendGridBulkConnections int // SENDGRID_BULK_CONNECTIONS
}

// An Error says which variable has a wrong value, and what is wrong with it.
// It never quotes a value that may hold a secret.
type Error struct {
	Variable string
	Problem  string
}

func (e *Error) Error() string { return e.Variable + ": " + e.Problem }

// A Log is how to log.
type Log struct {
	Level  slog.Level // LOG_LEVEL
	Format string     // LOG_FORMAT: text or json
}

// Load reads the whole configuration; lookup is os.LookupEnv or stands in for
// it. An empty variable counts as not set, and each may be given as the name of
// a file instead: see Read. The error is an *Error.
func Load(lookup func(string) (string, bool)) (Config, error) {
	l := loader{lookup: lookup}
	c := Config{
		Log:           l.log(),
		AMQPURL:       l.amqp("AMQP_URL"),
		HTTPAddr:      l.address("HTTP_ADDR", "127.0.0.1:8080"),
		MongoURI:      l.mongoURI(),
		IDP:           l.idp(),
		EmailProvider: l.order("EMAIL_PROVIDER", "smtp", "sendgrid"),
		SMTP:          l.smtp(),
		SMTPRate:      l.rate("SMTP_RATE"),
		SendGridRate:  l.rate("SENDGRID_RATE"),
		TemporalUIURL: strings.TrimSuffix(l.web("TEMPORAL_UI_URL", ""), "/"),
		DirectLimit:   l.number("DIRECT_LIMIT", 10, 0, 100),
		SweepInterval: l.duration("SWEEP_INTERVAL", time.Minute, time.Second),

		Live:              l.live(),
		AudienceRetention: l.duration("AUDIENCE_RETENTION", audience.DefaultRetention, time.Hour),

		SMTPBulkConnections:     l.connections("SMTP_BULK_CONNECTIONS"),
		SendGridBulkConnections: l.connections("SENDGRID_BULK_CONNECTIONS"),
	}
	c.Auth = l.auth(c.HTTPAddr)
	c.Limits, c.Codec = l.limits(), l.codec(c.TemporalUIURL)
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

// LoadLog reads how to log, as Load does.
func LoadLog(lookup func(string) (string, bool)) (Log, error) {
	l := loader{lookup: lookup}
	return l.log(), l.err
}

// LoadCodec reads what a codec server needs, as Load does.
func LoadCodec(lookup func(string) (string, bool)) (Codec, Limits, Log, error) {
	l := loader{lookup: lookup}
	log, limits, codec := l.log(), l.limits(), l.codec(l.web("TEMPORAL_UI_URL", ""))
	if strings.Contains(l.text("AUTH", ""), "oidc") {
		codec.OIDC = l.oidc()
	}
	return codec, limits, log, l.err
}

func (l *loader) log() Log {
	return Log{Level: l.level("LOG_LEVEL", slog.LevelInfo), Format: l.oneOf("LOG_FORMAT", "text", "json")}
}
