package intake

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/trigger"
)

// An EventStore keeps what events are made into.
type EventStore interface {
	Notification(ctx context.Context, id string) (*notify.Record, error)
	InsertNotification(ctx context.Context, r *notify.Record) error
	InsertAudience(ctx context.Context, a *audience.Audience, pages iter.Seq2[[]notify.Recipient, error]) error
	DeleteAudience(ctx context.Context, id string, now time.Time) error
}

// Triggers are the enabled triggers for events of a type. The error is
// notify.CodeUnavailable where they cannot be read.
type Triggers interface {
	For(ctx context.Context, eventType string) ([]*trigger.Program, error)
}

// Events makes notifications of events: once for each event and trigger, however
// often it is asked.
type Events struct {
	Store    EventStore
	Intake   *Intake
	Triggers Triggers
	Read     func(body []byte) (*notify.Request, error) // of an event of event.SendType
	Check    func(ctx context.Context) error            // asks the neighbours
	Log      *slog.Logger
	Now      func() time.Time

	AudienceRetention time.Duration // how long the recipients of a large notification are kept at least

	// Ignored counts events of types that no trigger is for.
	Ignored atomic.Int64
}

// Ready says whether the neighbours are there.
func (v *Events) Ready(ctx context.Context) error { return v.Check(ctx) }

// Handle makes an event's notifications and starts them. The triggers do not
// depend on each other: the error is about those that failed, by their names.
// notify.CodeUnavailable says that it is to be asked again.
func (v *Events) Handle(ctx context.Context, e *event.Event) error {
	if e.Type == event.SendType {
		return v.accept(ctx, notificationID(e, ""), func() (*notify.Request, error) {
			if e.Data == nil {
				return nil, invalid("body", "is missing: the event has no data", nil)
			}
			return v.Read(e.Data)
		})
	}
	triggers, err := v.Triggers.For(ctx, e.Type)
	if err != nil {
		return err
	}
	if len(triggers) == 0 {
		v.Ignored.Add(1)
		v.Log.DebugContext(ctx, "no trigger for an event", "type", e.Type, "source", e.Source, "id", e.ID)
		return nil
	}
	var failed []error
	for _, t := range triggers {
		request, matched, err := t.Evaluate(ctx, e, v.Now())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if matched || err != nil {
			err = v.accept(ctx, notificationID(e, t.Name), func() (*notify.Request, error) { return request, err })
		}
		if notify.CodeOf(err) == notify.CodeUnavailable {
			return err
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("trigger %s: %w", t.Name, err))
		}
	}
	return errors.Join(failed...)
}

// events is the name space of their notifications' ids.
var events = uuid.MustParse("5d0c1f3e-8a47-4f0e-b7a5-3c2f9e61d804")

// notificationID is the id of what a trigger makes of an event, or, without a
// trigger, of what the event itself asks for. None of the parts holds a line
// break.
func notificationID(e *event.Event, trigger string) string {
	return uuid.NewSHA1(events, []byte(e.Source+"\n"+e.ID+"\n"+trigger)).String()
}

// accept makes and starts the notification of an id, unless it was made before:
// then it is that one, whatever could be said against the request by now.
func (v *Events) accept(ctx context.Context, id string, request func() (*notify.Request, error)) error {
	record, err := v.make(ctx, id, request)
	if err != nil && notify.CodeOf(err) != notify.CodeUnavailable {
		known, missing := v.Store.Notification(ctx, id)
		switch notify.CodeOf(missing) {
		case "":
			record, err = known, nil
		case notify.CodeNotFound:
		default:
			err = missing
		}
	}
	if err != nil || record.Status.Ended() {
		return err
	}
	return v.Intake.Starter.Start(ctx, &record.Notification)
}

// make stores the notification of an id; notify.CodeConflict where it is there.
func (v *Events) make(ctx context.Context, id string, request func() (*notify.Request, error)) (*notify.Record, error) {
	asked, err := request()
	if err != nil {
		return nil, err
	}
	template, err := v.Intake.Pin(ctx, asked.Template)
	if err != nil {
		return nil, err
	}
	record, err := v.Intake.Record(ctx, asked, id, template, Moment(v.Now()))
	if err != nil {
		return nil, err
	}
	if len(record.To) <= notify.MaxRecipients {
		return record, v.Store.InsertNotification(ctx, record)
	}
	return record, v.insertLarge(ctx, record)
}

// insertLarge stores a notification with its recipients as an audience, which
// has an id of its own each time: if somebody else stores the notification
// first, theirs is whole, and this one goes.
func (v *Events) insertLarge(ctx context.Context, r *notify.Record) error {
	if _, err := v.Store.Notification(ctx, r.ID); notify.CodeOf(err) != notify.CodeNotFound {
		if err == nil {
			err = &notify.Error{Code: notify.CodeConflict, Detail: "notification " + r.ID}
		}
		return err
	}
	a := &audience.Audience{
		ID: uuid.Must(uuid.NewV7()).String(), Total: len(r.To), Pages: notify.Pages(len(r.To)),
		CreatedAt: r.CreatedAt, ExpiresAt: r.CreatedAt.Add(v.AudienceRetention),
	}
	if !a.KeptFor(&r.Notification) {
		a.ExpiresAt = r.ExpiresAt.Add(audience.KeptAfter)
	}
	pages := func(yield func([]notify.Recipient, error) bool) {
		for page := range slices.Chunk(r.To, audience.PageSize) {
			if !yield(page, nil) {
				return
			}
		}
	}
	if err := v.Store.InsertAudience(ctx, a, pages); err != nil {
		return err
	}
	r.To, r.Audience = []notify.Recipient{}, &notify.AudienceRef{ID: a.ID, Total: a.Total}
	err := v.Store.InsertNotification(ctx, r)
	if notify.CodeOf(err) == notify.CodeConflict {
		// It may be our own, made by an insert whose answer was lost.
		stored, missing := v.Store.Notification(ctx, r.ID)
		if missing != nil {
			return missing
		}
		if stored.Audience == nil || stored.Audience.ID != a.ID {
			if unused := v.Store.DeleteAudience(ctx, a.ID, r.CreatedAt); unused != nil {
				v.Log.WarnContext(ctx, "an audience that nobody uses is left to expire", "audience", a.ID, "error", unused)
			}
		}
	}
	return err
}
