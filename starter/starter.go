// Package starter is the way in over RabbitMQ: it takes events from a queue and
// hands each to a Handler, until that has done with it.
//
// An event is acknowledged when it has been handled, or when it is, with the
// reason, among the dead letters. Whatever else happens it comes again, so that
// none is lost and a Handler may see one twice.
package starter

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/rabbitmq"
)

// Limits of a starter.
const (
	DefaultConcurrency = 64 // events handled at a time

	handleTimeout = 15 * time.Second // for one event
	drainTimeout  = 10 * time.Second // for those under way at the end
)

// A Handler does what is to be done about an event.
type Handler interface {
	// Handle returns nil when all is done, which it may be asked for again.
	// notify.CodeUnavailable says that it cannot be done now; any other error,
	// that it can never be: its text is the reason on the dead letter.
	Handle(ctx context.Context, e *event.Event) error
	// Ready says whether those are there whom Handle needs.
	Ready(ctx context.Context) error
}

// Config is what a Starter needs to know and to call.
type Config struct {
	URL         string // of RabbitMQ; empty: there are no events
	Handler     Handler
	Log         *slog.Logger
	Concurrency int // events handled at a time; 0: DefaultConcurrency
}

// Counters say what became of the messages that were taken.
type Counters struct {
	Handled      atomic.Int64
	DeadLettered atomic.Int64
	Requeued     atomic.Int64 // left for later or for another starter
	Connections  atomic.Int64 // made to RabbitMQ
}

// A Starter takes in events.
type Starter struct {
	Config
	Counters Counters

	drain time.Duration // for those under way at the end
}

// New makes a Starter that begins when it is Run.
func New(cfg Config) *Starter {
	if cfg.Concurrency == 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	return &Starter{Config: cfg, drain: drainTimeout}
}

// Run takes in events until ctx ends, whatever becomes of RabbitMQ, and then
// finishes those that it holds.
func (s *Starter) Run(ctx context.Context) error {
	if s.URL == "" {
		s.Log.InfoContext(ctx, "events are off: BELFRY_AMQP_URL is not set")
		<-ctx.Done()
		return nil
	}
	pause := rabbitmq.NewPause()
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > 2*rabbitmq.MaxPause { // it was there for a while
			pause.Reset()
		}
		next := pause.NextBackOff()
		s.Log.WarnContext(ctx, "RabbitMQ cannot be used, trying again", "error", err, "next_try", next.Round(time.Millisecond))
		rabbitmq.Wait(ctx, next)
	}
	s.Log.InfoContext(ctx, "no more events are taken", "handled", s.Counters.Handled.Load(),
		"dead_lettered", s.Counters.DeadLettered.Load(), "requeued", s.Counters.Requeued.Load())
	return nil //nolint:nilerr // told to stop
}

// session takes in events over one connection until that is lost, which is the
// error, or ctx ends.
func (s *Starter) session(ctx context.Context) error {
	connection, err := rabbitmq.Dial(ctx, s.URL, "belfry starter")
	if err != nil {
		return err
	}
	defer rabbitmq.Close(connection)
	if err := declare(connection); err != nil {
		return err
	}
	session, err := newSession(s, connection)
	if err != nil {
		return err
	}
	s.Counters.Connections.Add(1)
	s.Log.InfoContext(ctx, "connected to RabbitMQ")
	return session.run(ctx)
}
