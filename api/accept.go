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

// accept makes a notification durable: it is stored, and its workflow started
// by reference. Both may be done again, which is what a replay under an
// idempotency key does: it says so, and whatever was left undone is done. So
// does the workers' sweep, for one that was stored and never started.
func (s *Server) accept(ctx context.Context, key string, r *notificationRequest) (record *notify.Record, replayed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	decided := &notify.IdempotencyKey{NotificationID: newID(), CreatedAt: s.now()}
	if key == "" {
		if err = s.checkNow(r); err != nil {
			return nil, false, err
		}
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
	err = s.Store.InsertNotification(ctx, record)
	if err != nil && notify.CodeOf(err) != notify.CodeConflict {
		return nil, false, err
	}
	return record, replayed, s.Starter.Start(ctx, &record.Notification)
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
