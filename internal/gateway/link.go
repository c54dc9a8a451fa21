package gateway

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A Link is how Belfry's processes know each other. All of them are to have the
// same one.
type Link struct {
	Token    string // what they show each other; empty: the secret that the database keeps
	CertFile string // PEM, with KeyFile: gateways speak TLS
	KeyFile  string
	CAFile   string // PEM: gateways are spoken to over TLS, and trusted by these authorities
}

// Check says what is wrong with the files.
func (l Link) Check() error {
	if _, err := l.serverCredentials(); err != nil {
		return err
	}
	_, err := l.clientCredentials()
	return err
}

// token is what to show, and to be shown.
func (l Link) token(ctx context.Context, secrets interface {
	GatewaySecret(ctx context.Context) (string, error)
}) (string, error) {
	if l.Token != "" {
		return l.Token, nil
	}
	return secrets.GatewaySecret(ctx)
}

func (l Link) serverCredentials() (credentials.TransportCredentials, error) {
	if (l.CertFile == "") != (l.KeyFile == "") {
		return nil, errors.New("TLS needs both a certificate file and a key file")
	}
	if l.CertFile == "" {
		return insecure.NewCredentials(), nil
	}
	certificate, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate and key: %w", err)
	}
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}), nil
}

func (l Link) clientCredentials() (credentials.TransportCredentials, error) {
	if l.CAFile == "" {
		return insecure.NewCredentials(), nil
	}
	pem, err := os.ReadFile(l.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !settings.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file %s holds no PEM certificate", l.CAFile)
	}
	return credentials.NewTLS(settings), nil
}

func (l Link) dial(addr, token string) (*grpc.ClientConn, error) {
	transport, err := l.clientCredentials()
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(bearer(token)),
		grpc.WithDisableServiceConfig(),
		// A gateway that comes back is found within 3 s, instead of gRPC's 2 min.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		// Finds connections that died silently.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}))
}

// bearer adds a token to every call (RFC 6750, section 2.1). Without TLS it goes
// in the clear, as the news do: such gateways belong into a network of their own.
type bearer string

// GetRequestMetadata is the header of a call.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity lets gRPC send it without TLS too.
func (b bearer) RequireTransportSecurity() bool { return false }

// guard lets calls with the right bearer token through.
func guard(token string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		for _, value := range metadata.ValueFromIncomingContext(ctx, "authorization") {
			scheme, shown, _ := strings.Cut(value, " ")
			if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare([]byte(shown), []byte(token)) == 1 {
				return handle(ctx, request)
			}
		}
		return nil, status.Error(codes.Unauthenticated, "the right bearer token is missing")
	}
}
