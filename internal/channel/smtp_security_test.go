package channel

import (
	"crypto/hmac"
	"crypto/md5" // CRAM-MD5 is defined over it
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	config, caFile := certificate(t)
	withTLS := func(s *sink) { s.TLSConfig = config }
	implicit := func(s *sink) { s.TLSConfig, s.Addr = config, "implicit" }
	tests := map[string]struct {
		server func(*sink)
		mode   TLSMode
		caFile string
		host   string
		detail string // empty: sent
	}{
		"STARTTLS":                        {withTLS, TLSStartTLS, caFile, "127.0.0.1", ""},
		"STARTTLS not offered":            {func(*sink) {}, TLSStartTLS, caFile, "127.0.0.1", "TLS: the server does not offer STARTTLS"},
		"STARTTLS, unknown authority":     {withTLS, TLSStartTLS, "", "127.0.0.1", "TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"STARTTLS, certificate of others": {withTLS, TLSStartTLS, caFile, "localhost", "TLS: tls: failed to verify certificate"},
		"implicit":                        {implicit, TLSImplicit, caFile, "127.0.0.1", ""},
		"implicit, unknown authority":     {implicit, TLSImplicit, "", "127.0.0.1", "TLS: tls: failed to verify certificate"},
		"implicit, but the server is not": {withTLS, TLSImplicit, caFile, "127.0.0.1", "TLS: tls: first record does not look like a TLS handshake"},
		"offered, but not wanted":         {withTLS, TLSNone, "", "127.0.0.1", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSink(t, test.server)
			p := provider(t, server.address, func(c *SMTPConfig) {
				c.TLS, c.CAFile, c.Host = test.mode, test.caFile, test.host
			})
			for range 2 {
				got := p.Send(t.Context(), hello())
				if test.detail == "" {
					require.Equal(t, sent, got.Kind, got.Detail)
					continue
				}
				require.Equal(t, transient, got.Kind)
				require.Equal(t, setup, got.Reason)
				require.Contains(t, got.Detail, test.detail)
				require.Empty(t, server.received())
			}
		})
	}
}

// What a server (or somebody in between) says in clear after the answer to
// STARTTLS must not be taken for what it says under TLS.
func TestSTARTTLSInjection(t *testing.T) {
	t.Parallel()
	_, caFile := certificate(t)
	server := serve(t, answers{
		"EHLO": "250-mail.test\r\n250 STARTTLS", "STARTTLS": "220 go\r\n250-mail.test\r\n250 AUTH PLAIN",
	})
	p := server.provider(func(c *SMTPConfig) { c.TLS, c.CAFile = TLSStartTLS, caFile })
	require.Equal(t, transient, p.Send(t.Context(), hello()).Kind)
	require.Zero(t, server.commands("MAIL"))
}

func TestAuth(t *testing.T) {
	t.Parallel()
	config, caFile := certificate(t)
	tests := map[string]struct {
		mode     TLSMode
		password string
		detail   string // empty: sent
	}{
		"right, STARTTLS":          {TLSStartTLS, "s3cr=t", ""},
		"right, implicit":          {TLSImplicit, "s3cr=t", ""},
		"right, loopback in clear": {TLSNone, "s3cr=t", ""},
		"wrong":                    {TLSStartTLS, "wr0ng", "AUTH: 535 5.7.8 no entry for belfry with ***"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSink(t, func(s *sink) {
				s.password, s.TLSConfig, s.AllowInsecureAuth = "s3cr=t", config, true
				if test.mode == TLSImplicit {
					s.Addr = "implicit"
				}
			})
			got := provider(t, server.address, func(c *SMTPConfig) {
				c.TLS, c.CAFile, c.Username, c.Password = test.mode, caFile, "belfry", test.password
			}).Send(t.Context(), hello())
			if test.detail == "" {
				require.Equal(t, sent, got.Kind, got.Detail)
				return
			}
			require.Equal(t, transient, got.Kind)
			require.Equal(t, setup, got.Reason)
			require.Equal(t, test.detail, got.Detail)
		})
	}
}

func TestAuthOutcomes(t *testing.T) {
	t.Parallel()
	hello5 := func(mechanisms string) string { return "250-mail.test\r\n250 AUTH " + mechanisms }
	password := "hunter2"
	sum := hmac.New(md5.New, []byte(password))
	sum.Write([]byte("<1@mail.test>"))
	cram := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "belfry %x", sum.Sum(nil)))
	tests := map[string]struct {
		script answers
		want   string // the command that must have been sent, or else
		detail string
	}{
		"CRAM-MD5 before PLAIN": {
			answers{"EHLO": hello5("PLAIN CRAM-MD5"), "AUTH": "334 PDFAbWFpbC50ZXN0Pg==", "other": "235 welcome"}, cram, ""},
		"4xx": {answers{"EHLO": hello5("PLAIN"), "AUTH": "454 4.7.0 later"}, "AUTH PLAIN", "AUTH: 454 4.7.0 later"},
		"535": {answers{"EHLO": hello5("PLAIN"), "AUTH": "535 5.7.8 hunter2? no"}, "AUTH PLAIN", "AUTH: 535 5.7.8 ***? no"},
		"EOF": {answers{"EHLO": hello5("LOGIN"), "AUTH": hangUp}, "AUTH LOGIN", "AUTH: the server closed the connection"},
		"no mechanism we know": {
			answers{"EHLO": hello5("NTLM XOAUTH2")}, "EHLO", "AUTH: the server offers no AUTH mechanism"},
		"no AUTH": {answers{}, "EHLO", "AUTH: the server offers no AUTH mechanism"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, test.script)
			got := server.provider(func(c *SMTPConfig) { c.Username, c.Password = "belfry", password }).
				Send(t.Context(), hello())
			require.Equal(t, 1, server.commands(test.want))
			require.Contains(t, got.Detail, test.detail)
			require.Equal(t, test.detail == "", got.Kind == sent, got.Detail)
			if test.detail != "" {
				require.Equal(t, transient, got.Kind)
				require.Zero(t, server.commands("MAIL"))
			}
		})
	}
}

func TestBestMechanism(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		offered             string
		encrypted, loopback bool
		want                string
	}{
		"binding to the channel first":      {"PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", true, false, "SCRAM-SHA-256-PLUS"},
		"no binding without TLS":            {"SCRAM-SHA-1-PLUS scram-sha-1", false, false, "SCRAM-SHA-1"},
		"a password in clear under TLS":     {"LOGIN PLAIN", true, false, "PLAIN"},
		"never in clear over a network":     {"LOGIN PLAIN", false, false, ""},
		"in clear on this machine":          {"LOGIN PLAIN", false, true, "PLAIN"},
		"a challenge over a network, plain": {"LOGIN PLAIN CRAM-MD5", false, false, "CRAM-MD5"},
		"nothing offered":                   {"", true, true, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, bestMechanism(test.offered, test.encrypted, test.loopback))
		})
	}
}
