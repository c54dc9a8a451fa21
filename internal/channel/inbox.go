package channel

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/belfry-notify/belfry/internal/notify"
)

// InboxName is the name of the provider that carries the channel inbox.
const InboxName = "inbox"

// Items keeps inboxes. Of an item that is there already InsertItem says
// notify.CodeConflict.
type Items interface {
	InsertItem(ctx context.Context, item *notify.Item) error
}

// A Pusher shows items that are stored to clients that are connected, if it can.
// It does not keep its caller waiting.
type Pusher interface {
	PushItems(items ...*notify.Item)
}

// An Inbox carries messages into inboxes. However often a message is sent, it is
// one item: its id is fixed by the delivery's first claim.
type Inbox struct {
	items  Items
	pusher Pusher
}

// NewInbox makes an inbox. The pusher may be nil.
func NewInbox(items Items, pusher Pusher) *Inbox { return &Inbox{items: items, pusher: pusher} }

// Name is InboxName.
func (*Inbox) Name() string { return InboxName }

// Ready is always so: an inbox has no limit and is never down.
func (*Inbox) Ready(context.Context, bool) (ready bool, after time.Duration) { return true, 0 }

// Send inserts the item, and does so again while the store cannot be reached:
// that is harmless. Only when ctx ends before the store has answered, what came
// of it is unknown, and is found out by the next attempt.
func (i *Inbox) Send(ctx context.Context, m notify.Message) notify.Outcome {
	item := &notify.Item{
		ID: notify.ItemID(m.DeliveryID, m.Date), NotificationID: m.NotificationID, DeliveryID: m.DeliveryID, UserID: m.Inbox.UserID,
		Title: m.Inbox.Content.Title, Body: m.Inbox.Content.Body, URL: m.Inbox.Content.URL, Data: m.Inbox.Data,
		CreatedAt: m.Date.UTC().Truncate(time.Millisecond),
	}
	var refusal error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		refusal = i.items.InsertItem(ctx, item)
		if notify.CodeOf(refusal) == notify.CodeConflict { // an earlier attempt got through
			refusal = nil
		}
		return struct{}{}, refusal
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Second,
	}), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return notify.Outcome{Kind: notify.OutcomeUnknown, Detail: refusal.Error()}
	}
	if i.pusher != nil {
		i.pusher.PushItems(item)
	}
	return notify.Outcome{Kind: notify.OutcomeSent, ProviderID: item.ID}
}
