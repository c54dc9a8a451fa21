package starter

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/rabbitmq"
)

var errAway = &notify.Error{Code: notify.CodeUnavailable, Detail: "away"}

func TestEventsAreAcknowledgedWhenTheyAreHandled(t *testing.T) {
	t.Parallel()
	handled := make(chan struct{})
	h := &handler{handle: func(ctx context.Context, _ *event.Event) error {
		select {
		case <-handled:
		case <-ctx.Done():
		}
		return ctx.Err()
	}}
	r := start(t, h)
	r.connected(1)
	r.publish(0, 100)
	r.eventually("as many at a time as there may be", func() bool { return h.events() == 8 })
	require.Never(t, func() bool { return h.events() > 8 || r.Counters.Handled.Load() > 0 }, 200*time.Millisecond, 20*time.Millisecond)
	close(handled)
	r.eventually("all handled", func() bool { return r.Counters.Handled.Load() == 100 })
	r.stop()
	require.Equal(t, 100, h.events())
	require.Zero(t, r.Length(Queue))
	require.Zero(t, r.Length(DeadQueue))
}

// While somebody is away, events wait in their queue, where another starter can
// have them, and not in Belfry.
func TestEventsWaitInTheirQueueWhileSomebodyIsAway(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	h := &handler{
		handle: func(context.Context, *event.Event) error {
			if away.Load() {
				return errAway
			}
			return nil
		},
		ready: func() error {
			if away.Load() {
				return errAway
			}
			return nil
		},
	}
	r := start(t, h)
	r.connected(1)
	r.publish(0, 20)
	r.eventually("handled", func() bool { return r.Counters.Handled.Load() == 20 })
	away.Store(true)
	r.publish(20, 120)
	r.eventually("all wait", func() bool { return r.Length(Queue) == 100 && r.Counters.Requeued.Load() > 0 })
	requeued := r.Counters.Requeued.Load()
	require.Never(t, func() bool { return r.Counters.Requeued.Load() > requeued || r.Length(Queue) < 100 }, 2*time.Second, 100*time.Millisecond, "taken though they cannot be handled")
	away.Store(false)
	r.eventually("handled", func() bool { return r.Counters.Handled.Load() == 120 })
	r.stop()
	require.Zero(t, r.Length(Queue))
	require.Zero(t, r.Length(DeadQueue))
	require.Contains(t, r.log.String(), "events wait: somebody is away whom they need")
}

// A neighbour that says it is there, and then fails, is not asked at full speed,
// and what can be handled is.
func TestOneEventThatFailsForNowDoesNotHoldTheOthers(t *testing.T) {
	t.Parallel()
	h := &handler{handle: func(_ context.Context, e *event.Event) error {
		if e.ID == "7" {
			return errAway
		}
		return nil
	}}
	r := start(t, h)
	r.connected(1)
	r.publish(0, 300)
	r.eventually("the others are handled", func() bool { return r.Counters.Handled.Load() == 299 })
	tries := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.seen["7"]
	}
	before := tries()
	<-time.After(2 * time.Second)
	require.Less(t, tries()-before, 12, "tried too often")
	r.stop()
	r.eventually("it waits", func() bool { return r.Length(Queue) == 1 })
	require.Zero(t, r.Length(DeadQueue))
}

func TestWhateverBecomesOfTheBroker(t *testing.T) {
	t.Parallel()
	h := &handler{}
	url := amqptest.NewURL(t)
	r := startAt(t, url, h)
	r.connected(1)

	r.publish(0, 10)
	r.eventually("handled", func() bool { return h.events() == 10 })
	_, err := r.Channel().QueueDelete(Queue, false, false, false) // cancels the consumer
	require.NoError(t, err)
	r.connected(2)
	r.publish(10, 20)
	r.eventually("handled after the queue was made again", func() bool { return h.events() == 20 })

	_, err = r.Channel().QueueDelete(DeadQueue, false, false, false)
	require.NoError(t, err)
	r.Publish(Exchange, "", amqp.Publishing{Body: []byte("no event")}) // has nowhere to go
	r.connected(3)
	r.eventually("buried after the queue was made again", func() bool { return r.Length(DeadQueue) == 1 })

	require.NoError(t, r.Channel().ExchangeDelete(Exchange, false, false))
	_, err = r.Channel().QueueDelete(Queue, false, false, false)
	require.NoError(t, err)
	r.connected(4)
	r.publish(20, 30)
	r.eventually("handled after all was made again", func() bool { return h.events() == 30 })
}

