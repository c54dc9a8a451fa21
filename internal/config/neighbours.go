package config

import (
	"crypto/x509"
	"net/url"
	"os"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/idp"
)

// percentEncode ends what is said of a URL that may hold a password. Nothing
// of the URL is quoted, nor what a parser says of it: in a mistyped one the
// password can be anywhere.
const percentEncode = "special characters in user and password must be percent-encoded"

// mongo reads the URI of a MongoDB. With mongodb+srv its options are left to
// the driver, which asks DNS for more of them.
func (l *loader) mongo(name, fallback string) string {
	uri := l.url(name, fallback, "mongodb", "mongodb+srv")
	checked := uri
	if rest, found := strings.CutPrefix(uri, "mongodb+srv://"); found {
		rest, _, _ = strings.Cut(rest, "?")
		checked = "mongodb://" + rest
	}
	if _, err := connstring.ParseAndValidate(checked); err != nil {
		l.fail(name, "not a MongoDB URI such as mongodb://user:password@host:27017/belfry?replicaSet=name (%s)", percentEncode)
	}
	return uri
}

// amqp reads the URL of a RabbitMQ.
func (l *loader) amqp(name string) string {
	v := l.url(name, "", "amqp", "amqps")
	if v == "" {
		return v
	}
	if _, err := amqp.ParseURI(v); err != nil {
		l.fail(name, "not a URL such as amqps://user:password@host:5671/vhost (%s)", percentEncode)
	}
	return v
}

// web reads the URL of something that people open.
func (l *loader) web(name, fallback string) string {
	v := l.url(name, fallback, "http", "https")
	if u, err := url.Parse(v); err != nil || v != "" && u.Hostname() == "" {
		l.fail(name, "not a URL such as https://host.example.com")
	}
	return v
}

// certificates reads the name of a file with certificates to trust.
func (l *loader) certificates(name string) string {
	file := l.text(name, "")
	if file == "" {
		return ""
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		// Without the name, which may be the certificate itself, all lines of it.
		l.fail(name, "the file cannot be read: %v", withoutName(err))
	} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		l.fail(name, "the file holds no PEM certificate")
	}
	return file
}

// idp reads how to reach the idp.
func (l *loader) idp() idp.Config {
	c := idp.Config{
		Addr:   l.address("IDP_ADDR", "127.0.0.1:50051"),
		TLS:    l.boolean("IDP_TLS"),
		CAFile: l.certificates("IDP_CA_FILE"),
		Token:  l.text("IDP_TOKEN", ""),
	}
	if l.err != nil {
		return c
	}
	without := c
	without.Token = ""
	if err := tryIDP(without); err != nil {
		l.fail("IDP_ADDR", "%v", err)
	} else if err := tryIDP(c); err != nil {
		l.fail("IDP_TOKEN", "%v", err)
	}
	return c
}

func tryIDP(c idp.Config) error {
	client, err := idp.New(c) // connects to nobody yet
	if err != nil {
		return err
	}
	return client.Close()
}

// connections reads how many a process may have open at a time.
func (l *loader) connections(name string) int {
	return l.number(name, channel.DefaultMaxConnections, 1, 1000)
}

// smtp reads how to reach the mail server.
func (l *loader) smtp() channel.SMTPConfig {
	c, err := channel.ParseSMTPURL(l.text("SMTP_URL", "smtp://127.0.0.1:1025"))
	if err != nil {
		l.fail("SMTP_URL", "%v", err)
	}
	c.CAFile = l.certificates("SMTP_CA_FILE")
	c.MaxConnections = l.connections("SMTP_CONNECTIONS")
	c.From = l.text("EMAIL_FROM", "Belfry <belfry@localhost>")
	c.HelloName = l.text("SMTP_HELLO_NAME", "")
	c.EnvelopeSender = l.text("SMTP_ENVELOPE_SENDER", "")
	c.MessageIDDomain = l.text("SMTP_MESSAGE_ID_DOMAIN", "")
	// Each is tried on its own, so that the variable that is wrong is known.
	const from = "belfry@localhost"
	for _, try := range []struct {
		name, problem string
		config        channel.SMTPConfig
	}{
		{"EMAIL_FROM", `not a mail address such as "Belfry <belfry@example.com>"`, channel.SMTPConfig{From: c.From}},
		{"SMTP_HELLO_NAME", "not a host name such as mail.example.com", channel.SMTPConfig{From: from, HelloName: c.HelloName}},
		{"SMTP_ENVELOPE_SENDER", "not a bare mail address such as bounces@example.com", channel.SMTPConfig{From: from, EnvelopeSender: c.EnvelopeSender}},
		{"SMTP_MESSAGE_ID_DOMAIN", "not a domain such as example.com", channel.SMTPConfig{From: from, MessageIDDomain: c.MessageIDDomain}},
	} {
		try.config.Host = "localhost"
		if _, err := channel.NewSMTP(try.config); err != nil { // connects to nobody yet
			l.fail(try.name, "%s is %s", l.quote(try.name, l.text(try.name, "")), try.problem)
		}
	}
	return c
}

// sendGrid reads how to reach SendGrid; what it shares with SMTP is checked
// there.
func (l *loader) sendGrid(smtp channel.SMTPConfig) channel.SendGridConfig {
	c := channel.SendGridConfig{
		APIKey:          l.text("SENDGRID_API_KEY", ""),
		BaseURL:         l.text("SENDGRID_URL", channel.DefaultSendGridURL),
		From:            smtp.From,
		MessageIDDomain: smtp.MessageIDDomain,
		MaxConnections:  l.connections("SENDGRID_CONNECTIONS"),
	}
	const from = "belfry@localhost"
	if err := trySendGrid(channel.SendGridConfig{APIKey: "key", BaseURL: c.BaseURL, From: from}); err != nil {
		l.fail("SENDGRID_URL", "not a URL such as %s, without user, query or fragment", channel.DefaultSendGridURL)
	}
	if c.APIKey == "" {
		return c
	}
	if err := trySendGrid(channel.SendGridConfig{APIKey: c.APIKey, From: from}); err != nil {
		l.fail("SENDGRID_API_KEY", "contains a space, a line break or a letter outside ASCII")
	}
	return c
}

func trySendGrid(c channel.SendGridConfig) error {
	provider, err := channel.NewSendGrid(c) // connects to nobody yet
	if err != nil {
		return err
	}
	return provider.Close()
}
