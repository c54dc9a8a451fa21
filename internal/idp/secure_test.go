package idp

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/certificate/certtest"
	"github.com/belfry-notify/belfry/internal/notify"
)

func TestTLSAndToken(t *testing.T) {
	t.Parallel()
	cert, key := certtest.New(t)
	otherCert, _ := certtest.New(t)
	plain := serve(t, ServerConfig{})
	guarded := serve(t, ServerConfig{Token: "s3cret"})
	secure := serve(t, ServerConfig{CertFile: cert, KeyFile: key})
	both := serve(t, ServerConfig{CertFile: cert, KeyFile: key, Token: "s3cret"})
	tests := map[string]struct {
		config Config
		code   notify.Code // empty: the look-up works
	}{
		"no token needed":             {Config{Addr: plain}, ""},
		"a token not needed":          {Config{Addr: plain, Token: "s3cret"}, ""},
		"the right token":             {Config{Addr: guarded, Token: "s3cret"}, ""},
		"a wrong token":               {Config{Addr: guarded, Token: "s3cret2"}, notify.CodeInternal},
		"no token":                    {Config{Addr: guarded}, notify.CodeInternal},
		"TLS, authority given":        {Config{Addr: secure, CAFile: cert}, ""},
		"TLS, another authority":      {Config{Addr: secure, CAFile: otherCert}, notify.CodeUnavailable},
		"TLS, the system's":           {Config{Addr: secure, TLS: true}, notify.CodeUnavailable},
		"TLS against a plain server":  {Config{Addr: plain, TLS: true}, notify.CodeUnavailable},
		"plain against a TLS server":  {Config{Addr: secure}, notify.CodeUnavailable},
		"TLS and the right token":     {Config{Addr: both, CAFile: cert, Token: "s3cret"}, ""},
		"TLS and a wrong token":       {Config{Addr: both, CAFile: cert, Token: "S3cret"}, notify.CodeInternal},
		"TLS where a token is needed": {Config{Addr: both, CAFile: cert}, notify.CodeInternal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, err := newClient(t, test.config).Lookup(t.Context(), "ana")
			if test.code == "" {
				require.NoError(t, err)
				require.Equal(t, "ana@example.org", user.Email)
				return
			}
			requireCode(t, test.code, err)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

func TestStreamNeedsTheTokenToo(t *testing.T) {
	t.Parallel()
	addr := serve(t, ServerConfig{Token: "s3cret"})
	_, err := askAll(t, stubOf(t, Config{Addr: addr}))
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	ids, err := askAll(t, stubOf(t, Config{Addr: addr, Token: "s3cret"}))
	require.NoError(t, err)
	require.Len(t, ids, 3)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config Config
		want   string // empty: accepted
	}{
		"no address":                   {Config{}, "the address is empty"},
		"no CA file":                   {Config{Addr: "idp:1", CAFile: "no-such.pem"}, "read the CA file"},
		"CA file of something else":    {Config{Addr: "idp:1", CAFile: writeFile(t, "ca.pem", "x")}, "no PEM certificate"},
		"token with a line break":      {Config{Addr: "idp:1", TLS: true, Token: "a\nb"}, "the token has a character"},
		"token in the clear":           {Config{Addr: "idp.example.org:1", Token: "t"}, "a token needs TLS"},
		"token in the clear, dns":      {Config{Addr: "dns:///idp.example.org:1", Token: "t"}, "a token needs TLS"},
		"token in the clear, all IPs":  {Config{Addr: "0.0.0.0:1", Token: "t"}, "a token needs TLS"},
		"token in the clear, fake":     {Config{Addr: "localhost.example.org:1", Token: "t"}, "a token needs TLS"},
		"token in the clear, no port":  {Config{Addr: "localhost", Token: "t"}, "a token needs TLS"},
		"token to localhost":           {Config{Addr: "localhost:1", Token: "t"}, ""},
		"token to localhost, dns":      {Config{Addr: "dns:///localhost:1", Token: "t"}, ""},
		"token to the IPv6 loopback":   {Config{Addr: "[::1]:1", Token: "t"}, ""},
		"token to a Unix socket":       {Config{Addr: "unix:idp.sock", Token: "t"}, ""},
		"token over TLS":               {Config{Addr: "idp.example.org:1", TLS: true, Token: "t"}, ""},
		"another host without a token": {Config{Addr: "idp.example.org:1"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := New(test.config)
			if test.want == "" {
				require.NoError(t, err)
				require.NoError(t, client.Close())
				return
			}
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}
