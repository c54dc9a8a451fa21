package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
)

// RedeliveryInput names a delivery that ended, the number of the claim that is
// to reopen it, its recipient by the place in the notification's "to", and until
// when it may be tried.
type RedeliveryInput struct {
	NotificationID string    `json:"notification_id"`
	DeliveryID     string    `json:"delivery_id"`
	Claim          int       `json:"claim"`
	Recipient      int       `json:"recipient"`
	ExpiresAt      time.Time `json:"expires_at"`
}

// Redelivery has a delivery that ended tried again: it reopens it, takes it to
// its end, and brings the notification's counts up to date.
func Redelivery(ctx workflow.Context, in RedeliveryInput) error {
	durable := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 10 * time.Minute},
	})
	if err := workflow.ExecuteActivity(durable, a.Reopen, in.DeliveryID, in.Claim).Get(ctx, nil); err != nil {
		return err
	}
	deliver := workflow.WithActivityOptions(ctx, deliverOptions(EmailTaskQueue, "a delivery tried again by hand"))
	page := activities.Page{ID: in.NotificationID, From: in.Recipient, To: in.Recipient + 1, ExpiresAt: &in.ExpiresAt}
	if err := workflow.ExecuteActivity(deliver, a.Deliver, page).Get(ctx, nil); err != nil {
		return err
	}
	return workflow.ExecuteActivity(durable, a.Recount, in.NotificationID).Get(ctx, nil)
}
