package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

const (
	startsAtOnce = 64  // events that a starter handles at a time
	heldAtOnce   = 128 // and that it holds
)

type intakeCmd struct {
	N int `default:"5000" short:"n" help:"Events a run."`
}

const releasedTrigger = `{"name":"bench","event_type":"bench.released","condition":"event.data.year > 1970","to":"event.data.fans","template":"bench","data":"{'code': event.data.film}"}`

// Run measures.
func (i *intakeCmd) Run(ctx context.Context, c *cli) (err error) {
	fmt.Printf("intake: %d events for one trigger from a full quorum queue, %d at a time, no worker; Temporal dev server in memory, FerretDB on file, RabbitMQ and belfry starter as processes of their own\n", i.N, startsAtOnce)
	if os.Getenv("BELFRY_AMQP_URL") == "" {
		return errors.New("RabbitMQ is missing: run it with `make bench SCENARIO=intake`")
	}
	api, err := startBelfry(ctx, c.Belfry, "api", "127.0.0.1:1", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.stop()) }()
	status, answer, err := api.call(http.MethodPost, "/v1/triggers", releasedTrigger)
	if err != nil || status != http.StatusCreated && status != http.StatusConflict {
		return errors.Join(fmt.Errorf("create the trigger: %d %s", status, answer), err)
	}
	bare, err := newBare()
	if err != nil {
		return err
	}
	defer bare.stop()
	rabbitmq, err := amqp.Dial(os.Getenv("BELFRY_AMQP_URL"))
	if err != nil {
		return err
	}
	defer rabbitmq.Close()
	m := &intakeRun{cli: c, rabbitmq: rabbitmq, temporal: bare.client}
	if _, err := m.take(ctx, 0); err != nil { // makes the queue
		return err
	}
	if _, err := i.bare(ctx, bare, i.N/10); err != nil {
		return err
	}
	return repeat(c, func() (Result, error) {
		before, err := i.bare(ctx, bare, i.N/2)
		if err != nil {
			return Result{}, err
		}
		if err := m.fill(ctx, i.N); err != nil {
			return Result{}, err
		}
		idle()
		taken, err := m.take(ctx, i.N)
		if err != nil {
			return Result{}, err
		}
		after, err := i.bare(ctx, bare, i.N/2)
		if err != nil {
			return Result{}, err
		}
		limit := float64(i.N/2*2) / (before + after).Seconds()
		more := map[string]float64{
			"starter_cpu_s_per_1000": taken.cpu * 1000 / float64(i.N), "peak_memory_mib": taken.memory,
			"bare_before": float64(i.N/2) / before.Seconds(), "bare_after": float64(i.N/2) / after.Seconds(),
		}
		maps.Copy(more, taken.others)
		value := float64(i.N) / taken.took.Seconds()
		return Result{
			Scenario: "intake", Value: value, Unit: "events/s", Limit: limit, Ratio: value / limit,
			More: more,
		}, nil
	})
}

// bare gives how long starts take of the workflow that an event comes to, with
// nobody to run it. Half of them are made before the events are taken and half
// after: the more workflows the dev server has in memory, the slower it is.
func (i *intakeCmd) bare(ctx context.Context, b *bare, n int) (time.Duration, error) {
	idle()
	attributes := temporal.NewSearchAttributes(
		temporal.NewSearchAttributeKeyKeyword("BelfryTemplate").ValueSet("bench"),
		temporal.NewSearchAttributeKeyKeywordList("BelfryChannel").ValueSet([]string{"email"}))
	began := time.Now()
	err := spread(n, startsAtOnce, func(int) error {
		id := uuid.NewString()
		_, err := b.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: "notification/" + id, TaskQueue: "bench-nobody", StaticSummary: "bench@1 to 1 recipient by email",
			TypedSearchAttributes: attributes,
			WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		}, "Notification", map[string]any{"id": id, "recipients": 1, "direct": true})
		return err
	})
	return time.Since(began), err
}

