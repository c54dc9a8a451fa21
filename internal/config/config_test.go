package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/certificate/certtest"
	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/idp"
)

// A certificate, and SendGrid's example of a Verification Key.
const (
	certificatePEM = `-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUE49numL9B4IFygfxuqRZ9TC4tIMwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLYmVsZnJ5LXRlc3QwIBcNMjYxMTIzMjExNTM4WhgPMjEyNjEw
MzAyMTE1MzhaMBYxFDASBgNVBAMMC2JlbGZyeS10ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAE0rAla0CTkaYVmVcqb3YOqZZW3ujZCnDj8ZJ7l1vSkvil5ZCq
UPSSfr6PpVRriJUMI+CFKlQbKX68tsT+9jewiKNTMFEwHQYDVR0OBBYEFNgC8qcU
LzH1Bi1Ew3vgKN6+MenHMB8GA1UdIwQYMBaAFNgC8qcULzH1Bi1Ew3vgKN6+MenH
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgW6VllDogcXt8ZwU2
aZTO7dIq5kzx/0Bk+HB6z8/yRVECIQDX7KNUwS89g+vxp7n1wuSWru6to8nBvGX5
kA51+Vp7lg==
-----END CERTIFICATE-----
`
	payloadKey  = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	payloadKeys = "new:" + payloadKey + ",old:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZTA="
	webhookKey  = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)

// variables stand in for the environment, each without its prefix.
type variables map[string]string

func (v variables) lookup(name string) (string, bool) {
	value, ok := v[strings.TrimPrefix(name, Prefix)]
	return value, ok && strings.HasPrefix(name, Prefix)
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := Config{
		Log:      Log{Level: slog.LevelInfo, Format: "text"},
		HTTPAddr: "127.0.0.1:8080",
		MongoURI: "mongodb://127.0.0.1:27017/belfry",
		IDP:      idp.Config{Addr: "127.0.0.1:50051"},
		SMTP: channel.SMTPConfig{
			Host: "127.0.0.1", Port: 1025, TLS: channel.TLSNone,
			From: "Belfry <belfry@localhost>", MaxConnections: channel.DefaultMaxConnections,
		},
		SendGrid: channel.SendGridConfig{
			BaseURL: "https://api.sendgrid.com", From: "Belfry <belfry@localhost>", MaxConnections: channel.DefaultMaxConnections,
		},
		EmailProvider: []string{"smtp"},
		DirectLimit:   10,
		SweepInterval: time.Minute,

		AudienceRetention: 30 * 24 * time.Hour,
		Live:              Live{Connections: 10_000, UserConnections: 20, GatewayAddr: "127.0.0.1:0"},

		Limits: Limits{MaxRequests: 256},
		Codec:  Codec{Addr: "127.0.0.1:8234"},

		SMTPBulkConnections: channel.DefaultMaxConnections, SendGridBulkConnections: channel.DefaultMaxConnections,
	}
	got, err := Load(variables{}.lookup)
	require.NoError(t, err)
	require.Equal(t, want, got)

	empty := func(string) (string, bool) { return "", true }
	got, err = Load(empty)
	require.NoError(t, err)
	require.Equal(t, want, got, "an empty variable counts as not set")
}

