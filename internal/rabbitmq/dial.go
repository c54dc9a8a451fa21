// Package rabbitmq connects to RabbitMQ, again and again where it has to.
package rabbitmq

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// MaxPause is the longest pause between two tries while somebody is away.
const MaxPause = 5 * time.Second

const (
	dialTimeout  = 10 * time.Second
	heartbeat    = 10 * time.Second
	closeTimeout = 2 * time.Second
)

// Dial connects to the RabbitMQ at a URL and is shown there under a name. It
// gives up when ctx ends, also in the middle of the handshake.
func Dial(ctx context.Context, url, name string) (*amqp.Connection, error) {
	forget := func() bool { return true }
	connection, err := amqp.DialConfig(url, amqp.Config{
		Heartbeat:  heartbeat,
		Properties: amqp.Table{"connection_name": name},
		Dial: func(network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			forget = context.AfterFunc(ctx, func() { _ = conn.Close() })
			return conn, conn.SetDeadline(time.Now().Add(dialTimeout)) // until the handshake is over
		},
	})
	if !forget() && err == nil {
		return connection, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("connect to RabbitMQ: %w", err)
	}
	return connection, nil
}

// Close closes a connection, which may be lost already, or silent.
func Close(connection *amqp.Connection) {
	_ = connection.CloseDeadline(time.Now().Add(closeTimeout))
}

// NewPause is how long to wait between tries: from a quarter of a second up.
func NewPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.Multiplier, pause.MaxInterval = 250*time.Millisecond, 2, MaxPause
	return pause
}

// Wait waits for a while, or until ctx ends.
func Wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
