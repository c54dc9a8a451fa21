package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
)

// RedeliveryInput names the recipient of a notification, by its place in "to",
// whose delivery was reopened, and until when it may be tried.
type RedeliveryInput struct {
	NotificationID string    `json:"notification_id"`
	Recipient      int       `json:"recipient"`
	ExpiresAt      time.Time `json:"expires_at"`
}

// Redelivery takes a delivery that was reopened by hand to its end, and brings
// the notification's counts up to date.
func Redelivery(ctx workflow.Context, in RedeliveryInput) error {
	deliver := workflow.WithActivityOptions(ctx, deliverOptions(EmailTaskQueue, "a delivery tried again by hand"))
	page := activities.Page{ID: in.NotificationID, From: in.Recipient, To: in.Recipient + 1, ExpiresAt: &in.ExpiresAt}
	if err := workflow.ExecuteActivity(deliver, a.Deliver, page).Get(ctx, nil); err != nil {
		return err
	}
	recount := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 10 * time.Minute},
		Summary:             "count anew",
	})
	return workflow.ExecuteActivity(recount, a.Recount, in.NotificationID).Get(ctx, nil)
}
