package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/channel"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/worker"
)

const sendGrid = "sendgrid"

// openProviders prepares what sends mail. Direct mail and broadcasts have
// connections and breakers of their own, and the rates in common.
func (b *belfry) openProviders() error {
	for _, name := range b.cfg.EmailProvider {
		limiter := b.limiter(name)
		direct, err := b.provider(name, channel.GuardConfig{Limiter: limiter})
		if err != nil {
			return fmt.Errorf("set up %s: %w", name, err)
		}
		bulk, err := b.provider(name, channel.GuardConfig{Limiter: limiter, Bulk: true})
		if err != nil {
			return fmt.Errorf("set up %s for broadcasts: %w", name, err)
		}
		b.direct, b.bulk = append(b.direct, direct), append(b.bulk, bulk)
	}
	return nil
}

// limiter keeps the rate of the provider with the name; nil where it has none.
func (b *belfry) limiter(name string) *channel.Limiter {
	limit := map[string]rate.Limit{sendGrid: b.cfg.SendGridRate, "smtp": b.cfg.SMTPRate}[name]
	if limit == 0 {
		return nil
	}
	limiter := channel.NewLimiter(limit)
	b.limiters = append(b.limiters, limiter)
	return limiter
}

// provider sets up the provider with the name, behind its guard.
func (b *belfry) provider(name string, guard channel.GuardConfig) (*channel.Guard, error) {
	var provider channel.Provider
	var err error
	switch name {
	case sendGrid:
		config := b.cfg.SendGrid
		config.MaxConnections = b.connections(name, guard.Bulk)
		provider, err = channel.NewSendGrid(config)
	default:
		config := b.cfg.SMTP
		config.MaxConnections = b.connections(name, guard.Bulk)
		provider, err = channel.NewSMTP(config)
	}
	if err != nil {
		return nil, err
	}
	return channel.NewGuard(provider, guard, func(provider, from, to string) {
		b.log.Warn("circuit breaker", "provider", provider, "bulk", guard.Bulk, "from", from, "to", to)
	}), nil
}

func (b *belfry) connections(name string, bulk bool) int {
	switch {
	case name == sendGrid && bulk:
		return b.cfg.SendGridBulkConnections
	case name == sendGrid:
		return b.cfg.SendGrid.MaxConnections
	case bulk:
		return b.cfg.SMTPBulkConnections
	default:
		return b.cfg.SMTP.MaxConnections
	}
}

// activities send direct mail or broadcasts, as many at a time as the first
// provider has connections for.
func (b *belfry) activities(bulk bool) *activities.Activities {
	guards := b.direct
	if bulk {
		guards = b.bulk
	}
	providers := make([]activities.Provider, len(guards))
	for i, g := range guards {
		providers[i] = g
	}
	a := &activities.Activities{
		Store:       b.store,
		Directory:   b.idp,
		Renderer:    b.templates,
		Email:       providers,
		Inbox:       channel.NewInbox(b.store, b.pusher),
		Log:         b.log,
		Now:         now,
		NewToken:    uuid.NewString,
		Patience:    activities.DefaultPatience,
		Concurrency: b.connections(b.cfg.EmailProvider[0], bulk),
	}
	if b.outcomes != nil {
		a.Outcomes = b.outcomes
	}
	return a
}

// inboxConcurrency is how many items of a page for inboxes are written at a time:
// those of a chunk, which go to the database together.
const inboxConcurrency = notify.ChunkSize

// inboxActivities deliver pages for inboxes.
func (b *belfry) inboxActivities() *activities.Activities {
	a := b.activities(true)
	a.Concurrency = inboxConcurrency
	return a
}

// withShare runs work with this process's share of the rates, where there are
// any.
func (b *belfry) withShare(ctx context.Context, work func(context.Context) error) error {
	if len(b.limiters) == 0 {
		return work(ctx)
	}
	share := &worker.Share{
		Leases: b.store.Leases("worker", time.Now),
		Lease:  store.Lease{ID: uuid.NewString()},
		Set: func(share float64) {
			for _, l := range b.limiters {
				l.SetShare(share)
			}
		},
		Log:   b.log,
		Every: store.LeaseBeat,
	}
	return share.While(ctx, work)
}
