package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/config"
	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/idp"
	"github.com/belfry-notify/belfry/internal/outcome"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/internal/telemetry"
	"github.com/belfry-notify/belfry/internal/template"
	"github.com/belfry-notify/belfry/worker"
	"github.com/belfry-notify/belfry/workflows"
)

type (
	apiCommand     struct{}
	workerCommand  struct{}
	starterCommand struct{}
	allCommand     struct{}
)

// Run serves the API.
func (apiCommand) Run(ctx context.Context) error {
	return serve(ctx, func(ctx context.Context, b *belfry, run *errgroup.Group) { b.runAPI(ctx, run) }, (*belfry).openOutcomes, (*belfry).openGateway)
}

// Run works.
func (workerCommand) Run(ctx context.Context) error {
	return serve(ctx, func(ctx context.Context, b *belfry, run *errgroup.Group) { b.runWorker(ctx, run) }, (*belfry).openProviders, (*belfry).openOutcomes)
}

// Run takes in events.
func (starterCommand) Run(ctx context.Context) error {
	return serve(ctx, func(ctx context.Context, b *belfry, run *errgroup.Group) { b.runStarter(ctx, run) })
}

// Run does all of the above.
func (allCommand) Run(ctx context.Context) error {
	return serve(ctx, func(ctx context.Context, b *belfry, run *errgroup.Group) {
		b.runAPI(ctx, run)
		b.runWorker(ctx, run)
		b.runStarter(ctx, run)
	}, (*belfry).openProviders, (*belfry).openOutcomes, (*belfry).openGateway)
}

func newLogger(c config.Log) *slog.Logger { return telemetry.NewLogger(os.Stderr, c.Level, c.Format) }

// belfry is what the roles share: the configuration and the connections.
type belfry struct {
	cfg       config.Config
	log       *slog.Logger
	temporal  client.Client
	namespace string
	works     atomic.Bool // a worker polls through temporal
	store     *store.Store
	idp       *idp.Client
	templates *template.Engine

	// Only where mail is sent: the providers of direct mail and of broadcasts,
	// in the order in which they are tried, and the rates that some have.
	direct, bulk []*channel.Guard
	limiters     []*channel.Limiter

	// Who tells other programs what became of it all; nil where that is off.
	outcomes *outcome.Teller

	gateway *gateway.Gateway // only where the API is served
	pusher  *gateway.Pusher
}

// serve runs roles until ctx ends or one of them fails; either way all end
// cleanly. First it opens what not all roles need.
func serve(ctx context.Context, roles func(context.Context, *belfry, *errgroup.Group), more ...func(*belfry) error) (err error) {
	b, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	for _, open := range more {
		if err := open(b); err != nil {
			return err
		}
	}
	defer b.tellOutcomes(context.WithoutCancel(ctx))() // what is finished at the end is told too
	b.openPusher()
	err = b.whileLive(ctx, func(ctx context.Context) error {
		run, ctx := errgroup.WithContext(ctx)
		roles(ctx, b, run)
		return run.Wait()
	})
	b.log.InfoContext(ctx, "stopped")
	return err
}

// open reads the configuration and prepares the connections. None of the
// neighbours needs to be there yet.
func open() (*belfry, error) {
	cfg, err := config.Load(os.LookupEnv)
	if err != nil {
		return nil, err
	}
	b := &belfry{cfg: cfg, log: newLogger(cfg.Log)}
	if b.temporal, b.namespace, err = dialTemporal(cfg.Codec.Keys, b.log); err != nil {
		return nil, err
	}
	if b.store, err = store.Open(cfg.MongoURI); err != nil {
		return nil, fmt.Errorf("BELFRY_MONGO_URI: %w", err)
	}
	if b.idp, err = idp.New(cfg.IDP); err != nil {
		return nil, fmt.Errorf("set up the idp client: %w", err)
	}
	b.templates = template.New()
	return b, nil
}

// closeTimeout bounds how long connections may take to close.
const closeTimeout = 5 * time.Second

func (b *belfry) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	b.temporal.Close()
	err := errors.Join(b.idp.Close(), b.store.Close(ctx))
	for _, p := range slices.Concat(b.direct, b.bulk) {
		err = errors.Join(err, p.Close())
	}
	return err
}

