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

// Unfinished lists notifications without an end that were accepted before a
// moment, by id, after the given one.
type Unfinished interface {
	Unfinished(ctx context.Context, before time.Time, afterID string, limit int) ([]notify.Record, error)
}

// sweepBatch is how many notifications are read at a time.
const sweepBatch = 100

// Run sweeps until ctx ends. Several workers may sweep at once: all they do may
// be done twice.
func (s *Sweep) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := s.sweep(ctx, now.Add(-s.Every)); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "sweep not finished, the next one goes on", "error", err)
			}
		}
	}
}

func (s *Sweep) sweep(ctx context.Context, before time.Time) error {
	for after := ""; ; {
		records, err := s.Store.Unfinished(ctx, before, after, sweepBatch)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			if err := s.look(ctx, &r.Notification); err != nil {
				return err
			}
		}
		after = records[len(records)-1].ID
	}
}

// look compares one notification.
func (s *Sweep) look(ctx context.Context, n *notify.Notification) error {
	description, err := s.Temporal.DescribeWorkflowExecution(ctx, workflows.NotificationID(n.ID), "")
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		s.Log.InfoContext(ctx, "starting a notification that Temporal never got", "notification", n.ID)
		return s.Start(ctx, n)
	}
	if err != nil {
		return err
	}
	status := description.GetWorkflowExecutionInfo().GetStatus()
	switch status { //nolint:exhaustive // all others are ends
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_PAUSED,
		enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return nil // a completed one has recorded its end before
	}
	s.Log.InfoContext(ctx, "settling a notification whose workflow is no more",
		"notification", n.ID, "workflow_status", status.String())
	if err := s.Settle(ctx, n); err != nil {
		s.Log.InfoContext(ctx, "not settled yet", "notification", n.ID, "error", err)
	}
	return nil
}
