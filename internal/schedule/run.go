package schedule

import (
	"time"

	"github.com/google/uuid"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A RunStatus says what became of a run.
type RunStatus string

// What became of it.
const (
	RunStarted RunStatus = "started" // it has a notification
	RunSkipped RunStatus = "skipped" // there was a reason to leave it out
	RunFailed  RunStatus = "failed"  // the notification was refused
)

// A RunReason says why a run has no notification. A failed one has the code of
// the refusal, such as template_not_found.
type RunReason string

// The reasons to skip a run.
const (
	ReasonOverlap RunReason = "overlap" // the one before it had not ended
	ReasonPaused  RunReason = "paused"  // the schedule is, though Temporal did not know yet
	ReasonDeleted RunReason = "deleted" // likewise
	ReasonMoved   RunReason = "moved"   // the schedule runs at other times by now
	ReasonMissed  RunReason = "missed"  // nobody was there to make it within the catch-up window
)

// A Run is one time at which a schedule ran, or was to. It is made once, by
// whoever inserts it first.
type Run struct {
	ID             string    `json:"id" bson:"_id"`
	Schedule       string    `json:"schedule"`
	ScheduledAt    time.Time `json:"scheduled_at"` // as the schedule has it, without jitter
	Status         RunStatus `json:"status"`
	NotificationID string    `json:"notification_id,omitempty"`
	Reason         RunReason `json:"reason,omitempty"`
	Detail         string    `json:"detail,omitempty"` // for a person
	CreatedAt      time.Time `json:"created_at"`
}

// RunID names a run, as in "report/2026-03-29T01:00:00Z".
func RunID(schedule string, at time.Time) string {
	return schedule + "/" + at.UTC().Format(time.RFC3339Nano)
}

// LeftOutID is under which a run is kept that has no notification, beside the
// one that a later backfill may make.
func LeftOutID(schedule string, at time.Time) string { return RunID(schedule, at) + "!" }

// Started is a run that has its notification.
func Started(schedule string, at, now time.Time) *Run {
	return &Run{
		ID: RunID(schedule, at), Schedule: schedule, ScheduledAt: at, Status: RunStarted,
		NotificationID: NotificationID(schedule, at), CreatedAt: now,
	}
}

// Skipped is a run that was left out.
func Skipped(schedule string, at, now time.Time, reason RunReason) *Run {
	return &Run{
		ID: LeftOutID(schedule, at), Schedule: schedule, ScheduledAt: at, Status: RunSkipped, Reason: reason, CreatedAt: now,
	}
}

// Failed is a run whose notification was refused.
func Failed(schedule string, at, now time.Time, refusal error) *Run {
	return &Run{
		ID: LeftOutID(schedule, at), Schedule: schedule, ScheduledAt: at, Status: RunFailed,
		Reason: RunReason(notify.CodeOf(refusal)), Detail: refusal.Error(), CreatedAt: now,
	}
}

// runs is the name space of their notifications' ids.
var runs = uuid.MustParse("b4a1f6d2-5e0c-4d3b-9a57-0f6c8e2d7a11")

// NotificationID is the id of a run's notification: the same however often the
// run is made, which is why it is made once.
func NotificationID(schedule string, at time.Time) string {
	return uuid.NewSHA1(runs, []byte(RunID(schedule, at))).String()
}