func TestEveryVariable(t *testing.T) {
	t.Parallel()
	pem := file(t, certificatePEM)
	cert, key := pair(t)
	keys, err := codec.ParseKeys(payloadKeys)
	require.NoError(t, err)
	got, err := Load(variables{
		"HTTP_ADDR": ":80", "AUTH": "keys", "MONGO_URI": "mongodb://u:p%40@a:1,b:2/x?replicaSet=r", "AMQP_URL": "amqps://u:p%2Fw@rabbit:5671/v",
		"IDP_ADDR": "idp.example:443", "IDP_TLS": "true", "IDP_CA_FILE": pem, "IDP_TOKEN": "token",
		"SMTP_URL": "smtp://u:p%40@mail.example", "SMTP_CA_FILE": pem, "SMTP_CONNECTIONS": "3", "SMTP_RATE": "100/s",
		"SMTP_HELLO_NAME": "me.example", "SMTP_ENVELOPE_SENDER": "bounces@example.com", "SMTP_MESSAGE_ID_DOMAIN": "example.com",
		"SENDGRID_API_KEY": "SG.x", "SENDGRID_URL": "http://127.0.0.1:1", "SENDGRID_CONNECTIONS": "4", "SENDGRID_RATE": "6000/m",
		"SMTP_BULK_CONNECTIONS": "20", "SENDGRID_BULK_CONNECTIONS": "30",
		"SENDGRID_WEBHOOK_KEY": webhookKey, "EMAIL_FROM": "Ann <ann@bücher.example>", "EMAIL_PROVIDER": "sendgrid, smtp",
		"TEMPORAL_UI_URL": "https://ui.example/", "SWEEP_INTERVAL": "90s", "DIRECT_LIMIT": "5", "AUDIENCE_RETENTION": "48h",
		"STREAM_ORIGINS": "https://app.example.com, http://localhost:3000", "STREAM_CONNECTIONS": "500", "STREAM_USER_CONNECTIONS": "5",
		"GATEWAY_ADDR": "0.0.0.0:7946", "GATEWAY_ADVERTISE": "api-1.internal", "GATEWAY_TOKEN": "shared", "GATEWAY_CA_FILE": pem,
		"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json",
		"RATE_LIMIT": "5000/m", "MAX_REQUESTS": "64", "TRUSTED_PROXIES": "10.1.2.3/8, 192.0.2.7,::1", "TLS_CERT_FILE": cert, "TLS_KEY_FILE": key,
		"PAYLOAD_KEYS": payloadKeys, "CODEC_ADDR": "127.0.0.1:1", "CODEC_ORIGINS": "https://temporal.example, http://localhost:8233", "CODEC_TOKEN": "codec-token",
	}.lookup)
	require.NoError(t, err)
	require.NotNil(t, got.SendGridWebhookKey)
	got.SendGridWebhookKey = nil
	require.Equal(t, Config{
		Log:      Log{Level: slog.LevelDebug, Format: "json"},
		AMQPURL:  "amqps://u:p%2Fw@rabbit:5671/v",
		HTTPAddr: ":80",
		Auth:     access.Config{Keys: true},
		MongoURI: "mongodb://u:p%40@a:1,b:2/x?replicaSet=r",
		IDP:      idp.Config{Addr: "idp.example:443", TLS: true, CAFile: pem, Token: "token"},
		SMTP: channel.SMTPConfig{
			Host: "mail.example", Port: 587, Username: "u", Password: "p@", TLS: channel.TLSStartTLS, CAFile: pem,
			From: "Ann <ann@bücher.example>", EnvelopeSender: "bounces@example.com",
			HelloName: "me.example", MessageIDDomain: "example.com", MaxConnections: 3,
		},
		SMTPRate: 100,
		SendGrid: channel.SendGridConfig{
			APIKey: "SG.x", BaseURL: "http://127.0.0.1:1", From: "Ann <ann@bücher.example>",
			MessageIDDomain: "example.com", MaxConnections: 4,
		},
		SendGridRate:  100,
		EmailProvider: []string{"sendgrid", "smtp"},
		TemporalUIURL: "https://ui.example",
		DirectLimit:   5,
		SweepInterval: 90 * time.Second,

		AudienceRetention: 48 * time.Hour,
		Live: Live{
			Origins: []string{"https://app.example.com", "http://localhost:3000"}, Connections: 500, UserConnections: 5,
			GatewayAddr: "0.0.0.0:7946", GatewayAdvertise: "api-1.internal", GatewayLink: gateway.Link{Token: "shared", CAFile: pem},
		},

		Limits: Limits{
			RateLimit: Requests{Count: 5000, Per: time.Minute}, MaxRequests: 64,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("::1/128")},
			TLSCertFile:    cert, TLSKeyFile: key,
		},
		Codec: Codec{
			Keys: keys, Addr: "127.0.0.1:1", Origins: []string{"https://temporal.example", "http://localhost:8233"}, Token: "codec-token",
		},

		SMTPBulkConnections: 20, SendGridBulkConnections: 30,
	}, got)
}

