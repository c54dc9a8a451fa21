package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

// A Sweep compares the notifications that have no end with Temporal, now and
// then. One that Temporal never got, since a crash or an outage came between
// its document and its start, is started. One whose workflow is no more,
// because operators terminate workflows, is settled.
type Sweep struct {
	Temporal client.Client
	Store    Unfinished
	Start    func(ctx context.Context, n *notify.Notification) error
	Settle   func(ctx context.Context, n *notify.Notification) error
	Log      *slog.Logger
	Every    time.Duration
}

// Unfinished lists the ids of notifications without an end that were to go out
// before a moment, in their order, after the given one.
type Unfinished interface {
	Unfinished(ctx context.Context, before time.Time, afterID string, limit int) ([]string, error)
	Accepted(ctx context.Context, id string) (*notify.Notification, error)
	Notification(ctx context.Context, id string) (*notify.Record, error)
}

// sweepBatch is how many notifications are read at a time.
const sweepBatch = 100

// Run sweeps until ctx ends. Several workers may sweep at once: all they do may
// be done twice.
func (s *Sweep) Run(ctx context.Context) error {
	return every(ctx, s.Every, s.Log.With("sweep", "notifications"), func(now time.Time) error {
		return s.sweep(ctx, now.Add(-s.Every))
	})
}

// every sweeps now and then until ctx ends.
func every(ctx context.Context, interval time.Duration, log *slog.Logger, sweep func(now time.Time) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := sweep(now); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "sweep not finished, the next one goes on", "error", err)
			}
		}
	}
}

func (s *Sweep) sweep(ctx context.Context, before time.Time) error {
	for after := ""; ; {
		ids, err := s.Store.Unfinished(ctx, before, after, sweepBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := s.look(ctx, id); notify.CodeOf(err) == notify.CodeUnavailable || ctx.Err() != nil {
				return err
			} else if err != nil {
				s.Log.WarnContext(ctx, "a notification could not be looked at", "notification", id, "error", err)
			}
		}
		after = ids[len(ids)-1]
	}
}

// look compares one notification.
func (s *Sweep) look(ctx context.Context, id string) error {
	description, err := s.Temporal.DescribeWorkflowExecution(ctx, workflows.NotificationID(id), "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		n, err := s.Store.Accepted(ctx, id)
		if err != nil {
			return err
		}
		s.Log.InfoContext(ctx, "starting a notification that Temporal never got", "notification", id)
		return s.Start(ctx, n)
	}
	if err != nil {
		return err
	}
	status := description.GetWorkflowExecutionInfo().GetStatus()
	switch status { //nolint:exhaustive // all others are ends
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_PAUSED,
		enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return nil
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		// It has recorded its end before, but a write that was given up may have
		// come after.
		if record, err := s.Store.Notification(ctx, id); err != nil || record.Status.Ended() {
			return err
		}
	}
	n, err := s.Store.Accepted(ctx, id)
	if err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "settling a notification whose workflow is no more",
		"notification", id, "workflow_status", status.String())
	return s.Settle(ctx, n)
}
