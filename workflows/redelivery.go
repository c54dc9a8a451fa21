package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
)

// RedeliveryInput names a delivery that ended, the number of the claim that is
// to reopen it, and until when it may be tried.
type RedeliveryInput struct {
	NotificationID string    `json:"notification_id"`
	DeliveryID     string    `json:"delivery_id"`
	Claim          int       `json:"claim"`
	ExpiresAt      time.Time `json:"expires_at"`
}

// recountTimeout is how long the counting of a notification's deliveries may
// take: 200,000 took the embedded engine, which has no index for that, up to a
// minute.
const recountTimeout = 10 * time.Minute

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
	redelivery := activities.Redelivery{DeliveryID: in.DeliveryID, ExpiresAt: in.ExpiresAt}
	if err := workflow.ExecuteActivity(deliver, a.Redeliver, redelivery).Get(ctx, nil); err != nil {
		return err
	}
	counting := workflow.WithStartToCloseTimeout(durable, recountTimeout)
	return workflow.ExecuteActivity(counting, a.Recount, in.NotificationID).Get(ctx, nil)
}
