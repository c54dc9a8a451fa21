package channel

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestParseSMTPURL(t *testing.T) {
	t.Parallel()
	tests := map[string]SMTPConfig{
		"smtp://mail.example.com":                     {Host: "mail.example.com", Port: 587, TLS: TLSStartTLS},
		"smtp://mail.example.com/":                    {Host: "mail.example.com", Port: 587, TLS: TLSStartTLS},
		"smtp://mail.example.com:465":                 {Host: "mail.example.com", Port: 465, TLS: TLSImplicit},
		"smtp://mail.example.com:2525":                {Host: "mail.example.com", Port: 2525, TLS: TLSStartTLS},
		"smtp://mail.example.com?tls=implicit":        {Host: "mail.example.com", Port: 465, TLS: TLSImplicit},
		"smtp://mail.example.com:25?tls=none":         {Host: "mail.example.com", Port: 25, TLS: TLSNone},
		"smtp://127.0.0.1:1025":                       {Host: "127.0.0.1", Port: 1025, TLS: TLSNone},
		"smtp://localhost:1025":                       {Host: "localhost", Port: 1025, TLS: TLSNone},
		"smtp://[::1]:1025":                           {Host: "::1", Port: 1025, TLS: TLSNone},
		"smtp://localhost:587":                        {Host: "localhost", Port: 587, TLS: TLSStartTLS},
		"smtp://localhost:1025?tls=starttls":          {Host: "localhost", Port: 1025, TLS: TLSStartTLS},
		"smtp://ada%40example.com:p%2Fw%3F@m.test:25": {Host: "m.test", Port: 25, Username: "ada@example.com", Password: "p/w?", TLS: TLSStartTLS},
		"smtp://ada@m.test":                           {Host: "m.test", Port: 587, Username: "ada", TLS: TLSStartTLS},
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSMTPURL(text)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestParseSMTPURLRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "must begin with smtp://",
		"mail.example.com:25":           "must begin with smtp://",
		"smtps://m.test":                "add ?tls=implicit",
		"smtp://":                       "names no host",
		"smtp://u:hunter2@":             "names no host",
		"smtp://u:hun/ter2@m.test":      "percent-encoded",
		"smtp://u:1/hunter2@m.test":     "percent-encoded",
		"smtp://u:1#hunter2@m.test":     "percent-encoded",
		"smtp://u:1?hunter2@m.test":     "only parameter is tls",
		"smtp://u:hunter2%@m.test":      "percent-encoded",
		"smtp://m.test:0":               "from 1 to 65535",
		"smtp://m.test:65536":           "from 1 to 65535",
		"smtp://m.test?tls=":            "tls must be",
		"smtp://m.test?tls=yes":         "tls must be",
		"smtp://m.test?tls=none&x=1":    "only parameter is tls",
		"smtp://m.test?TLS=none":        "only parameter is tls",
		"smtp://m.test?tls=none&tls=no": "only parameter is tls",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := ParseSMTPURL(text)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "hun")
			require.NotContains(t, err.Error(), "ter2")
		})
	}
}

