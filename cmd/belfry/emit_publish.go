package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/rabbitmq"
)

// Limits of publishing.
const (
	unconfirmed    = 256              // events under way at a time
	confirmTimeout = 30 * time.Second // for it to confirm an event
)

// A publisher publishes events, and knows what became of each.
type publisher struct {
	exchange   string
	connection *amqp.Connection
	channel    *amqp.Channel
	reason     func() *amqp.Error // why the server closed the channel, nil where it did not or has not
	returned   chan amqp.Return   // events that no queue took; each comes before its confirmation
	nowhere    map[string]bool    // their ids
}

// openPublisher connects to RabbitMQ. The connection ends with ctx.
func openPublisher(ctx context.Context, url, exchange string) (*publisher, error) {
	connection, err := rabbitmq.Dial(ctx, url, "belfry emit")
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	context.AfterFunc(ctx, func() { rabbitmq.Close(connection) }) // or what is being published could keep it
	p := &publisher{
		exchange: exchange, connection: connection, nowhere: map[string]bool{}, returned: make(chan amqp.Return, 2*unconfirmed),
	}
	if p.channel, err = connection.Channel(); err == nil {
		err = p.channel.Confirm(false)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("have events confirmed: %w", err)
	}
	p.channel.NotifyReturn(p.returned)
	p.reason = reason(p.channel.NotifyClose(make(chan *amqp.Error, 1)))
	return p, nil
}

// reason keeps what comes over a channel. The server's reason comes before what
// is not confirmed is given up.
func reason(notices <-chan *amqp.Error) func() *amqp.Error {
	var mu sync.Mutex
	var known *amqp.Error
	return func() *amqp.Error {
		mu.Lock()
		defer mu.Unlock()
		select {
		case notice, ok := <-notices:
			if ok {
				known = notice
			}
		default:
		}
		return known
	}
}

func (p *publisher) close() { rabbitmq.Close(p.connection) }

// An underway event is published and not confirmed yet.
type underway struct {
	id           string
	confirmation *amqp.DeferredConfirmation
}

// publish publishes events, many at a time, and has done called with the id of
// each that is confirmed, in their order. It ends with the first that could not
// be published, which is the error.
func (p *publisher) publish(ctx context.Context, events iter.Seq2[emission, error], done func(id string) error) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	waiting := make(chan underway, unconfirmed-2) // one is being published, and one waited for
	sent := make(chan error, 1)
	go func() {
		defer close(waiting)
		sent <- p.send(sending, events, waiting)
	}()
	var failed error
	for next := range waiting {
		err := p.wait(ctx, next)
		if err == nil {
			err = done(next.id)
		}
		if err != nil && failed == nil {
			failed = err
			stop()
		}
	}
	if err := <-sent; failed == nil {
		failed = err
	}
	return failed
}

// send publishes events until ctx ends.
func (p *publisher) send(ctx context.Context, events iter.Seq2[emission, error], waiting chan<- underway) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		confirmation, err := p.channel.PublishWithDeferredConfirm(p.exchange, e.key, true, false, e.message)
		if err != nil {
			return p.lost(ctx, e.id, err)
		}
		waiting <- underway{e.id, confirmation}
	}
	return nil
}

// wait waits until an event is confirmed.
func (p *publisher) wait(ctx context.Context, u underway) error {
	limited, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	confirmed, err := u.confirmation.WaitContext(limited)
	if err != nil || !confirmed {
		if err == nil {
			err = errors.New("RabbitMQ refused it")
		}
		return p.lost(ctx, u.id, err)
	}
	for len(p.returned) > 0 {
		p.nowhere[(<-p.returned).MessageId] = true
	}
	if p.nowhere[u.id] {
		return fmt.Errorf("event %s was not taken: no queue is bound to the exchange %s for its type; belfry starter makes one", u.id, p.exchange)
	}
	return nil
}

// lost says why an event is not known to be published.
func (p *publisher) lost(ctx context.Context, id string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if closed := p.reason(); closed != nil {
		if closed.Code == amqp.NotFound {
			return fmt.Errorf("event %s was not taken: there is no exchange %s here; belfry starter makes it", id, p.exchange)
		}
		err = closed
	}
	return fmt.Errorf("event %s is not confirmed, it may have been taken; emit it again under the same --id and --source: %w", id, err)
}
