// Package activities touches the world for the workflows: it looks up users,
// renders templates, sends messages and records what came of it.
//
// Who may send is decided by claims, see claim.go.
package activities

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A Store keeps what activities record. Inserts of an id that is taken fail
// with notify.CodeConflict, finds of one that is not there with
// notify.CodeNotFound, a template with notify.CodeTemplateNotFound.
type Store interface {
	Template(ctx context.Context, ref notify.TemplateRef) (*notify.Template, error)
	Accepted(ctx context.Context, id string) (*notify.Notification, error)
	Notification(ctx context.Context, id string) (*notify.Record, error)
	UpdateProgress(ctx context.Context, id string, p notify.Progress) error
	UpdateStatus(ctx context.Context, id string, status notify.Status) error
	UpdateTimes(ctx context.Context, id string, sendAt, expiresAt time.Time) error
	// Recount is notify.CodeConflict while the notification runs.
	Recount(ctx context.Context, notificationID string) error
	Audience(ctx context.Context, id string, now time.Time) (*audience.Audience, error)
	AudiencePage(ctx context.Context, id string, page int) ([]notify.Recipient, error)
	// InsertAudiencePages stores those before the first that is taken.
	InsertAudiencePages(ctx context.Context, id string, first int, pages [][]notify.Recipient, expiresAt time.Time) error
	InsertAudienceDocument(ctx context.Context, a *audience.Audience) error
	Ledger
	BulkStore
}

// A Directory knows the users. An unknown one is notify.CodeUserNotFound.
type Directory interface {
	Lookup(ctx context.Context, userID string) (notify.User, error)
	// LookupAll has one answer for each id, in their order, an error being about
	// that one alone.
	LookupAll(ctx context.Context, userIDs []string) iter.Seq2[notify.User, error]
	// ListUsers has the ids of all users after the given one, in ascending order.
	// It ends with the first error.
	ListUsers(ctx context.Context, afterID string) iter.Seq2[string, error]
}

// A Renderer turns templates into content. What the source or the data is to
// blame for is notify.CodeInvalid.
type Renderer interface {
	Email(ctx context.Context, source notify.Email, data notify.Object, to notify.User) (notify.Email, error)
	Inbox(ctx context.Context, source notify.InboxContent, data notify.Object, to notify.User) (notify.InboxContent, error)
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
	Inbox     Provider
	Outcomes  Outcomes // nil: nobody is told
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

// Finish records how and when a notification ended whose deliveries ended so, and
// tells it.
func (a *Activities) Finish(ctx context.Context, id string, result Result) (notify.Status, error) {
	now := a.Now()
	progress := notify.Progress{Status: result.Counts.Status(result.Expired > 0), Counts: result.Counts, FinishedAt: &now}
	if result.Cancelled > 0 {
		progress.Status = notify.StatusCancelled
	}
	if err := a.Store.UpdateProgress(ctx, id, progress); err != nil {
		return progress.Status, retryable(err)
	}
	return progress.Status, retryable(a.tellEnd(ctx, id, progress))
}

// Mark records where a notification stands that has not ended, and answers when
// it expires.
func (a *Activities) Mark(ctx context.Context, id string, status notify.Status) (time.Time, error) {
	r, err := a.Store.Notification(ctx, id)
	if err != nil {
		return time.Time{}, retryable(err)
	}
	return r.ExpiresAt, retryable(a.Store.UpdateStatus(ctx, id, status))
}

// Reschedule records when a notification is to go out, and answers when it
// expires: as long after that as before, where it was to by default. An expiry
// that was asked for stays, and must come later (notify.CodeInvalid).
func (a *Activities) Reschedule(ctx context.Context, id string, sendAt time.Time) (time.Time, error) {
	r, err := a.Store.Notification(ctx, id)
	if err != nil {
		return time.Time{}, retryable(err)
	}
	expires := r.ExpiresAt
	if r.ExpiresByDefault {
		expires = sendAt.Add(notify.DefaultExpiry)
	}
	if !sendAt.Before(expires) {
		return time.Time{}, temporal.NewNonRetryableApplicationError(
			"must be before the notification expires, at "+expires.UTC().Format(time.RFC3339), string(notify.CodeInvalid), nil)
	}
	if r.Audience != nil && !r.Audience.AllUsers {
		told, err := a.Store.Audience(ctx, r.Audience.ID, a.Now())
		if err != nil {
			return time.Time{}, retryable(err)
		}
		if moved := (&notify.Notification{ExpiresAt: expires}); !told.KeptFor(moved) {
			return time.Time{}, temporal.NewNonRetryableApplicationError(
				"must be a day and more before its audience expires, at "+told.ExpiresAt.UTC().Format(time.RFC3339), string(notify.CodeInvalid), nil)
		}
	}
	return expires, retryable(a.Store.UpdateTimes(ctx, id, sendAt, expires))
}

// Recount brings a notification's document up to date after a delivery of it
// was tried again by hand. While the notification runs it fails, to be tried
// again.
func (a *Activities) Recount(ctx context.Context, notificationID string) error {
	err := a.Store.Recount(ctx, notificationID)
	if notify.CodeOf(err) == notify.CodeConflict {
		return waiting("the notification still runs", 0)
	}
	return retryable(err)
}
