package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// acceptTimeout bounds how long a caller waits while a neighbour is away.
const acceptTimeout = 4500 * time.Millisecond

// A notification travels whole in its workflow's input up to these sizes.
const (
	maxWhole           = 64 << 10 // bytes of JSON
	maxWholeDeliveries = 10
)

// accept makes a notification durable. A small one by template is so when
// Temporal has it, and its document is only a projection; any other one is
// stored first, and started by reference. Both may be done again, which is
// what a replay under an idempotency key does: it says so, and whatever was
// left undone is done.
func (s *Server) accept(ctx context.Context, key string, r *notificationRequest) (record *notify.Record, replayed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	decided := &notify.IdempotencyKey{NotificationID: newID(), CreatedAt: s.now()}
	if key == "" {
		if decided.Template, err = s.pin(ctx, r.Template); err != nil {
			return nil, false, err
		}
	} else {
		if decided, replayed, err = s.decide(ctx, key, r, decided); err != nil {
			return nil, false, err
		}
	}
	if replayed {
		known, err := s.Store.Notification(ctx, decided.NotificationID)
		if err == nil && known.Status.Ended() {
			return known, true, nil
		}
		if err != nil && notify.CodeOf(err) != notify.CodeNotFound {
			return nil, false, err
		}
	}
	if record, err = s.record(ctx, r, decided); err != nil {
		return nil, false, err
	}
	return record, replayed, s.begin(ctx, record)
}

// begin starts a notification and stores it. What is done already is left as
// it is.
func (s *Server) begin(ctx context.Context, record *notify.Record) error {
	n := &record.Notification
	whole, err := travelsWhole(n)
	if err != nil {
		return err
	}
	if !whole {
		if err := s.Store.InsertNotification(ctx, record); err != nil && notify.CodeOf(err) != notify.CodeConflict {
			return err
		}
		return s.Starter.Start(ctx, n, false)
	}
	if err := s.Starter.Start(ctx, n, true); err != nil {
		return err
	}
	// Temporal has it: if this insert is lost, the workflow makes up for it.
	err = s.Store.InsertNotification(ctx, record)
	if err != nil && notify.CodeOf(err) != notify.CodeConflict {
		s.log.WarnContext(ctx, "notification accepted, its document comes later", "notification", n.ID, "error", err)
	}
	return nil
}

// record is the notification that a request asks for, as was decided when it
// came first.
func (s *Server) record(ctx context.Context, r *notificationRequest, decided *notify.IdempotencyKey) (*notify.Record, error) {
	metadata, err := metadataObject(r.Metadata)
	if err != nil {
		return nil, err
	}
	n := notify.Notification{
		ID:        decided.NotificationID,
		Template:  decided.Template,
		Content:   r.Content,
		To:        r.recipients(),
		Channels:  r.channels(),
		Data:      r.Data.Object,
		Tags:      r.Tags,
		Metadata:  metadata,
		CreatedAt: decided.CreatedAt,
		SendAt:    decided.CreatedAt,
		ExpiresAt: decided.CreatedAt.Add(notify.DefaultExpiry),
		Priority:  r.Priority,
		Provider:  r.Provider,
		OnUnknown: r.OnUnknown,
	}
	if r.ExpiresAt != nil {
		n.ExpiresAt = r.ExpiresAt.UTC().Truncate(time.Millisecond)
	}
	if n.Tags == nil {
		n.Tags = []string{}
	}
	bodies := r.Content
	if n.Template != nil {
		template, err := s.Store.Template(ctx, *n.Template)
		if err != nil {
			return nil, err
		}
		bodies = &template.Channels
	}
	for i, channel := range n.Channels {
		if !bodies.Has(channel) {
			return nil, &notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{{
				Location: fmt.Sprintf("body.channels[%d]", i), Message: "there is no content for this channel", Value: channel,
			}}}
		}
	}
	return &notify.Record{
		Notification: n,
		Progress: notify.Progress{
			Status: notify.StatusSending,
			Counts: notify.Counts{Total: n.Deliveries(), Queued: n.Deliveries()},
		},
	}, nil
}

// pin finds the version of a template that a request means: name@version, or
// the newest one of a name. It is nil for free-form content.
func (s *Server) pin(ctx context.Context, template string) (*notify.TemplateRef, error) {
	if template == "" {
		return nil, nil
	}
	parts := templateRef.FindStringSubmatch(template)
	version := 0
	if parts[2] != "" {
		var err error
		if version, err = strconv.Atoi(parts[2]); err != nil {
			return nil, err
		}
	}
	found, err := s.Store.VisibleTemplate(ctx, parts[1], version)
	if err != nil {
		return nil, err
	}
	ref := found.Ref()
	return &ref, nil
}

func metadataObject(metadata map[string]string) (notify.Object, error) {
	if len(metadata) == 0 {
		return "", nil
	}
	text, err := json.Marshal(metadata)
	return notify.Object(text), err
}

func travelsWhole(n *notify.Notification) (bool, error) {
	if n.Template == nil || n.Deliveries() > maxWholeDeliveries {
		return false, nil
	}
	text, err := json.Marshal(n)
	return len(text) < maxWhole, err
}
