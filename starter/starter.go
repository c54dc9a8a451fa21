// Package starter is the way in over RabbitMQ. It connects and keeps the
// connection; events are not taken in yet.
package starter

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Run holds a connection to the RabbitMQ at url until ctx ends, reconnecting
// for ever. With an empty url there are no events, and it only waits.
func Run(ctx context.Context, url string, log *slog.Logger) error {
	if url == "" {
		log.InfoContext(ctx, "events are off: BELFRY_AMQP_URL is not set")
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		connection, err := connect(ctx, url, log)
		if err != nil {
			return nil //nolint:nilerr // told to stop
		}
		log.InfoContext(ctx, "connected to RabbitMQ")
		closed := connection.NotifyClose(make(chan *amqp.Error, 1))
		select {
		case <-ctx.Done():
			_ = connection.Close() // nothing is under way on it
		case err := <-closed:
			log.WarnContext(ctx, "connection to RabbitMQ lost", "error", err)
		}
	}
	return nil
}

// connect tries until RabbitMQ is there or ctx ends.
func connect(ctx context.Context, url string, log *slog.Logger) (*amqp.Connection, error) {
	return backoff.Retry(ctx, func() (*amqp.Connection, error) {
		return amqp.DialConfig(url, amqp.Config{
			Heartbeat:  10 * time.Second,
			Properties: amqp.Table{"connection_name": "belfry starter"},
		})
	}, backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, next time.Duration) {
			log.WarnContext(ctx, "RabbitMQ is away, waiting", "error", err, "next_try", next.Round(time.Millisecond))
		}))
}
