package starter

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/event"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience is how long a test waits for something that must come.
const patience = 60 * time.Second

// A handler counts how often it was asked for each event.
type handler struct {
	handle func(ctx context.Context, e *event.Event) error // nil: done
	ready  func() error                                    // nil: ready

	mu   sync.Mutex
	seen map[string]int // by id
}

func (h *handler) Ready(context.Context) error {
	if h.ready == nil {
		return nil
	}
	return h.ready()
}

func (h *handler) Handle(ctx context.Context, e *event.Event) error {
	h.mu.Lock()
	if h.seen == nil {
		h.seen = map[string]int{}
	}
	h.seen[e.ID]++
	h.mu.Unlock()
	if h.handle == nil {
		return nil
	}
	return h.handle(ctx, e)
}

// events is how many it has seen.
func (h *handler) events() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.seen)
}

// A running starter.
type running struct {
	*Starter
	*amqptest.Client
	t    *testing.T
	log  *syncBuffer
	stop func() // and wait until it has
}

// start runs a starter on a virtual host of its own.
func start(t *testing.T, h Handler) *running {
	t.Helper()
	return startAt(t, amqptest.NewURL(t), h)
}

func startAt(t *testing.T, url string, h Handler) *running {
	t.Helper()
	r := &running{t: t, log: &syncBuffer{}, Client: amqptest.NewClient(t, url)}
	r.Starter = New(Config{URL: url, Handler: h, Log: slog.New(slog.NewTextHandler(r.log, nil)), Concurrency: 8})
	r.drain = 2 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// connected waits until it is, for the nth time.
func (r *running) connected(n int64) {
	r.t.Helper()
	r.eventually("connected", func() bool { return r.Counters.Connections.Load() >= n })
}

func (r *running) eventually(what string, condition func() bool) {
	r.t.Helper()
	require.Eventually(r.t, condition, patience, 10*time.Millisecond, what)
}

// publish publishes events with the ids from first up to, but without, end.
func (r *running) publish(first, end int) {
	r.t.Helper()
	var messages []amqp.Publishing
	for id := first; id < end; id++ {
		messages = append(messages, plain(id))
	}
	r.Publish(Exchange, "t", messages...)
}

func plain(id int) amqp.Publishing {
	return amqp.Publishing{Type: "t", MessageId: fmt.Sprint(id), AppId: "test", Body: []byte("{}")}
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

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