// runAPI serves the API.
func (b *belfry) runAPI(ctx context.Context, run *errgroup.Group) {
	run.Go(func() error { return b.ensureIndexes(ctx) })
	callers, err := b.callers(ctx)
	if err != nil {
		run.Go(func() error { return err })
		return
	}
	run.Go(func() error { return callers.Run(ctx) })
	live := b.stream(callers)
	run.Go(func() error {
		pair, err := loadCertificate(b.cfg.Limits.TLSCertFile, b.cfg.Limits.TLSKeyFile, b.log)
		if err != nil {
			return err
		}
		return api.Run(ctx, api.Config{
			Addr:        b.cfg.HTTPAddr,
			Version:     version,
			Access:      callers,
			Store:       b.store,
			Templates:   b.templates,
			Providers:   b.cfg.EmailProvider,
			DirectLimit: b.cfg.DirectLimit,
			Starter:     workflows.NewStarter(b.temporal, b.namespace, b.works.Load),
			Schedules:   b.schedules(),
			Checks:      b.checks(),
			Informs:     b.informs(callers),
			UILink:      b.uiLink(),
			Pusher:      b.pusher,
			Stream:      live,
			Log:         b.log,
			Now:         time.Now,

			SendGridWebhookKey: b.cfg.SendGridWebhookKey,
			AudienceRetention:  b.cfg.AudienceRetention,

			Limits: api.Limits{
				Rate: b.cfg.Limits.RateLimit.Count, Period: b.cfg.Limits.RateLimit.Per,
				InFlight: b.cfg.Limits.MaxRequests, TrustedProxies: b.cfg.Limits.TrustedProxies,
			},
			Certificate: pair,
		}, nil)
	})
}

// callers is who finds out who calls the API.
func (b *belfry) callers(ctx context.Context) (*access.Authenticator, error) {
	if b.cfg.Auth.Nobody() {
		b.log.WarnContext(ctx, "BELFRY_AUTH is none: whoever reaches the API may do everything", "addr", b.cfg.HTTPAddr)
	}
	return access.New(b.cfg.Auth, b.store, b.log, time.Now)
}

func (b *belfry) runWorker(ctx context.Context, run *errgroup.Group) {
	direct, bulk := b.activities(false), b.activities(true)
	sweep := &worker.Sweep{
		Temporal: b.temporal,
		Store:    b.store,
		Start:    workflows.NewStarter(b.temporal, b.namespace, b.works.Load).Start,
		Settle:   direct.Settle,
		Log:      b.log,
		Every:    b.cfg.SweepInterval,
	}
	run.Go(func() error {
		return b.withShare(ctx, func(ctx context.Context) error {
			return worker.Run(ctx, b.temporal, direct, bulk, b.inboxActivities(), b.runs(), func() { b.works.Store(true) }, b.log)
		})
	})
	run.Go(func() error { return sweep.Run(ctx) })
	run.Go(func() error { return b.scheduleSweep().Run(ctx) })
}

// ensureIndexes tries until MongoDB is there.
func (b *belfry) ensureIndexes(ctx context.Context) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, b.store.EnsureIndexes(ctx, b.log) },
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, next time.Duration) {
			b.log.WarnContext(ctx, "MongoDB is away, its indexes wait", "error", err, "next_try", next.Round(time.Millisecond))
		}))
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop
	}
	return err
}

// checks ask the neighbours that the API needs to accept a notification.
func (b *belfry) checks() map[string]api.Check {
	return map[string]api.Check{
		"temporal": func(ctx context.Context) error {
			_, err := b.temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
			return err
		},
		"mongo": b.store.Ping,
	}
}

// informs ask those that workers need to send it, and the issuer of the tokens
// that the API lets in.
func (b *belfry) informs(callers *access.Authenticator) map[string]api.Check {
	informs := map[string]api.Check{"idp": b.idp.Ping}
	if issuer := callers.Issuer(); issuer != nil {
		informs["oidc"] = issuer
	}
	if slices.Contains(b.cfg.EmailProvider, "smtp") {
		addr := net.JoinHostPort(b.cfg.SMTP.Host, strconv.Itoa(b.cfg.SMTP.Port))
		informs["smtp"] = func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		}
	}
	return informs
}

// uiLink makes the address of a notification's workflow in the Temporal UI;
// nil where there is no UI.
func (b *belfry) uiLink() func(string) string {
	if b.cfg.TemporalUIURL == "" {
		return nil
	}
	base := b.cfg.TemporalUIURL + "/namespaces/" + url.PathEscape(b.namespace) + "/workflows/"
	return func(id string) string { return base + url.PathEscape(workflows.NotificationID(id)) }
}