func TestNewSMTPRefuses(t *testing.T) {
	t.Parallel()
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("nothing"), 0o600))
	tests := map[string]struct {
		change func(*SMTPConfig)
		want   string
	}{
		"no host":            {func(c *SMTPConfig) { c.Host = "" }, "Host is empty"},
		"port":               {func(c *SMTPConfig) { c.Port = 70000 }, "Port 70000"},
		"mode":               {func(c *SMTPConfig) { c.TLS = "maybe" }, `TLS "maybe"`},
		"no From":            {func(c *SMTPConfig) { c.From = "" }, "From: not an address"},
		"EHLO name":          {func(c *SMTPConfig) { c.HelloName = "a b" }, "HelloName"},
		"EHLO injection":     {func(c *SMTPConfig) { c.HelloName = "a\r\nMAIL" }, "HelloName"},
		"envelope sender":    {func(c *SMTPConfig) { c.EnvelopeSender = "Ada <a@b.example>" }, "EnvelopeSender: not an address"},
		"Message-ID domain":  {func(c *SMTPConfig) { c.MessageIDDomain = "a>b" }, "MessageIDDomain: not a domain"},
		"no CA file":         {func(c *SMTPConfig) { c.CAFile = noPEM + "x" }, "CAFile: open"},
		"CA file without":    {func(c *SMTPConfig) { c.CAFile = noPEM }, "CAFile: the file holds no PEM certificate"},
		"negative number":    {func(c *SMTPConfig) { c.MaxConnections = -1 }, "must not be negative"},
		"negative time-outs": {func(c *SMTPConfig) { c.AnswerTimeout = -time.Second }, "a time-out is negative"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := SMTPConfig{Host: "mail.example.com", Password: "hunter2", From: "belfry@example.com"}
			test.change(&config)
			_, err := NewSMTP(config)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s, err := NewSMTP(SMTPConfig{Host: "mail.example.com", From: "Belfry <belfry@bücher.example>"})
	require.NoError(t, err)
	require.Equal(t, "smtp", s.Name())
	require.Equal(t, "mail.example.com:587", s.address())
	require.Equal(t, TLSStartTLS, s.config.TLS)
	require.Equal(t, "xn--bcher-kva.example", s.config.MessageIDDomain)
	require.Equal(t, DefaultMaxConnections, cap(s.pool.slots))
	require.NotEmpty(t, s.config.HelloName)
}

func TestConfigPrintsNoCredentials(t *testing.T) {
	t.Parallel()
	config := SMTPConfig{Host: "m.test", Port: 587, Username: "ada", Password: "hunter2", TLS: TLSStartTLS}
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("start", "smtp", config)
	_, _ = fmt.Fprintf(&out, "%v %+v %s", config, config, config)
	require.Contains(t, out.String(), "smtp://m.test:587?tls=starttls")
	require.NotContains(t, out.String(), "ada")
	require.NotContains(t, out.String(), "hunter2")
}

func FuzzParseSMTPURL(f *testing.F) {
	f.Add("smtp://u:p@m.test:25?tls=none")
	f.Add("smtp://[::1]:1025")
	f.Add("smtp://%zz")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := ParseSMTPURL(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, config.Host)
		require.True(t, config.TLS.known())
		require.True(t, config.Port >= 1 && config.Port <= 65535)
	})
}

// Whatever comes in, what goes out is one well-formed message to one recipient,
// or nothing.
func FuzzCompose(f *testing.F) {
	f.Add("ada@example.org", "Ada", "Hello", "text", "<p>html</p>", "Shop <shop@example.net>")
	f.Add("zoë@bücher.example", "Zoë\t\" <x@y>", " =?x?= ", ".\r\n.\r\n", "", "")
	f.Add("\"a b\"@[127.0.0.1]", "", "a\tb", "--=_d--", "--=_d", "a@b")
	s, err := NewSMTP(SMTPConfig{Host: "mail.example.com", From: "belfry@example.com"})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, address, name, subject, text, html, from string) {
		m := notify.Message{
			DeliveryID: "d", Address: address, Name: name,
			Email: notify.Email{Subject: subject, Text: text, HTML: html, From: from},
		}
		l, err := s.compose(m)
		if err != nil {
			require.Equal(t, notify.OutcomePermanent, unsendable(err).Kind)
			return
		}
		require.Equal(t, ".\r\n", string(l.content[l.dot:]))
		require.NotContains(t, string(l.content[:l.dot]), "\r\n.\r\n")
		require.NotContains(t, l.sender+l.recipient, "\n")
		content := bytes.ReplaceAll(l.content[:l.dot], []byte("\r\n.."), []byte("\r\n."))
		require.Len(t, content, l.size)
		checkShape(t, string(content))
	})
}
