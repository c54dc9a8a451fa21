package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Reopen has a delivery that ended tried again under the claim with the number.
// Done again, or after the delivery has ended under a later claim, it changes
// nothing.
func (a *Activities) Reopen(ctx context.Context, deliveryID string, number int) error {
	ended, err := a.Store.Delivery(ctx, deliveryID)
	if err != nil {
		return retryable(err)
	}
	if ended.Claim >= number {
		return nil
	}
	own, err := a.Store.Claims(ctx, deliveryID)
	if err != nil {
		return retryable(err)
	}
	err = a.Store.InsertClaim(ctx, notify.Reopen(ended, own, number, a.NewToken(), a.Now()))
	if notify.CodeOf(err) == notify.CodeConflict {
		return nil
	}
	return retryable(err)
}

// A Redelivery names a delivery that was reopened, and until when it may be
// tried: that counts instead of the expiry of its notification.
type Redelivery struct {
	DeliveryID string    `json:"delivery_id"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Redeliver takes a delivery that was reopened to its end, as Deliver does those
// of a page. It is for whom the delivery's document says.
func (a *Activities) Redeliver(ctx context.Context, in Redelivery) error {
	told, stop := heartbeat(ctx)
	defer stop()
	ended, err := a.Store.Delivery(ctx, in.DeliveryID)
	if err != nil {
		return retryable(err)
	}
	to, ok := ended.Recipient()
	if !ok {
		return temporal.NewNonRetryableApplicationError("the recipient was erased", string(notify.CodeNotFound), nil)
	}
	accepted, err := a.Store.Accepted(ctx, ended.NotificationID)
	if err != nil {
		return retryable(err)
	}
	n := *accepted
	n.ExpiresAt = in.ExpiresAt
	job, err := a.job(ctx, &n, true)
	if err != nil {
		return retryable(err)
	}
	from, name, err := a.began(ctx, ended)
	if err != nil {
		return retryable(err)
	}
	if to.UserID == "" {
		to.Name = name
	}
	begun := context.WithoutCancel(ctx)
	if ended, err = a.deliver(begun, job, to, ended.Channel, from); err == nil {
		err = a.tellOnce(begun, told, []*notify.Delivery{ended})
	}
	if err != nil {
		next := (*wait)(nil).with(job, a.Now(), err)
		return waiting(err.Error(), next.delay(activity.GetInfo(ctx).Attempt))
	}
	return nil
}

// began reads what a delivery began with: the first claim of its chunk, nil
// where it was in none, and the name that its first claim has.
func (a *Activities) began(ctx context.Context, d *notify.Delivery) (from *base, name string, err error) {
	if d.Entry == "" {
		own, err := a.Store.Claims(ctx, d.ID)
		if err != nil || len(own) == 0 {
			return nil, "", err
		}
		return nil, own[0].Name, nil
	}
	id, entry, err := d.Entry.First(d.NotificationID)
	if err != nil {
		return nil, "", err
	}
	chunk, err := a.Store.Chunk(ctx, id)
	if err != nil {
		return nil, "", err
	}
	first := chunk.Claim(entry)
	return newBase(first, first, d.Entry), first.Name, nil
}
