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
	page := Page{ID: n.ID, Notification: n, From: 0, To: len(n.To)}
	job, err := a.job(ctx, page, true)
	if err != nil {
		return err
	}
	job.stopped = notify.ReasonCancelled
	result, wait := a.deliverAll(ctx, page, job)
	if wait != nil {
		return fmt.Errorf("%d of %d deliveries are under way: %w", result.Counts.Queued, result.Counts.Total, wait.cause)
	}
	progress := notify.Progress{Status: result.Counts.Status(result.Expired > 0), Counts: result.Counts}
	if result.Cancelled > 0 {
		progress.Status = notify.StatusCancelled
	}
	_, err = a.Finish(ctx, Finish{ID: n.ID, Progress: progress})
	return err
}
