package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/certificate"
	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/config"
	"github.com/belfry-notify/belfry/internal/httpserver"
)

type codecCommand struct{}

// loadCertificate reads the certificate of a server; nil where it has none.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate.Files, error) {
	if certFile == "" {
		return nil, nil
	}
	files, err := certificate.Load(certFile, keyFile, log)
	if err != nil {
		return nil, fmt.Errorf("BELFRY_TLS_CERT_FILE: %w", err)
	}
	return files, nil
}

// Run decrypts Temporal's payloads for people.
func (codecCommand) Run(ctx context.Context) error {
	cfg, limits, logging, err := config.LoadCodec(os.LookupEnv)
	if err != nil {
		return err
	}
	log := newLogger(logging)
	if !cfg.Keys.Encrypt() {
		return errors.New("BELFRY_PAYLOAD_KEYS: is needed by a codec server")
	}
	if cfg.Token == "" && cfg.OIDC == nil && !config.Loopback(cfg.Addr) {
		return errors.New("BELFRY_CODEC_TOKEN: is needed where others than this machine reach the codec server, or BELFRY_AUTH with oidc")
	}
	pair, err := loadCertificate(limits.TLSCertFile, limits.TLSKeyFile, log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen for the codec server: %w", err)
	}
	served := codec.ServerConfig{Origins: cfg.Origins, Token: cfg.Token}
	run, ctx := errgroup.WithContext(ctx)
	if cfg.OIDC != nil {
		people, err := access.New(access.Config{OIDC: cfg.OIDC}, nil, log, time.Now)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		run.Go(func() error { return people.Run(ctx) })
		served.Admit = func(ctx context.Context, bearer string) bool {
			caller, err := people.Authenticate(ctx, bearer)
			return err == nil && caller.Serves(access.ScopeRead) // who may read all notifications may read this
		}
	}
	log.InfoContext(ctx, "codec server listening", "addr", listener.Addr().String(), "origins", cfg.Origins)
	run.Go(func() error {
		return httpserver.Serve(ctx, httpserver.New(ctx, codec.Handler(cfg.Keys, served), pair, log), listener)
	})
	return run.Wait()
}
