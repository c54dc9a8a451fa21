package outcome_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/outcome"
	"github.com/belfry-notify/belfry/internal/store"
)

// patience is how long a test waits for something that must come.
const patience = 60 * time.Second

// A listener has a queue for outcomes.
type listener struct {
	t       *testing.T
	url     string
	channel *amqp.Channel

	mu   sync.Mutex
	came map[string]int // by id
	last map[string]amqp.Delivery
}

func listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{t: t, url: amqptest.NewURL(t), came: map[string]int{}, last: map[string]amqp.Delivery{}}
	connection, err := amqp.Dial(l.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	l.channel, err = connection.Channel()
	require.NoError(t, err)
	require.NoError(t, l.channel.ExchangeDeclare(outcome.Exchange, amqp.ExchangeTopic, true, false, false, false, nil))
	l.bind("outcomes", "#", nil)
	messages, err := l.channel.Consume("outcomes", "", true, false, false, false, nil)
	require.NoError(t, err)
	go func() {
		for m := range messages {
			l.mu.Lock()
			l.came[m.MessageId]++
			l.last[m.MessageId] = m
			l.mu.Unlock()
		}
	}()
	return l
}

func (l *listener) bind(queue, key string, args amqp.Table) {
	l.t.Helper()
	_, err := l.channel.QueueDeclare(queue, false, false, false, false, args)
	require.NoError(l.t, err)
	require.NoError(l.t, l.channel.QueueBind(queue, key, outcome.Exchange, false, nil))
}

func (l *listener) has(n int) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.came) == n
	}
}

func (l *listener) teller(s *store.Store) *outcome.Teller {
	return outcome.New(outcome.Config{
		URL: l.url, Store: s, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
		UILink: func(id string) string { return "http://ui/" + id },
	})
}

