package idp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

// ServerConfig says what the reference server serves, and to whom. Only
// UsersFile is needed.
type ServerConfig struct {
	UsersFile string // a list of users: *.json, *.yaml or *.yml (docs/idp.md)
	CertFile  string // PEM; with KeyFile: speak TLS
	KeyFile   string // PEM
	Token     string // callers must send it as "authorization: Bearer"

	StopTimeout time.Duration // for calls under way when told to stop; 0 is 5 s
	Logger      *slog.Logger  // nil logs nothing
}

// maxRequestBytes is how large one request may be. Ids are short.
const maxRequestBytes = 64 << 10

// How long a connection may take to be one, and be kept without a call; how many
// calls it may have under way.
const (
	handshakeTimeout = 10 * time.Second
	maxIdle          = 10 * time.Minute
	maxStreams       = 1000
)

// Serve answers the idp contract on the listener, which it closes, until ctx
// ends; then it lets calls under way finish and returns nil. The users file is
// read again when it has changed. An error says that the server could not
// start, or what is wrong with its files, in one line.
func Serve(ctx context.Context, listener net.Listener, config ServerConfig) error {
	defer func() { _ = listener.Close() }()
	if config.StopTimeout == 0 {
		config.StopTimeout = 5 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	users, err := openUsersFile(config.UsersFile, config.Logger, time.Now)
	if err != nil {
		return err
	}
	options, err := serverOptions(config)
	if err != nil {
		return err
	}
	server := grpc.NewServer(options...)
	idppb.RegisterUserInfoServer(server, &service{users: users})
	healthService := health.NewServer()
	healthpb.RegisterHealthServer(server, healthService)
	reflection.Register(server)

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	config.Logger.Info("idp serving", "addr", listener.Addr().String(), "users", len(users.current().sorted))
	select {
	case err := <-failed:
		return fmt.Errorf("serve the idp: %w", err)
	case <-ctx.Done():
	}
	healthService.Shutdown()
	deadline := time.AfterFunc(config.StopTimeout, server.Stop)
	defer deadline.Stop()
	server.GracefulStop()
	if err := <-failed; !errors.Is(err, grpc.ErrServerStopped) { // told to stop before it began
		return err
	}
	return nil
}

func serverOptions(config ServerConfig) ([]grpc.ServerOption, error) {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.WaitForHandlers(true),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: maxIdle, Time: time.Minute, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	if (config.CertFile == "") != (config.KeyFile == "") {
		return nil, errors.New("TLS needs both a certificate file and a key file")
	}
	if config.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(config.CertFile, config.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the TLS certificate and key: %w", err)
		}
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{certificate},
		})))
	}
	if config.Token != "" {
		guard := guard{token: config.Token}
		options = append(options, grpc.UnaryInterceptor(guard.unary), grpc.StreamInterceptor(guard.stream))
	}
	return options, nil
}
