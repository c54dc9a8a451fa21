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

// maxWhole is how large a notification may be that travels whole in its
// workflow's input, in bytes of JSON.
const maxWhole = 64 << 10

// accept makes a notification durable. A small one by template is so when
// Temporal has it, and its document is only a projection; any other one is
// stored first, and started by reference.
func (s *Server) accept(ctx context.Context, r *notificationRequest) (*notify.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	record, err := s.record(ctx, r)
	if err != nil {
		return nil, err
	}
	n := &record.Notification
	whole, err := travelsWhole(n)
	if err != nil {
		return nil, err
	}
	if !whole {
		if err := s.Store.InsertNotification(ctx, record); err != nil {
			return nil, err
		}
		return record, s.Starter.Start(ctx, n, false)
	}
	if err := s.Starter.Start(ctx, n, true); err != nil {
		return nil, err
	}
	// Temporal has it: if this insert is lost, the workflow makes up for it.
	err = s.Store.InsertNotification(ctx, record)
	if err != nil && notify.CodeOf(err) != notify.CodeConflict {
		s.log.WarnContext(ctx, "notification accepted, its document comes later", "notification", n.ID, "error", err)
	}
	return record, nil
}

// record is the notification that a request asks for.
func (s *Server) record(ctx context.Context, r *notificationRequest) (*notify.Record, error) {
	metadata, err := metadataObject(r.Metadata)
	if err != nil {
		return nil, err
	}
	now := s.now()
	n := notify.Notification{
		ID:        newID(),
		Content:   r.Content,
		To:        r.recipients(),
		Channels:  r.Channels,
		Data:      r.Data.Object,
		Tags:      r.Tags,
		Metadata:  metadata,
		CreatedAt: now,
		SendAt:    now,
		ExpiresAt: now.Add(notify.DefaultExpiry),
	}
	if len(n.Channels) == 0 {
		n.Channels = []notify.Channel{notify.ChannelEmail}
	}
	if n.Tags == nil {
		n.Tags = []string{}
	}
	bodies := r.Content
	if r.Template != "" {
		template, err := s.pin(ctx, r.Template)
		if err != nil {
			return nil, err
		}
		ref := template.Ref()
		n.Template, bodies = &ref, &template.Channels
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
		Progress:     notify.Progress{Status: notify.StatusSending, Counts: queued(&n)},
	}, nil
}

// pin finds the version of a template that a request means: name@version, or
// the newest one of a name.
func (s *Server) pin(ctx context.Context, template string) (*notify.Template, error) {
	parts := templateRef.FindStringSubmatch(template)
	version := 0
	if parts[2] != "" {
		var err error
		if version, err = strconv.Atoi(parts[2]); err != nil {
			return nil, err
		}
	}
	return s.Store.VisibleTemplate(ctx, parts[1], version)
}

func metadataObject(metadata map[string]string) (notify.Object, error) {
	if len(metadata) == 0 {
		return "", nil
	}
	text, err := json.Marshal(metadata)
	return notify.Object(text), err
}

// hasRecipientKey says whether data uses the key that is Belfry's own.
func hasRecipientKey(data notify.Object) bool {
	if data == "" {
		return false
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(data), &keys); err != nil {
		return false // not an object: the schema says so
	}
	_, there := keys["recipient"]
	return there
}

func travelsWhole(n *notify.Notification) (bool, error) {
	if n.Template == nil || n.Deliveries() > wholeLimit {
		return false, nil
	}
	text, err := json.Marshal(n)
	return len(text) < maxWhole, err
}

// wholeLimit is how many deliveries a notification may have that travels
// whole.
const wholeLimit = 10

func queued(n *notify.Notification) notify.Counts {
	return notify.Counts{Total: n.Deliveries(), Queued: n.Deliveries()}
}
