package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

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
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen for the codec server: %w", err)
	}
	if addr, ok := listener.Addr().(*net.TCPAddr); cfg.Token == "" && (!ok || !addr.IP.IsLoopback()) {
		return errors.Join(errors.New("BELFRY_CODEC_TOKEN: is needed where others than this machine reach the codec server"), listener.Close())
	}
	pair, err := loadCertificate(limits.TLSCertFile, limits.TLSKeyFile, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	handler := codec.Handler(cfg.Keys, codec.ServerConfig{Origins: cfg.Origins, Token: cfg.Token})
	log.InfoContext(ctx, "codec server listening", "addr", listener.Addr().String(), "origins", cfg.Origins)
	return httpserver.Serve(ctx, httpserver.New(ctx, handler, pair, log), listener)
}
