// Package activities touches the world for the workflows: it looks up users,
// renders templates, sends messages and records what came of it.
//
// Who may send is decided by claims, see claim.go.
package activities

import (
	"context"
	"log/slog"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A Store keeps what activities record. Inserts of an id that is taken fail
// with notify.CodeConflict, finds of one that is not there with
// notify.CodeNotFound, a template with notify.CodeTemplateNotFound.
type Store interface {
	Template(ctx context.Context, ref notify.TemplateRef) (*notify.Template, error)
	Notification(ctx context.Context, id string) (*notify.Record, error)
	InsertNotification(ctx context.Context, r *notify.Record) error
	UpdateProgress(ctx context.Context, id string, p notify.Progress) error
	CountEnded(ctx context.Context, notificationID string) (notify.Counts, error)
	Ledger
}

// A Directory knows the users. An unknown one is notify.CodeUserNotFound.
type Directory interface {
	Lookup(ctx context.Context, userID string) (notify.User, error)
}

// A Renderer turns templates into content. What the source or the data is to
// blame for is notify.CodeInvalid.
type Renderer interface {
	Email(ctx context.Context, source notify.Email, data notify.Object, to notify.User) (notify.Email, error)
}

// A Provider carries messages of one channel.
type Provider interface {
	Name() string
	// Ready waits for a message's turn. It answers false when there is none
	// soon, or while the provider is down, and after how long to ask again (0:
	// by the caller's own back-off).
	Ready(ctx context.Context, high bool) (ready bool, after time.Duration)
	// Send has stopped by ctx's deadline, whatever the other side does.
	Send(ctx context.Context, m notify.Message) notify.Outcome
}

// Activities is what the workflows call, with all it depends on.
type Activities struct {
	Store     Store
	Directory Directory
	Renderer  Renderer
	Email     []Provider // in the order in which they are tried
	Log       *slog.Logger
	Now       func() time.Time
	NewToken  func() string // tells one inserter of a claim from all others

	// Patience is how long an attempt to send may take, and so how long a
	// successor waits before it resends what a dead sender left in doubt.
	Patience time.Duration
	// Concurrency bounds how many deliveries of one activity are under way.
	Concurrency int
}

// DefaultPatience is how long an attempt to send may take.
const DefaultPatience = 60 * time.Second

// A Finish is the end of a notification. Notification is nil where it was
// stored before its workflow started.
type Finish struct {
	ID           string               `json:"id"`
	Notification *notify.Notification `json:"notification,omitempty"`
	Progress     notify.Progress      `json:"progress"`
}

// Finish records how and when a notification ended, and answers with that.
// Where the API's insert of a small notification was lost, it inserts it.
func (a *Activities) Finish(ctx context.Context, f Finish) (notify.Progress, error) {
	now := a.Now()
	f.Progress.FinishedAt = &now
	err := a.Store.UpdateProgress(ctx, f.ID, f.Progress)
	if notify.CodeOf(err) == notify.CodeNotFound && f.Notification != nil {
		err = a.Store.InsertNotification(ctx, &notify.Record{Notification: *f.Notification, Progress: f.Progress})
		if notify.CodeOf(err) == notify.CodeConflict { // the API's insert came between
			err = a.Store.UpdateProgress(ctx, f.ID, f.Progress)
		}
	}
	return f.Progress, retryable(err)
}

// Recount brings a notification's document up to date after a delivery of it
// was tried again by hand. While the notification runs it fails, to be tried
// again: its own workflow counts, and only when that is over is the document
// free.
func (a *Activities) Recount(ctx context.Context, notificationID string) error {
	for {
		record, err := a.Store.Notification(ctx, notificationID)
		if err != nil {
			return retryable(err)
		}
		if !record.Status.Ended() {
			return temporal.NewApplicationErrorWithOptions("the notification still runs", "waiting",
				temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign})
		}
		counts, err := a.Store.CountEnded(ctx, notificationID)
		if err != nil {
			return retryable(err)
		}
		// Two of these at once may each write what they read: the one who writes
		// last finds the counts changed or right.
		if counts == record.Counts {
			return nil
		}
		progress := record.Progress
		progress.Counts = counts
		if progress.Status != notify.StatusCancelled {
			progress.Status = counts.Status(progress.Status == notify.StatusExpired)
		}
		if err := a.Store.UpdateProgress(ctx, notificationID, progress); err != nil {
			return retryable(err)
		}
	}
}