func TestAQueueWithOtherArguments(t *testing.T) {
	t.Parallel()
	url := amqptest.NewURL(t)
	c := amqptest.NewClient(t, url)
	_, err := c.Channel().QueueDeclare(Queue, true, false, false, false, nil) // a classic one
	require.NoError(t, err)
	h := &handler{}
	r := startAt(t, url, h)
	r.eventually("tried again", func() bool { return strings.Count(r.log.String(), "PRECONDITION_FAILED") >= 2 })
	require.Contains(t, r.log.String(), "the queue belfry.intake is there with other arguments than Belfry's")
	_, err = c.Channel().QueueDelete(Queue, false, false, false)
	require.NoError(t, err)
	r.connected(1)
	r.publish(0, 1)
	r.eventually("handled", func() bool { return h.events() == 1 })
}

func TestABrokerThatIsNotThere(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	h := &handler{}
	r := &running{t: t, log: log, Starter: New(Config{URL: "amqp://guest:hunter2@127.0.0.1:1/", Handler: h, Log: logger(log)})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.eventually("tried again", func() bool { return strings.Count(log.String(), "RabbitMQ cannot be used") >= 2 })
	cancel()
	require.NoError(t, <-ended)
	require.NotContains(t, log.String(), "hunter2")

	off := New(Config{Handler: h, Log: logger(log)})
	require.NoError(t, off.Run(ctx))
	require.Contains(t, log.String(), "events are off: BELFRY_AMQP_URL is not set")
}

// At the end what is under way is finished, what is not begun goes back, and
// what takes too long is given up and goes back too.
func TestStopping(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := &handler{handle: func(ctx context.Context, e *event.Event) error {
		if e.ID == "0" { // hangs
			<-ctx.Done()
			return ctx.Err()
		}
		<-release
		return nil
	}}
	r := start(t, h)
	r.connected(1)
	r.publish(0, 100)
	r.eventually("under way", func() bool { return h.events() == 8 })
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	r.eventually("what is not begun is back", func() bool { return r.Length(Queue) == 92 })
	close(release)
	select {
	case <-stopped:
	case <-time.After(patience):
		require.Fail(t, "it does not stop")
	}
	require.EqualValues(t, 7, r.Counters.Handled.Load())
	require.Equal(t, 8, h.events(), "begun though it was to stop")
	r.eventually("all others are in the queue", func() bool { return r.Length(Queue) == 93 })
	require.Zero(t, r.Length(DeadQueue))
}

func TestTwoStartersShare(t *testing.T) {
	t.Parallel()
	url := amqptest.NewURL(t)
	a, b := &handler{}, &handler{}
	slow := func(ctx context.Context, _ *event.Event) error {
		rabbitmq.Wait(ctx, 5*time.Millisecond)
		return nil
	}
	a.handle, b.handle = slow, slow
	first, second := startAt(t, url, a), startAt(t, url, b)
	first.connected(1)
	second.connected(1)
	first.publish(0, 500)
	first.eventually("all handled", func() bool { return a.events()+b.events() == 500 })
	require.Greater(t, a.events(), 50)
	require.Greater(t, b.events(), 50)
	first.stop()
	second.publish(500, 600)
	second.eventually("handled by the other one", func() bool { return a.events()+b.events() == 600 })
}

var errRefused = errors.New("no such film")
