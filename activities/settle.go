package activities

import (
	"context"
	"fmt"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Settle ends a notification whose workflow is no more, as one that an operator
// has terminated: what is unsent is skipped as cancelled. While a delivery of
// it may still be on its way it fails, to be tried again.
func (a *Activities) Settle(ctx context.Context, n *notify.Notification) error {
	job, err := a.job(ctx, n, true)
	if err != nil {
		return err
	}
	job.stopped = notify.ReasonCancelled
	result, wait := a.deliverAll(ctx, Page{ID: n.ID, To: len(n.To)}, job)
	if wait != nil {
		return fmt.Errorf("%d of %d deliveries are under way: %w", result.Counts.Queued, result.Counts.Total, wait.cause)
	}
	_, err = a.Finish(ctx, n.ID, result)
	return err
}
