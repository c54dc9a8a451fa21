package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/config"
	"github.com/belfry-notify/belfry/internal/idp"
	"github.com/belfry-notify/belfry/internal/issuer"
)

type idpCommand struct {
	Addr  string `default:"127.0.0.1:50051" env:"BELFRY_IDP_ADDR" help:"Address to listen on, host:port."`
	Users string `required:"" type:"existingfile" help:"The users, a YAML or JSON file."`
	Cert  string `type:"existingfile" help:"TLS certificate (PEM); with --cert-key."`
	Key   string `name:"cert-key" type:"existingfile" help:"Key of the certificate (PEM)."`
	Token string `env:"BELFRY_IDP_TOKEN" help:"Bearer token that callers must send."`

	OIDC         string        `name:"oidc" placeholder:"ADDR" help:"Also be a sample OIDC issuer at this address of this machine: it gives anyone a token for each of the users."`
	OIDCAudience string        `name:"oidc-audience" default:"belfry" env:"BELFRY_OIDC_AUDIENCE" help:"Whom its tokens are for."`
	OIDCRotate   time.Duration `name:"oidc-rotate" default:"1h" help:"How often its signing key changes."`
}

// Run serves the users.
func (c idpCommand) Run(ctx context.Context) error {
	logging, err := config.LoadLog(os.LookupEnv)
	if err != nil {
		return err
	}
	log := newLogger(logging)
	if c.OIDC != "" {
		if err := c.sampleOnly(os.Getenv); err != nil {
			return err
		}
	}
	run, ctx := errgroup.WithContext(ctx)
	run.Go(func() error { return c.serveUsers(ctx, log) })
	if c.OIDC != "" {
		run.Go(func() error { return c.serveTokens(ctx, log) })
	}
	return run.Wait()
}

func (c idpCommand) serveUsers(ctx context.Context, log *slog.Logger) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listen for the idp: %w", err)
	}
	return idp.Serve(ctx, listener, idp.ServerConfig{
		UsersFile: c.Users, CertFile: c.Cert, KeyFile: c.Key, Token: c.Token, Logger: log,
	})
}

func (c idpCommand) serveTokens(ctx context.Context, log *slog.Logger) error {
	users, err := idp.OpenUsers(c.Users)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.OIDC)
	if err != nil {
		return fmt.Errorf("listen for the OIDC issuer: %w", err)
	}
	return issuer.Serve(ctx, listener, issuer.Config{
		Known: users.Has, Audience: c.OIDCAudience, Rotate: c.OIDCRotate, Log: log, Now: time.Now,
	})
}

// sampleOnly refuses to be an issuer where that could be meant for production:
// where others reach it or Belfry's API, or Belfry trusts another issuer.
func (c idpCommand) sampleOnly(getenv func(string) string) error {
	trusted := getenv("BELFRY_OIDC_ISSUER")
	switch api := getenv("BELFRY_HTTP_ADDR"); {
	case !config.Loopback(c.OIDC):
		return usagef("--oidc: the sample issuer gives tokens to anyone, and listens on an address of this machine alone, such as 127.0.0.1:9080")
	case api != "" && !config.Loopback(api):
		return fmt.Errorf("--oidc: the sample issuer gives tokens to anyone, and BELFRY_HTTP_ADDR has the API where others reach it")
	case trusted != "" && strings.TrimSuffix(trusted, "/") != "http://"+c.OIDC:
		return fmt.Errorf("--oidc: the sample issuer is not the one that BELFRY_OIDC_ISSUER names")
	}
	return nil
}
