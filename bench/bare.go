package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// bareQueue is the task queue of the bare workflow.
const bareQueue = "bench-bare"

// A bare is the limit: a workflow with one local activity that does nothing,
// eagerly started, in a worker with Belfry's own options.
type bare struct {
	client client.Client
	worker worker.Worker

	mu    sync.Mutex
	ended map[string]time.Time // by workflow id: when its local activity ran
}

func newBare() (*bare, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, err
	}
	options.Logger = log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	c, err := client.Dial(options)
	if err != nil {
		return nil, err
	}
	b := &bare{client: c, ended: map[string]time.Time{}}
	b.worker = worker.New(c, bareQueue, worker.Options{})
	b.worker.RegisterWorkflow(bareWorkflow)
	b.worker.RegisterActivityWithOptions(b.nothing, activityName)
	return b, b.worker.Start()
}

func (b *bare) stop() {
	b.worker.Stop()
	b.client.Close()
}

func (b *bare) nothing(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended[id] = time.Now()
	return nil
}

func bareWorkflow(ctx workflow.Context, id string) error {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
	})
	return workflow.ExecuteLocalActivity(ctx, activityName.Name, id).Get(ctx, nil)
}

func (b *bare) start(ctx context.Context) (string, error) {
	id := "bare/" + uuid.NewString()
	_, err := b.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: bareQueue, EnableEagerStart: true,
	}, bareWorkflow, id)
	return id, err
}

// wait waits until the workflows have ended, and gives when the last one did.
func (b *bare) wait(ids []string) (time.Time, error) {
	deadline := time.Now().Add(5 * time.Minute)
	for {
		var last time.Time
		missing := 0
		b.mu.Lock()
		for _, id := range ids {
			at, ok := b.ended[id]
			if !ok {
				missing++
			}
			if at.After(last) {
				last = at
			}
		}
		b.mu.Unlock()
		if missing == 0 {
			return last, nil
		}
		if time.Now().After(deadline) {
			return last, fmt.Errorf("%d bare workflows have not ended after 5 min", missing)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// historyEvents is how many events a workflow's history has.
func (b *bare) historyEvents(ctx context.Context, id string) (float64, error) {
	description, err := b.client.DescribeWorkflowExecution(ctx, id, "")
	return float64(description.GetWorkflowExecutionInfo().GetHistoryLength()), err
}
