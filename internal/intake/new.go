package intake

import (
	"cmp"
	"context"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A NewStore also says which version of a template it knows, and takes a
// notification back.
type NewStore interface {
	// KnownTemplate is the newest version of a template that this process has
	// seen, 0 for none.
	KnownTemplate(name string) int
	DeleteNotification(ctx context.Context, id string) error
}

// AcceptNew accepts a request under an id that nobody else has, as Pin, Record
// and Accept do. But it asks for the newest version of a template while it
// stores the notification with the one that this process knows: they seldom
// differ, and asking takes as long as storing. If they do, what was stored is
// taken back before it is started. Where that fails it may go out as it would
// have gone a moment earlier, and the caller has an error.
func (i *Intake) AcceptNew(ctx context.Context, store NewStore, r *notify.Request, id string, at time.Time) (*notify.Record, error) {
	if known := knownRef(store, r.Template); known != nil {
		if record, err := i.Record(ctx, r, id, known, at); err == nil {
			return i.acceptKnown(ctx, store, r, record)
		}
	}
	newest, err := i.Pin(ctx, r.Template)
	if err != nil {
		return nil, err
	}
	return i.acceptPinned(ctx, r, id, newest, at)
}

func (i *Intake) acceptPinned(ctx context.Context, r *notify.Request, id string, template *notify.TemplateRef, at time.Time) (*notify.Record, error) {
	record, err := i.Record(ctx, r, id, template, at)
	if err != nil {
		return nil, err
	}
	return record, i.Accept(ctx, record)
}

// acceptKnown accepts a record if its template has the newest version.
func (i *Intake) acceptKnown(ctx context.Context, store NewStore, r *notify.Request, record *notify.Record) (*notify.Record, error) {
	stored := make(chan error, 1)
	go func() { stored <- i.insert(ctx, record) }()
	newest, err := i.Pin(ctx, r.Template)
	if err = cmp.Or(err, <-stored); err == nil && *newest == *record.Template {
		return record, i.Starter.Start(ctx, &record.Notification)
	}
	if gone := store.DeleteNotification(ctx, record.ID); err != nil || gone != nil {
		return nil, cmp.Or(err, gone)
	}
	return i.acceptPinned(ctx, r, record.ID, newest, record.CreatedAt)
}

// knownRef is the version that a request most likely means, nil where that
// cannot be said.
func knownRef(store NewStore, template string) *notify.TemplateRef {
	parts := TemplateRef.FindStringSubmatch(template)
	if parts == nil || parts[2] != "" {
		return nil
	}
	if version := store.KnownTemplate(parts[1]); version > 0 {
		return &notify.TemplateRef{Name: parts[1], Version: version}
	}
	return nil
}
