package workflows

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/belfry-notify/belfry/internal/schedule"
)

// triggerPatience is how long a Trigger waits to see what became of its run.
const triggerPatience = 3 * time.Second

// Trigger makes a run of a schedule at a time of its own. The answer is nil
// where the run is accepted but no worker has made it yet.
func (s *Schedules) Trigger(ctx context.Context, name string, at time.Time) (*schedule.Run, error) {
	id := ScheduleID(name) + "/" + at.UTC().Format(time.RFC3339Nano)
	options := byHand(id, fmt.Sprintf("a run of %s by hand", name))
	started, err := s.client.ExecuteWorkflow(ctx, options, ScheduledRun, ScheduledRunInput{Schedule: name, ScheduledAt: &at})
	if err != nil {
		return nil, awayUnlessNil("start workflow "+id, err)
	}
	waiting, cancel := context.WithTimeout(ctx, triggerPatience)
	defer cancel()
	var run *schedule.Run
	if started.Get(waiting, &run) != nil { // it is accepted: that it takes its time is no error
		return nil, nil
	}
	return run, nil
}

// Backfill makes the runs of a version of a schedule at all of some times that
// follow each other. Those that have a notification stay as they are.
func (s *Schedules) Backfill(ctx context.Context, of *schedule.Schedule, times []time.Time) error {
	first, last := times[0].UTC().Format(time.RFC3339), times[len(times)-1].UTC().Format(time.RFC3339)
	id := fmt.Sprintf("%s/backfill/%s/%s@%d", ScheduleID(of.Name), first, last, of.Version)
	options := byHand(id, fmt.Sprintf("%d runs of %s, %s to %s", len(times), of.Name, first, last))
	_, err := s.client.ExecuteWorkflow(ctx, options, Backfill, BackfillInput{Schedule: of.Name, Times: times})
	return awayUnlessNil("start workflow "+id, err)
}

// byHand are the options of a workflow that may be started again: each run is
// made once whoever makes it.
func byHand(id, summary string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                       id,
		TaskQueue:                TaskQueue,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            summary,
	}
}
