package outcome

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/rabbitmq"
)

// Exchange is where outcomes are published, under their type as routing key.
const Exchange = "belfry.outcomes"

// publishTimeout is how long RabbitMQ may take to confirm what is published
// together. One that takes longer is taken for away.
const publishTimeout = 5 * time.Second

var errAway = errors.New("there is no connection to RabbitMQ")

// A publisher publishes events, and has them confirmed, while it has a
// connection.
type publisher struct {
	url string
	log *slog.Logger

	current atomic.Pointer[session] // nil while there is no connection
}

// run keeps a connection until ctx ends.
func (p *publisher) run(ctx context.Context) {
	pause := rabbitmq.NewPause()
	for ctx.Err() == nil {
		began := time.Now()
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 2*rabbitmq.MaxPause { // it was there for a while
			pause.Reset()
		}
		next := pause.NextBackOff()
		p.log.WarnContext(ctx, "outcomes wait: RabbitMQ cannot be used", "error", err, "next_try", next.Round(time.Millisecond))
		rabbitmq.Wait(ctx, next)
	}
}

// session has events published over one connection until that is lost, which is
// the error, or ctx ends.
func (p *publisher) session(ctx context.Context) error {
	connection, err := rabbitmq.Dial(ctx, p.url, "belfry outcomes")
	if err != nil {
		return err
	}
	defer rabbitmq.Close(connection)
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := channel.ExchangeDeclare(Exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare the exchange %s: %w", Exchange, err)
	}
	if err := channel.Confirm(false); err != nil {
		return fmt.Errorf("have outcomes confirmed: %w", err)
	}
	s := &session{connection: connection, channel: channel}
	closed := channel.NotifyClose(make(chan *amqp.Error, 1)) // its connection's end closes it too
	s.watch(connection.NotifyBlocked(make(chan amqp.Blocking, 1)))
	p.current.Store(s)
	defer p.current.Store(nil)
	p.log.InfoContext(ctx, "outcomes are published", "exchange", Exchange)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case reason := <-closed:
		if reason == nil {
			return amqp.ErrClosed
		}
		return reason
	}
}

// publish returns nil when RabbitMQ has confirmed all events. Where it fails,
// some may have been published.
func (p *publisher) publish(ctx context.Context, events []Event) error {
	s := p.current.Load()
	if s == nil {
		return errAway
	}
	return s.publish(ctx, events)
}

// connected says whether there is somebody to publish to.
func (p *publisher) connected() bool {
	s := p.current.Load()
	return s != nil && !s.blocked.Load()
}

// A session is a connection with a channel for events.
type session struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	blocked    atomic.Bool // RabbitMQ is short of memory or disk, and reads nothing
	lose       sync.Once
}

// watch follows whether RabbitMQ reads what is published.
func (s *session) watch(blockings <-chan amqp.Blocking) {
	go func() {
		for b := range blockings {
			s.blocked.Store(b.Active)
		}
	}()
}

func (s *session) publish(ctx context.Context, events []Event) error {
	if s.blocked.Load() {
		return errors.New("RabbitMQ takes nothing now: it is short of memory or disk")
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	// A write to one who does not read ends with the connection only.
	defer context.AfterFunc(ctx, func() { s.lose.Do(func() { rabbitmq.Close(s.connection) }) })()
	confirmations := make([]*amqp.DeferredConfirmation, len(events))
	for i, e := range events {
		body, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode %s: %w", e.ID, err)
		}
		confirmations[i], err = s.channel.PublishWithDeferredConfirm(Exchange, e.Type, false, false, amqp.Publishing{
			ContentType: "application/cloudevents+json", DeliveryMode: amqp.Persistent,
			MessageId: e.ID, Type: e.Type, AppId: e.Source, Timestamp: e.Time, Body: body,
		})
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	for _, c := range confirmations {
		confirmed, err := c.WaitContext(ctx)
		if err != nil {
			return fmt.Errorf("wait for confirmation: %w", err)
		}
		if !confirmed {
			return errors.New("RabbitMQ did not confirm an outcome")
		}
	}
	return nil
}
