package idp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Config says how to reach an idp. Only Addr is needed.
type Config struct {
	Addr   string // host:port, or any gRPC target (https://grpc.io/docs/guides/custom-name-resolution/)
	TLS    bool   // speak TLS, trusting the system's authorities
	CAFile string // PEM; speak TLS, trusting these authorities instead
	Token  string // sent as "authorization: Bearer"; without TLS to this machine only

	Timeout   time.Duration // of one call with its retries; 0 is 5 s
	CacheTTL  time.Duration // 0 is 30 s, negative keeps nothing
	CacheSize int           // users kept; 0 is 10,000
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.CacheTTL == 0 {
		c.CacheTTL = 30 * time.Second
	}
	if c.CacheSize == 0 {
		c.CacheSize = 10_000
	}
	return c
}

// maxAnswerBytes is how large one Info may be; it bounds the cache's memory.
const maxAnswerBytes = 64 << 10

// serviceConfig has gRPC try a call up to four times, within a second, while
// the idp is UNAVAILABLE, a stream until its first answer. While most calls fail, throttling tries each but once
// (https://github.com/grpc/proposal/blob/master/A6-client-retries.md). Longer
// outages are for the caller's own, durable retries.
const serviceConfig = `{
	"methodConfig": [{
		"name": [{"service": "UserInfo"}],
		"retryPolicy": {
			"maxAttempts": 4,
			"initialBackoff": "0.1s",
			"maxBackoff": "0.5s",
			"backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}],
	"retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`

func dial(config Config) (*grpc.ClientConn, error) {
	if config.Addr == "" {
		return nil, errors.New("the address is empty")
	}
	transport, secure, err := transportOf(config)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(), // no service config from DNS
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		// An idp that comes back is found within 3 s, instead of gRPC's 2 min.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Finds connections that died silently. Idle ones are not pinged:
		// servers may close the connection for that (gRPC A8).
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
	if config.Token != "" {
		if strings.ContainsFunc(config.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, errors.New("the token has a character that no HTTP header takes")
		}
		if !secure && !isLocal(config.Addr) {
			return nil, fmt.Errorf("a token needs TLS, as %q is not on this machine", config.Addr)
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer{token: config.Token, secure: secure}))
	}
	return grpc.NewClient(config.Addr, options...)
}

// transportOf is the connection's credentials, and whether they are secure.
func transportOf(config Config) (credentials.TransportCredentials, bool, error) {
	if !config.TLS && config.CAFile == "" {
		return insecure.NewCredentials(), false, nil
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if config.CAFile != "" {
		pem, err := os.ReadFile(config.CAFile)
		if err != nil {
			return nil, false, fmt.Errorf("read the CA file: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, false, fmt.Errorf("the CA file %s holds no PEM certificate", config.CAFile)
		}
	}
	return credentials.NewTLS(settings), true, nil
}

// isLocal says whether a gRPC target is a loopback address or a Unix socket.
func isLocal(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	host, _, err := net.SplitHostPort(target[strings.LastIndex(target, "/")+1:])
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// bearer adds a token to every call (RFC 6750, section 2.1).
type bearer struct {
	token  string
	secure bool
}

// GetRequestMetadata is the header of a call.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

// RequireTransportSecurity has gRPC refuse to send the token in the clear.
func (b bearer) RequireTransportSecurity() bool { return b.secure }
