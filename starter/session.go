package starter

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/rabbitmq"
)

// consumer is Belfry's name on its channel.
const consumer = "belfry"

// A session is a connection and what is under way on it.
type session struct {
	*Starter
	connection *amqp.Connection
	intake     *amqp.Channel // delivers and is acknowledged on
	dead       *amqp.Channel // takes dead letters and confirms them
	returned   chan amqp.Return

	lose     context.CancelCauseFunc // ends the session
	progress atomic.Bool             // an event was handled since the last pause
}

func newSession(s *Starter, connection *amqp.Connection) (*session, error) {
	intake, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	if err := intake.Qos(2*s.Concurrency, 0, false); err != nil {
		return nil, fmt.Errorf("limit what is delivered ahead: %w", err)
	}
	dead, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	if err := dead.Confirm(false); err != nil {
		return nil, fmt.Errorf("have dead letters confirmed: %w", err)
	}
	return &session{
		Starter: s, connection: connection, intake: intake, dead: dead,
		// One for each worker: after the first no more is published.
		returned: dead.NotifyReturn(make(chan amqp.Return, s.Concurrency)),
	}, nil
}

// run takes in events while the handler can. When ctx ends, it finishes those
// under way within s.drain.
func (s *session) run(ctx context.Context) error {
	alive, lose := context.WithCancelCause(context.WithoutCancel(ctx))
	defer lose(nil)
	s.lose = lose
	s.watch()
	taking, stop := context.WithCancelCause(alive)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		stop(ctx.Err())
		rabbitmq.Wait(alive, s.drain)
		if alive.Err() == nil {
			lose(errors.New("what was under way was not finished in time"))
			rabbitmq.Close(s.connection) // a silent broker would keep it
		}
	})()
	pause := rabbitmq.NewPause()
	for taking.Err() == nil {
		err := s.ready(taking)
		if err == nil {
			err = s.take(taking, alive)
		}
		if taking.Err() != nil {
			break
		}
		if s.progress.Swap(false) {
			pause.Reset()
		}
		s.pause(taking, pause, err)
	}
	return context.Cause(taking)
}

// watch ends the session when the broker has ended a part of it.
func (s *session) watch() {
	closed := func(notices chan *amqp.Error) {
		if err := <-notices; err != nil {
			s.lose(fmt.Errorf("the connection was lost: %w", err))
			return
		}
		s.lose(amqp.ErrClosed)
	}
	go closed(s.connection.NotifyClose(make(chan *amqp.Error, 1)))
	go closed(s.intake.NotifyClose(make(chan *amqp.Error, 1)))
	go closed(s.dead.NotifyClose(make(chan *amqp.Error, 1)))
	cancelled := s.intake.NotifyCancel(make(chan string, 1))
	go func() {
		if _, ok := <-cancelled; ok {
			s.lose(fmt.Errorf("RabbitMQ cancelled the consumer of %s", Queue))
		}
	}()
}

// ready asks whether the handler can work.
func (s *session) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	return s.Handler.Ready(ctx)
}

func (s *session) pause(ctx context.Context, pause *backoff.ExponentialBackOff, err error) {
	next := pause.NextBackOff()
	s.Log.WarnContext(ctx, "events wait: somebody is away whom they need", "error", err, "next_try", next.Round(time.Millisecond))
	rabbitmq.Wait(ctx, next)
}

// take consumes until ctx ends, or until an event cannot be handled now, which
// is the error. Then nothing is held any more: events are handled or back in
// their queue. What is under way ends with alive.
func (s *session) take(ctx, alive context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	deliveries, err := s.intake.Consume(Queue, consumer, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume from %s: %w", Queue, err)
	}
	var workers sync.WaitGroup
	for range s.Concurrency {
		workers.Go(func() {
			for d := range deliveries {
				if ctx.Err() != nil {
					s.requeue(&d)
				} else if err := s.settle(alive, &d); err != nil {
					stop(err)
				}
			}
		})
	}
	<-ctx.Done()
	_ = s.intake.Cancel(consumer, false) // if this fails the channel is closed, and the deliveries are over too
	for d := range deliveries {          // the workers may all be busy
		s.requeue(&d)
	}
	workers.Wait()
	return context.Cause(ctx)
}

// settle handles an event and acknowledges it, buries it, or gives it back. An
// error says that it could not be handled now.
func (s *session) settle(alive context.Context, d *amqp.Delivery) error {
	ctx, cancel := context.WithTimeout(alive, handleTimeout)
	defer cancel()
	e, err := s.handle(ctx, d)
	switch {
	case err == nil:
		s.Counters.Handled.Add(1)
		s.progress.Store(true)
		s.acknowledge(d)
		return nil
	case notify.CodeOf(err) == notify.CodeUnavailable, ctx.Err() != nil:
		s.requeue(d)
		return err
	}
	if buried := s.bury(alive, d, err.Error()); buried != nil {
		s.requeue(d)
		buried = fmt.Errorf("publish a dead letter: %w", buried)
		s.lose(buried)
		return buried
	}
	s.Counters.DeadLettered.Add(1)
	s.progress.Store(true)
	s.acknowledge(d)
	if e == nil {
		e = &event.Event{}
	}
	s.Log.WarnContext(ctx, "event is a dead letter", "type", e.Type, "source", e.Source, "id", e.ID, "reason", err)
	return nil
}

// handle decodes an event, which is nil where that fails, and has it handled. A
// panic is an error, so that the event does not come again and again.
func (s *session) handle(ctx context.Context, d *amqp.Delivery) (e *event.Event, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.ErrorContext(ctx, "an event made Belfry panic", "panic", p, "stack", string(debug.Stack()))
			err = &notify.Error{Code: notify.CodeInternal, Detail: fmt.Sprintf("Belfry panicked: %v", p)}
		}
	}()
	if e, err = event.Decode(d); err != nil {
		return nil, err
	}
	return e, s.Handler.Handle(ctx, e)
}

// acknowledge tells the channel that delivered d, and no other. If that is
// closed by now, d comes again.
func (s *session) acknowledge(d *amqp.Delivery) {
	if err := d.Ack(false); err != nil {
		s.lose(fmt.Errorf("acknowledge an event: %w", err))
	}
}

// requeue gives a message back, as the end of its channel does too.
func (s *session) requeue(d *amqp.Delivery) {
	s.Counters.Requeued.Add(1)
	if err := d.Nack(false, true); err != nil {
		s.lose(fmt.Errorf("give an event back: %w", err))
	}
}
