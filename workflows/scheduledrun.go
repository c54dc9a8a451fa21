package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/schedule"
)

// ScheduledRunInput names the schedule that a run is of. What Temporal starts
// has in it, too, which version of the schedule it was told of, and the first
// time that it does not know.
type ScheduledRunInput struct {
	Schedule string     `json:"schedule"`
	Version  int        `json:"version,omitempty"`
	Until    *time.Time `json:"until,omitempty"`

	ScheduledAt *time.Time `json:"scheduled_at,omitempty"` // where it is made by hand
}

// scheduledStart is where Temporal says for which time, without jitter, it
// started a workflow.
var scheduledStart = temporal.NewSearchAttributeKeyTime("TemporalScheduledStartTime")

// ScheduledRun has a schedule's notification sent for one time. It is over as
// soon as the notification is accepted, which goes on by itself: one that takes
// a day to send silences nothing.
func ScheduledRun(ctx workflow.Context, in ScheduledRunInput) (*schedule.Run, error) {
	request := activities.RunRequest{Schedule: in.Schedule}
	if in.ScheduledAt != nil {
		request.ScheduledAt, request.ByHand = *in.ScheduledAt, true
	} else {
		at, ok := workflow.GetTypedSearchAttributes(ctx).GetTime(scheduledStart)
		if !ok {
			return nil, temporal.NewNonRetryableApplicationError("was not started by a schedule", "no_scheduled_time", nil)
		}
		request.ScheduledAt = at.UTC()
	}
	var run *schedule.Run
	err := makeRun(ctx, request).Get(ctx, &run)
	return run, err
}

// r only names the activities; the worker has the real ones.
var r *activities.Runs

// makeRun tries as often as it takes; the activity says when it is too late.
func makeRun(ctx workflow.Context, in activities.RunRequest) workflow.Future {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
		Summary:             in.ScheduledAt.UTC().Format(time.RFC3339),
	})
	return workflow.ExecuteActivity(ctx, r.MakeRun, in)
}

// BackfillInput names a schedule and the times at which it is to have run.
type BackfillInput struct {
	Schedule string      `json:"schedule"`
	Times    []time.Time `json:"times"`
}

// backfillAtOnce is how many runs of a backfill are made at a time.
const backfillAtOnce = 20

// Backfill makes the runs of a schedule at the given times, each once, and says
// what became of them.
func Backfill(ctx workflow.Context, in BackfillInput) (string, error) {
	places := workflow.NewSemaphore(ctx, backfillAtOnce)
	all := workflow.NewWaitGroup(ctx)
	started := 0
	var failed error
	for _, at := range in.Times {
		if err := places.Acquire(ctx, 1); err != nil {
			return "", err
		}
		all.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer all.Done()
			defer places.Release(1)
			var run *schedule.Run
			request := activities.RunRequest{Schedule: in.Schedule, ScheduledAt: at, ByHand: true}
			if err := makeRun(ctx, request).Get(ctx, &run); err != nil {
				failed = err
			} else if run.Status == schedule.RunStarted {
				started++
			}
		})
	}
	all.Wait(ctx)
	return fmt.Sprintf("%d of %d runs have a notification", started, len(in.Times)), failed
}
