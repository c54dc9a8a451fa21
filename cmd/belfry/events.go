package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/outcome"
	"github.com/belfry-notify/belfry/internal/trigger"
	"github.com/belfry-notify/belfry/starter"
	"github.com/belfry-notify/belfry/workflows"
)

// runStarter takes in events.
func (b *belfry) runStarter(ctx context.Context, run *errgroup.Group) {
	events := &intake.Events{
		Store: b.store,
		Intake: &intake.Intake{
			Store: b.store, Starter: workflows.NewStarter(b.temporal, b.namespace, b.works.Load), DirectLimit: b.cfg.DirectLimit,
		},
		Triggers: trigger.NewSet(b.store, b.log),
		Read:     api.NewRequestReader(b.templates, b.cfg.EmailProvider, time.Now).Read,
		Check:    b.check,
		Log:      b.log,
		Now:      time.Now,

		AudienceRetention: b.cfg.AudienceRetention,
	}
	run.Go(func() error {
		return starter.New(starter.Config{URL: b.cfg.AMQPURL, Handler: events, Log: b.log}).Run(ctx)
	})
}

// openOutcomes prepares to tell outcomes, where there is a RabbitMQ.
func (b *belfry) openOutcomes() error {
	if b.cfg.AMQPURL == "" {
		return nil
	}
	b.outcomes = outcome.New(outcome.Config{
		URL: b.cfg.AMQPURL, Store: b.store, UILink: b.uiLink(), Log: b.log, Now: now,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
	})
	b.store.TellOutcomes(b.outcomes)
	return nil
}

// tellOutcomes publishes until it is told to stop.
func (b *belfry) tellOutcomes(ctx context.Context) (stop func()) {
	if b.outcomes == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() { b.outcomes.Run(ctx) })
	return func() {
		cancel()
		telling.Wait()
	}
}

// check says which neighbour is away without whom nothing can be accepted.
func (b *belfry) check(ctx context.Context) error {
	for name, check := range b.checks() {
		if err := check(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
