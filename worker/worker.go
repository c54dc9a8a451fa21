// Package worker registers the workflows and activities, tunes and runs them.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/workflows"
)

// stopTimeout is how long activities in flight may go on after a stop. One
// that is cut off is tried again elsewhere, and resends what is in doubt.
const stopTimeout = 10 * time.Second

// Pages send many messages each: a few at a time fill the connections, also
// while some of them wait for the database, or their successors for Temporal.
const (
	concurrentDirect = 100
	concurrentPages  = 8
)

// Run polls and works until ctx ends, then finishes what is in flight. While
// Temporal is away it waits; it calls working when it polls. The pages of broadcasts go through activities of
// their own, those for inboxes through others than those of mails.
func Run(ctx context.Context, c client.Client, direct, bulk, inboxes *activities.Activities, runs *activities.Runs, working func(), log *slog.Logger) error {
	fatal := make(chan error, 1)
	onFatal := func(err error) {
		select {
		case fatal <- err:
		default: // one is enough
		}
	}
	main := worker.New(c, workflows.TaskQueue, worker.Options{
		WorkerStopTimeout: stopTimeout, OnFatalError: onFatal, MaxHeartbeatThrottleInterval: activities.HeartbeatInterval,
	})
	main.RegisterWorkflow(workflows.Notification)
	main.RegisterWorkflow(workflows.Partition)
	main.RegisterWorkflow(workflows.Redelivery)
	main.RegisterWorkflow(workflows.ScheduledRun)
	main.RegisterWorkflow(workflows.Backfill)
	main.RegisterActivity(direct)
	main.RegisterActivity(runs)
	retries := worker.New(c, workflows.EmailTaskQueue, activitiesOnly(concurrentDirect, onFatal))
	retries.RegisterActivity(direct)
	high := worker.New(c, workflows.EmailHighTaskQueue, activitiesOnly(concurrentDirect, onFatal))
	high.RegisterActivity(direct)
	pages := worker.New(c, workflows.EmailBulkTaskQueue, activitiesOnly(concurrentPages, onFatal))
	pages.RegisterActivity(bulk)

	inboxPages := worker.New(c, workflows.InboxBulkTaskQueue, activitiesOnly(concurrentPages, onFatal))
	inboxPages.RegisterActivity(inboxes)

	workers := []worker.Worker{main, retries, high, pages, inboxPages}
	defer func() {
		var stopping errgroup.Group
		for _, w := range workers {
			stopping.Go(func() error { w.Stop(); return nil })
		}
		_ = stopping.Wait() // no function of the group fails
	}()
	for i, w := range workers {
		if err := start(ctx, w, log); err != nil {
			workers = workers[:i]
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	working()
	log.InfoContext(ctx, "working", "task_queue", workflows.TaskQueue)
	select {
	case <-ctx.Done():
		return nil
	case err := <-fatal: // it has stopped polling for good: better ended than idle
		return fmt.Errorf("work for Temporal: %w", err)
	}
}

func activitiesOnly(concurrent int, onFatal func(error)) worker.Options {
	return worker.Options{
		DisableWorkflowWorker:              true,
		MaxConcurrentActivityExecutionSize: concurrent,
		WorkerStopTimeout:                  stopTimeout,
		MaxHeartbeatThrottleInterval:       activities.HeartbeatInterval, // a page is told soon that it is to stop
		OnFatalError:                       onFatal,
	}
}

// start tries until Temporal is there or ctx ends.
func start(ctx context.Context, w worker.Worker, log *slog.Logger) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, w.Start() },
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, next time.Duration) {
			log.WarnContext(ctx, "Temporal is away, waiting", "error", err, "next_try", next.Round(time.Millisecond))
		}))
	return err
}