// An intakeRun fills the queue and has it emptied.
type intakeRun struct {
	cli      *cli
	rabbitmq *amqp.Connection
	temporal client.Client
	ids      []string // of the events that were published last
}

// fill publishes events.
func (m *intakeRun) fill(ctx context.Context, events int) error {
	channel, err := m.rabbitmq.Channel()
	if err != nil {
		return err
	}
	defer channel.Close()
	if err := channel.Confirm(false); err != nil {
		return err
	}
	m.ids = make([]string, events)
	confirmed := make([]*amqp.DeferredConfirmation, events)
	for n := range confirmed {
		m.ids[n] = uuid.NewString()
		confirmed[n], err = channel.PublishWithDeferredConfirmWithContext(ctx, "belfry.events", "bench", false, false, amqp.Publishing{
			Type: "bench.released", MessageId: m.ids[n], AppId: "bench", ContentType: "application/json", DeliveryMode: amqp.Persistent,
			Body: fmt.Appendf(nil, `{"film":"Solaris","year":1972,"fans":[{"email":"u%d@example.com"}]}`, n),
		})
		if err != nil {
			return err
		}
	}
	for _, c := range confirmed {
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			return errors.Join(errors.New("an event is not confirmed"), err)
		}
	}
	return nil
}

// taken says how long a starter took over what was in the queue, and what of
// the machine.
type taken struct {
	took        time.Duration
	cpu, memory float64
	others      map[string]float64 // as addCPU has it
}

// take runs a starter from when it consumes until the workflows of all events in
// the queue are started.
func (m *intakeRun) take(ctx context.Context, events int) (t taken, err error) {
	starter, err := startRole(ctx, m.cli.Belfry, "starter", os.Stderr)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, starter.stop()) }()
	queue, err := m.queue(func(q amqp.Queue) bool { return q.Consumers > 0 })
	if err != nil {
		return t, err
	}
	began, before := time.Now(), cpuOfOthers()
	if queue.Messages < events*9/10 {
		return t, fmt.Errorf("the queue is not full: %d of %d events are left", queue.Messages, events)
	}
	if _, err := m.queue(func(q amqp.Queue) bool { return q.Messages == 0 }); err != nil {
		return t, err
	}
	for _, id := range m.ids[max(0, len(m.ids)-heldAtOnce):] {
		if err := m.isStarted(ctx, id); err != nil {
			return t, err
		}
	}
	t = taken{took: time.Since(began), cpu: starter.cpuSeconds(), memory: starter.peakMemory(), others: map[string]float64{}}
	addCPU(t.others, before, events)
	for _, id := range m.ids {
		if err := m.isStarted(ctx, id); err != nil {
			return t, err
		}
	}
	return t, nil
}

// isStarted waits until the workflow of an event is started.
func (m *intakeRun) isStarted(ctx context.Context, eventID string) error {
	// As Belfry derives it from source, event id and trigger.
	notification := uuid.NewSHA1(uuid.MustParse("5d0c1f3e-8a47-4f0e-b7a5-3c2f9e61d804"), []byte("bench\n"+eventID+"\nbench")).String()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		_, err := m.temporal.DescribeWorkflowExecution(ctx, "notification/"+notification, "")
		var missing *serviceerror.NotFound
		if err == nil || !errors.As(err, &missing) || time.Now().After(deadline) {
			return err
		}
	}
}

// queue waits until the queue is as it shall be. It looks seldom, since that is
// work for RabbitMQ.
func (m *intakeRun) queue(as func(amqp.Queue) bool) (queue amqp.Queue, err error) {
	var channel *amqp.Channel
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if channel == nil || channel.IsClosed() { // as after asking for a queue that is not there
			if channel, err = m.rabbitmq.Channel(); err != nil {
				return queue, err
			}
		}
		queue, err = channel.QueueDeclarePassive("belfry.intake", true, false, false, false, nil)
		if err == nil && as(queue) {
			return queue, channel.Close()
		}
	}
	return queue, fmt.Errorf("%d events are left after 5 min, with %d consumers", queue.Messages, queue.Consumers)
}
