package activities

import (
	"context"
	"log/slog"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
)

// A RunStore has the schedules and keeps what became of their runs. Inserts of
// an id that is taken fail with notify.CodeConflict, finds of one that is not
// there with notify.CodeNotFound.
type RunStore interface {
	Schedule(ctx context.Context, name string) (*schedule.Schedule, error)
	Run(ctx context.Context, id string) (*schedule.Run, error)
	InsertRun(ctx context.Context, r *schedule.Run) error
	// LastStartedRun is nil where there is none.
	LastStartedRun(ctx context.Context, name string, before time.Time) (*schedule.Run, error)
	Notification(ctx context.Context, id string) (*notify.Record, error)
	InsertNotification(ctx context.Context, r *notify.Record) error
}

// An Intake makes notifications of requests. What the request is to blame for
// has another code than notify.CodeUnavailable.
type Intake interface {
	Pin(ctx context.Context, template string) (*notify.TemplateRef, error)
	Record(ctx context.Context, r *notify.Request, id string, template *notify.TemplateRef, at time.Time) (*notify.Record, error)
}

// Runs makes the runs of schedules, with all it depends on.
type Runs struct {
	Store  RunStore
	Intake Intake
	// Start starts the workflow of a notification, once for each id.
	Start func(ctx context.Context, n *notify.Notification) error
	Log   *slog.Logger
	Now   func() time.Time
}

// A RunRequest asks for one run of a schedule.
type RunRequest struct {
	Schedule    string    `json:"schedule"`
	ScheduledAt time.Time `json:"scheduled_at"` // as the schedule has it, without jitter
	ByHand      bool      `json:"by_hand,omitempty"`
}

// MakeRun has a schedule's notification sent once for a time, with the newest
// version of the schedule and of its template. Asked for again, it answers what
// became of the run. One that was left out can be made by hand later.
func (r *Runs) MakeRun(ctx context.Context, in RunRequest) (*schedule.Run, error) {
	made, err := r.known(ctx, in)
	if made != nil || err != nil {
		return made, retryable(err)
	}
	run := schedule.Started(in.Schedule, in.ScheduledAt, r.Now())
	stored, err := r.Store.Notification(ctx, run.NotificationID)
	if notify.CodeOf(err) == notify.CodeNotFound {
		var reason schedule.RunReason
		var s *schedule.Schedule
		if s, reason, err = r.mayRun(ctx, in); err != nil {
			return nil, retryable(err)
		}
		if reason != "" {
			return r.record(ctx, schedule.Skipped(in.Schedule, in.ScheduledAt, r.Now(), reason))
		}
		stored, err = r.accept(ctx, s, run)
	}
	if err == nil {
		err = r.Start(ctx, &stored.Notification)
	}
	if isRefusal(err) {
		r.Log.WarnContext(ctx, "run failed", "schedule", in.Schedule, "scheduled_at", in.ScheduledAt, "error", err)
		return r.record(ctx, schedule.Failed(in.Schedule, in.ScheduledAt, r.Now(), err))
	}
	if err != nil {
		return nil, retryable(err)
	}
	return r.record(ctx, run)
}

// known is what became of the run, nil where nobody has decided that. One that
// was left out is open to whoever makes it by hand.
func (r *Runs) known(ctx context.Context, in RunRequest) (*schedule.Run, error) {
	ids := []string{schedule.RunID(in.Schedule, in.ScheduledAt)}
	if !in.ByHand {
		ids = append(ids, schedule.LeftOutID(in.Schedule, in.ScheduledAt))
	}
	for _, id := range ids {
		run, err := r.Store.Run(ctx, id)
		if notify.CodeOf(err) != notify.CodeNotFound {
			return run, err
		}
	}
	return nil, nil
}

// mayRun reads the schedule and says why it is not to run, if it is not.
func (r *Runs) mayRun(ctx context.Context, in RunRequest) (*schedule.Schedule, schedule.RunReason, error) {
	s, err := r.Store.Schedule(ctx, in.Schedule)
	switch {
	case notify.CodeOf(err) == notify.CodeNotFound:
		return nil, schedule.ReasonDeleted, nil
	case err != nil || in.ByHand:
		return s, "", err
	case s.Paused:
		return s, schedule.ReasonPaused, nil
	case !s.RunsAt(in.ScheduledAt):
		return s, schedule.ReasonMoved, nil
	case r.Now().Sub(in.ScheduledAt)-s.Jitter > s.CatchupWindow:
		return s, schedule.ReasonMissed, nil
	case s.Overlap == schedule.OverlapSkip:
		overlaps, err := r.overlaps(ctx, in)
		if overlaps {
			return s, schedule.ReasonOverlap, err
		}
		return s, "", err
	}
	return s, "", nil
}

// overlaps says whether the notification of the run before has not ended.
func (r *Runs) overlaps(ctx context.Context, in RunRequest) (bool, error) {
	last, err := r.Store.LastStartedRun(ctx, in.Schedule, in.ScheduledAt)
	if err != nil || last == nil {
		return false, err
	}
	n, err := r.Store.Notification(ctx, last.NotificationID)
	if notify.CodeOf(err) == notify.CodeNotFound {
		return false, nil
	}
	return err == nil && !n.Status.Ended(), err
}

// accept stores the run's notification. If somebody else did meanwhile, maybe
// of another version, theirs is the one.
func (r *Runs) accept(ctx context.Context, s *schedule.Schedule, run *schedule.Run) (*notify.Record, error) {
	request := &s.Notification
	template, err := r.Intake.Pin(ctx, request.Template)
	if err != nil {
		return nil, err
	}
	record, err := r.Intake.Record(ctx, request, run.NotificationID, template, r.Now())
	if err != nil {
		return nil, err
	}
	record.Schedule, record.ScheduledAt = run.Schedule, &run.ScheduledAt
	err = r.Store.InsertNotification(ctx, record)
	if notify.CodeOf(err) == notify.CodeConflict {
		return r.Store.Notification(ctx, run.NotificationID)
	}
	return record, err
}

// isRefusal says whether trying again cannot help.
func isRefusal(err error) bool {
	switch notify.CodeOf(err) {
	case "", notify.CodeUnavailable, notify.CodeInternal:
		return false
	default:
		return true
	}
}

// record keeps what became of the run. Whoever decided it first has decided it.
func (r *Runs) record(ctx context.Context, run *schedule.Run) (*schedule.Run, error) {
	err := r.Store.InsertRun(ctx, run)
	if notify.CodeOf(err) == notify.CodeConflict {
		run, err = r.Store.Run(ctx, run.ID)
	}
	if err != nil {
		return nil, retryable(err)
	}
	return run, nil
}
