// Package intake makes notifications of requests: the same for those that come
// over HTTP, from a schedule and from an event.
package intake

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A Store has the templates and audiences and keeps the notifications.
type Store interface {
	Audience(ctx context.Context, id string, now time.Time) (*audience.Audience, error)
	Template(ctx context.Context, ref notify.TemplateRef) (*notify.Template, error)
	VisibleTemplate(ctx context.Context, name string, version int) (*notify.Template, error)
	InsertNotification(ctx context.Context, r *notify.Record) error
}

// A Starter starts the workflow of a notification, once for each id: if there
// is one already, it does nothing.
type Starter interface {
	Start(ctx context.Context, n *notify.Notification) error
}

// An Intake accepts notifications.
type Intake struct {
	Store   Store
	Starter Starter
	// DirectLimit is how many deliveries at most go the direct way.
	DirectLimit int
}

// TemplateRef matches a template's name, or name@version.
var TemplateRef = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,63})(?:@([1-9][0-9]{0,8}))?$`)

// Pin finds the version of a template that a request means: name@version, or
// the newest one of a name. It is nil for free-form content, and
// notify.CodeTemplateNotFound where there is none.
func (i *Intake) Pin(ctx context.Context, template string) (*notify.TemplateRef, error) {
	if template == "" {
		return nil, nil
	}
	parts := TemplateRef.FindStringSubmatch(template)
	version := 0
	if parts[2] != "" {
		var err error
		if version, err = strconv.Atoi(parts[2]); err != nil {
			return nil, err
		}
	}
	found, err := i.Store.VisibleTemplate(ctx, parts[1], version)
	if err != nil {
		return nil, err
	}
	ref := found.Ref()
	return &ref, nil
}

// Record is the notification that a request asks for, as it is accepted under
// an id at a moment with a version of its template.
func (i *Intake) Record(ctx context.Context, r *notify.Request, id string, template *notify.TemplateRef, at time.Time) (*notify.Record, error) {
	n := notify.Notification{
		ID:        id,
		Template:  template,
		Content:   r.Content,
		To:        r.To,
		Channels:  r.Channels,
		Data:      r.Data,
		Tags:      r.Tags,
		Metadata:  r.Metadata,
		CreatedAt: at,
		SendAt:    at,
		Priority:  r.Priority,
		Provider:  r.Provider,
		OnUnknown: r.OnUnknown,
		Rate:      r.Rate,
	}
	if n.Channels == nil {
		n.Channels = []notify.Channel{notify.ChannelEmail}
	}
	if n.Tags == nil {
		n.Tags = []string{}
	}
	progress := notify.Progress{Status: notify.StatusSending}
	if r.SendAt != nil && r.SendAt.After(at) {
		n.SendAt = Moment(*r.SendAt)
		progress.Status = notify.StatusScheduled
	}
	n.ExpiresAt, n.ExpiresByDefault = n.SendAt.Add(notify.DefaultExpiry), r.ExpiresAt == nil
	if r.ExpiresAt != nil {
		n.ExpiresAt = Moment(*r.ExpiresAt)
	}
	if r.Audience != nil {
		if err := i.address(ctx, &n, r.Audience, at); err != nil {
			return nil, err
		}
	}
	if err := checkRate(&n); err != nil {
		return nil, err
	}
	n.Bulk = n.Audience != nil || n.Deliveries() > i.DirectLimit || n.Priority == notify.PriorityLow || n.Rate != ""
	progress.Counts = notify.Counts{Total: n.Deliveries(), Queued: n.Deliveries()}
	return &notify.Record{Notification: n, Progress: progress}, i.checkContent(ctx, &n)
}

// address finds the audience that is to be told. It must be there as long as
// the notification may go out.
func (i *Intake) address(ctx context.Context, n *notify.Notification, who *notify.Audience, at time.Time) error {
	if who.AllUsers {
		n.Audience = &notify.AudienceRef{ID: n.ID, AllUsers: true}
		return nil
	}
	stored, err := i.Store.Audience(ctx, who.ID, at)
	if notify.CodeOf(err) == notify.CodeNotFound {
		return invalid("body.audience.id", "there is no such audience, or it has expired", who.ID)
	}
	if err != nil {
		return err
	}
	if !stored.KeptFor(n) {
		return invalid("body.audience.id", fmt.Sprintf("the audience is kept until %s (BELFRY_AUDIENCE_RETENTION), which must be a day after the notification expires, at %s",
			stored.ExpiresAt.UTC().Format(time.RFC3339), n.ExpiresAt.UTC().Format(time.RFC3339)), who.ID)
	}
	n.Audience = &notify.AudienceRef{ID: stored.ID, Total: stored.Total}
	return nil
}

// checkRate finds a rate at which the notification would expire before it is
// through. How many all users are is not known before they are listed.
func checkRate(n *notify.Notification) error {
	if takes := n.Rate.For(n.Deliveries()); takes > n.ExpiresAt.Sub(n.SendAt) {
		return invalid("body.rate", fmt.Sprintf("%d deliveries take %s at this rate, and the notification expires %s after it begins: give a later expires_at",
			n.Deliveries(), takes.Round(time.Second), n.ExpiresAt.Sub(n.SendAt).Round(time.Second)), n.Rate)
	}
	return nil
}

func invalid(location, message string, value any) error {
	return &notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{{Location: location, Message: message, Value: value}}}
}

// Moment is a time as it is kept: MongoDB has milliseconds.
func Moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// checkContent finds the channels that there is nothing to send over.
func (i *Intake) checkContent(ctx context.Context, n *notify.Notification) error {
	bodies := n.Content
	if n.Template != nil {
		template, err := i.Store.Template(ctx, *n.Template)
		if err != nil {
			return err
		}
		bodies = &template.Channels
	}
	for at, channel := range n.Channels {
		if !bodies.Has(channel) {
			return invalid(fmt.Sprintf("body.channels[%d]", at), "there is no content for this channel", channel)
		}
	}
	return nil
}

// Accept makes a notification durable: it is stored, and its workflow started
// by reference. Both may be done again: whatever was left undone is done. So
// does the workers' sweep, for one that was stored and never started.
func (i *Intake) Accept(ctx context.Context, r *notify.Record) error {
	if err := i.insert(ctx, r); err != nil {
		return err
	}
	return i.Starter.Start(ctx, &r.Notification)
}

// insert stores a notification, unless it is stored already.
func (i *Intake) insert(ctx context.Context, r *notify.Record) error {
	err := i.Store.InsertNotification(ctx, r)
	if notify.CodeOf(err) == notify.CodeConflict {
		return nil
	}
	return err
}