func TestAWrongValueIsNamedOnOneLine(t *testing.T) {
	t.Parallel()
	missing, noPEM, certificateFile := filepath.Join(t.TempDir(), "none"), file(t, "no certificate"), file(t, certificatePEM)
	for name, values := range map[string][]string{
		"HTTP_ADDR":              {"localhost", "localhost:http", "1:2:3", "a:65536", "a\nb"},
		"AUTH":                   {"password", "keys,none", "none,keys", "keys,keys", "keys,"},
		"AUTH_NONE_ANYWHERE":     {"yes"},
		"IDP_ADDR":               {"localhost", "localhost:grpc"},
		"MONGO_URI":              {"127.0.0.1:27017", "http://hunter2@x", "mongodb://", "mongodb://u:hun/ter2@x/y", "mongodb://u:hun%zter2@x/y", "mongodb://u:hunter2@x:port/y", "mongodb://u:hunter2", "mongodb://u:hunter2@x/y?w=-1", "mongodb+srv://u:hun%zter2@x/y", "mongodb+srv://u:hun/ter2@x/y"},
		"AMQP_URL":               {"rabbit:5672", "http://u:hunter2@x", "amqp://", "amqp://u:hun%zter2@x", "amqp://u:hun/ter2@x", "amqp://u:hunter2@x:port", "amqp://u:hunter2@x y"},
		"IDP_TLS":                {"yes", "hunter2"},
		"IDP_CA_FILE":            {missing, noPEM, t.TempDir(), "a\nb"},
		"IDP_TOKEN":              {"hunter2 ", "hun\nter2", "hunter2ü"},
		"SMTP_URL":               {"mail.example.com:25", "smtp://u:hun/ter2@x", "smtp://u:hunter2%@x", "smtp://u:hunter2@x?tls=maybe", "smtp://u:hunter2@x:0"},
		"SMTP_CA_FILE":           {missing, noPEM, t.TempDir()}, // though the default's TLS is none
		"SMTP_CONNECTIONS":       {"0", "1001", "many"},
		"SMTP_RATE":              {"100", "0/s", "-1/s", "/s", "100/d", "x/s", "NaN/s", "Inf/s", "1e999/s", "100/s/s"},
		"SMTP_HELLO_NAME":        {"a b", "a\r\nMAIL", "bücher"},
		"SMTP_ENVELOPE_SENDER":   {"Ann <ann@example.com>", "ann", "ann@", "a\n@b.example"},
		"SMTP_MESSAGE_ID_DOMAIN": {"a>b", "a b", "@example.com", "a\nb"},
		"EMAIL_FROM":             {"Belfry", "belfry@", "Belfry <belfry>", "a@b.example, c@d.example", "a@b.example\nBcc: c@d.example"},
		"EMAIL_PROVIDER":         {"pigeon", "smtp,", "smtp,smtp", "sendgrid,pigeon"},
		"SENDGRID_API_KEY":       {"SG.hunter2 ", "SG.hun\nter2", "SG.hunter2ü"},
		"SENDGRID_URL":           {"api.sendgrid.com", "ftp://hunter2", "https://", "https://u:hunter2@x", "https://x?k=hunter2", "https://x/#hunter2", "https://x:hunter2"},
		"SENDGRID_CONNECTIONS":   {"0", "x"},
		"SENDGRID_RATE":          {"100"},
		"SENDGRID_WEBHOOK_KEY":   {"hunter2", "aHVudGVyMg=="},
		"TEMPORAL_UI_URL":        {"ui.example", "ftp://ui.example", "https:///hunter2", "https://u:hunter2@x:port"},
		"DIRECT_LIMIT":           {"-1", "101", "few"},
		"SWEEP_INTERVAL":         {"60", "1ms", "-1m", "soon"},
		"AUDIENCE_RETENTION":     {"30d", "59m", "-1h", "long"},
		"LOG_LEVEL":              {"loud", "a\nb"},
		"LOG_FORMAT":             {"xml", "a\nb"},
		"RATE_LIMIT":             {"100", "0/s", "-1/s", "1.5/s", "/s", "100/d", "100/s/s"},
		"MAX_REQUESTS":           {"0", "many"},
		"TRUSTED_PROXIES":        {"proxy", "10.0.0.0/33", "10.0.0.1,", "fe80::1%eth0"},
		"TLS_KEY_FILE":           {missing},
		"PAYLOAD_KEYS":           {"hunter2", "id:hunter2", "id:aHVudGVyMg==", ":" + payloadKey, "a b:" + payloadKey, "id:" + payloadKey + ",id:" + payloadKey, payloadKeys + ","},
		"CODEC_ADDR":             {"localhost"},
		"CODEC_ORIGINS":          {"temporal.example", "https://temporal.example/", "https://u:hunter2@x", "ftp://x", "https://a,"},

		"STREAM_ORIGINS":          {"app.example.com", "https://app.example.com/x", "*", "https://a.example,"},
		"STREAM_CONNECTIONS":      {"0", "many"},
		"STREAM_USER_CONNECTIONS": {"0", "many"},
		"GATEWAY_ADDR":            {"localhost", "1:2:3"},
		"GATEWAY_ADVERTISE":       {"a b", ":7946", "host:grpc", "http://host"},
		"GATEWAY_TOKEN":           {"hunter2 ", "hun\nter2"},
		"GATEWAY_CERT_FILE":       {missing, certificateFile},
		"GATEWAY_CA_FILE":         {missing, noPEM},

		"SMTP_BULK_CONNECTIONS":     {"0", "1001", "many"},
		"SENDGRID_BULK_CONNECTIONS": {"0", "x"},
	} {
		for _, value := range values {
			t.Run(name+"="+value, func(t *testing.T) {
				t.Parallel()
				_, err := Load(variables{name: value}.lookup)
				if name == "TLS_KEY_FILE" {
					name = "TLS_CERT_FILE" // without which a key is no use
				}
				requireNamed(t, name, err)
			})
		}
	}
}

func TestValuesThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	_, err := Load(variables{"EMAIL_PROVIDER": "smtp,sendgrid"}.lookup)
	requireNamed(t, "SENDGRID_API_KEY", err)

	cert, key := pair(t)
	other, _ := pair(t)
	for _, wrong := range []variables{{"TLS_CERT_FILE": other, "TLS_KEY_FILE": key}, {"TLS_CERT_FILE": cert, "TLS_KEY_FILE": cert}, {"TLS_CERT_FILE": key + "x", "TLS_KEY_FILE": key}} {
		_, err = Load(wrong.lookup)
		requireNamed(t, "TLS_CERT_FILE", err)
	}
	_, err = Load(variables{"TLS_CERT_FILE": cert}.lookup)
	requireNamed(t, "TLS_KEY_FILE", err)

	token := variables{"IDP_TOKEN": "hunter2", "IDP_ADDR": "idp.example:50051"}
	_, err = Load(token.lookup)
	requireNamed(t, "IDP_TOKEN", err)
	require.ErrorContains(t, err, "needs TLS")
	token["IDP_TLS"] = "true"
	_, err = Load(token.lookup)
	require.NoError(t, err)
}

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]rate.Limit{"": 0, "100/s": 100, "5000/m": rate.Limit(5000.0 / 60), "36/h": 0.01, "0.5/s": 0.5} {
		got, err := Load(variables{"SMTP_RATE": text}.lookup)
		require.NoError(t, err, text)
		require.InDelta(t, float64(want), float64(got.SMTPRate), 1e-9, text)
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"smtp":            {"smtp"},
		"sendgrid":        {"sendgrid"},
		"smtp,sendgrid":   {"smtp", "sendgrid"},
		"sendgrid , smtp": {"sendgrid", "smtp"},
	} {
		got, err := Load(variables{"EMAIL_PROVIDER": text, "SENDGRID_API_KEY": "SG.x"}.lookup)
		require.NoError(t, err, text)
		require.Equal(t, want, got.EmailProvider, text)
	}
}

// A MongoDB with mongodb+srv is not asked for in the DNS.
func TestSRVIsNotLookedUp(t *testing.T) {
	t.Parallel()
	uri := "mongodb+srv://u:p%40w@cluster.invalid/belfry?srvMaxHosts=2&retryWrites=true"
	got, err := Load(variables{"MONGO_URI": uri}.lookup)
	require.NoError(t, err)
	require.Equal(t, uri, got.MongoURI)
}

func TestARoleReadsOnlyWhatItNeeds(t *testing.T) {
	t.Parallel()
	others := variables{"SMTP_URL": "wrong", "MONGO_URI": "wrong", "IDP_ADDR": "wrong", "AMQP_URL": "wrong", "LOG_FORMAT": "json"}
	log, err := LoadLog(others.lookup)
	require.NoError(t, err)
	require.Equal(t, Log{Format: "json"}, log)
	_, err = LoadLog(variables{"LOG_LEVEL": "loud"}.lookup)
	requireNamed(t, "LOG_LEVEL", err)
}

// requireNamed wants one line about the variable, without a secret.
func requireNamed(t *testing.T, name string, err error) {
	t.Helper()
	wrong, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, Prefix+name, wrong.Variable, err)
	require.True(t, strings.HasPrefix(err.Error(), Prefix+name+": "), err)
	require.NotContains(t, err.Error(), "\n")
	for _, secret := range []string{"hun", "ter2"} {
		require.NotContains(t, err.Error(), secret)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// pair is a certificate with its key.
func pair(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	certtest.Write(t, certFile, keyFile)
	return certFile, keyFile
}