// run has it publish until the test ends.
func run(t *testing.T, teller *outcome.Teller) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { teller.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

func delivery(state notify.State) *notify.Delivery {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &notify.Delivery{
		ID: uuid.NewString(), NotificationID: uuid.NewString(), UserID: "ann", Channel: notify.ChannelEmail, Provider: "smtp",
		Address: "ann@example.com", State: state, Attempts: []notify.Attempt{{At: now, Provider: "smtp"}}, CreatedAt: now, SentAt: &now, Claim: 1,
	}
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(mongotest.NewURI(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

func untold(t *testing.T, s *store.Store) int {
	t.Helper()
	waiting, err := s.ListUntold(t.Context(), "nobody", false, 1000)
	require.NoError(t, err)
	return len(waiting)
}

func TestOutcomesAreCloudEvents(t *testing.T) {
	t.Parallel()
	l, s := listen(t), openStore(t)
	teller := l.teller(s)
	run(t, teller)
	sent, failed := delivery(notify.StateSent), delivery(notify.StateFailed)
	failed.Reason = notify.ReasonRejected
	require.NoError(t, teller.Deliveries(t.Context(), []*notify.Delivery{sent, failed}))
	n := &notify.Record{
		Notification: notify.Notification{
			ID: uuid.NewString(), Template: &notify.TemplateRef{Name: "welcome", Version: 3}, Channels: []notify.Channel{notify.ChannelEmail},
			Tags: []string{"a"}, Metadata: `{"order":"17"}`, CreatedAt: time.Now(),
		},
		Progress: notify.Progress{Status: notify.StatusDone, Counts: notify.Counts{Total: 2, Sent: 1, Failed: 1}},
	}
	require.NoError(t, teller.Notification(t.Context(), n))
	require.Eventually(t, l.has(3), patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return untold(t, s) == 0 }, patience, 50*time.Millisecond)

	for id, want := range map[string]struct {
		kind, subject string
		data          any
	}{
		sent.ID + "/1/sent":     {"belfry.delivery.sent", sent.ID, sent},
		failed.ID + "/1/failed": {"belfry.delivery.failed", failed.ID, failed},
		n.ID + "/done":          {"belfry.notification.done", n.ID, n.View(func(id string) string { return "http://ui/" + id })},
	} {
		m, came := l.last[id]
		require.True(t, came, id)
		require.Equal(t, want.kind, m.RoutingKey)
		require.Equal(t, want.kind, m.Type)
		require.Equal(t, amqp.Persistent, m.DeliveryMode)
		// Our own reader of CloudEvents takes it.
		e, err := event.Decode(&m)
		require.NoError(t, err)
		require.Equal(t, []string{id, "belfry", want.kind, want.subject}, []string{e.ID, e.Source, e.Type, e.Subject})
		data, err := json.Marshal(want.data)
		require.NoError(t, err)
		require.JSONEq(t, string(data), string(e.Data))
		require.NotContains(t, string(e.Data), "content")
	}
}

// What is told while there is no RabbitMQ is published once there is.
func TestOutcomesWaitForRabbitMQ(t *testing.T) {
	t.Parallel()
	l, s := listen(t), openStore(t)
	teller := l.teller(s)
	for range 120 {
		require.NoError(t, teller.Deliveries(t.Context(), []*notify.Delivery{delivery(notify.StateSent), delivery(notify.StateSkipped)}))
	}
	require.Equal(t, 120, untold(t, s))
	require.Empty(t, l.came)
	stop := run(t, teller)
	require.Eventually(t, l.has(240), patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return untold(t, s) == 0 }, patience, 10*time.Millisecond)
	stop()

	// One who is gone leaves it to the others, however much it is.
	for range 230 {
		require.NoError(t, teller.Deliveries(t.Context(), []*notify.Delivery{delivery(notify.StateUnknown)}))
	}
	other := l.teller(s)
	var connecting sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	connecting.Go(func() { outcome.Connect(ctx, other) })
	defer connecting.Wait()
	defer cancel()
	require.Eventually(t, func() bool { return outcome.Connected(other) }, patience, 10*time.Millisecond)
	require.NoError(t, outcome.CatchUpOthers(t.Context(), other, time.Now()))
	require.Equal(t, 230, untold(t, s), "it may still live")
	require.NoError(t, outcome.CatchUpOthers(t.Context(), other, time.Now().Add(time.Minute)))
	require.Eventually(t, l.has(470), patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return untold(t, s) == 0 }, patience, 10*time.Millisecond)
}

// The connection breaks again and again under a stream: each comes, and nothing
// is lost where one is told to be published and was not.
func TestOutcomesOverConnectionsThatBreak(t *testing.T) {
	t.Parallel()
	l, s := listen(t), openStore(t)
	teller := l.teller(s)
	run(t, teller)
	const tellers, each = 4, 60
	var telling sync.WaitGroup
	for range tellers {
		telling.Go(func() {
			for i := range each {
				if err := teller.Deliveries(t.Context(), []*notify.Delivery{delivery(notify.StateSent), delivery(notify.StateFailed)}); err != nil {
					t.Error(err)
				}
				if i%10 == 9 {
					outcome.Break(teller)
				}
			}
		})
	}
	telling.Wait()
	require.Eventually(t, l.has(2*tellers*each), patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return untold(t, s) == 0 }, patience, 10*time.Millisecond)
}

// A queue that is full refuses: what is refused waits.
func TestOutcomesThatAreRefusedWait(t *testing.T) {
	t.Parallel()
	l, s := listen(t), openStore(t)
	l.bind("full", "belfry.delivery.#", amqp.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	teller := l.teller(s)
	run(t, teller)
	for i := range 5 {
		require.NoError(t, teller.Deliveries(t.Context(), []*notify.Delivery{delivery(notify.StateSent)}), fmt.Sprint(i))
	}
	require.Eventually(t, func() bool { return untold(t, s) >= 3 }, patience, 10*time.Millisecond)
	_, err := l.channel.QueueDelete("full", false, false, false)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return untold(t, s) == 0 }, patience, 10*time.Millisecond)
	require.Eventually(t, l.has(5), patience, 10*time.Millisecond)
}

// A password in the URL is not logged.
func TestWhereRabbitMQIsIsNotLogged(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	teller := outcome.New(outcome.Config{
		URL: "amqp://guest:hunter2@127.0.0.1:1/", Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, NewID: uuid.NewString,
	})
	run(t, teller)
	require.Eventually(t, func() bool { return bytes.Count(log.bytes(), []byte("RabbitMQ cannot be used")) >= 2 }, patience, 10*time.Millisecond)
	require.NotContains(t, string(log.bytes()), "hunter2")
}

// syncBuffer is a log that is written and read at once.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buffer.Bytes())
}
