package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// stopPatience is how long a cancel waits for what is under way to end.
const stopPatience = 1500 * time.Millisecond

// stopEvery is how often it looks.
const stopEvery = 100 * time.Millisecond

// Stop cancels what is unsent of a notification that went the direct way, by
// taking the claims that a send would need: what it could take will never be sent. Queued are then the deliveries
// that are under way, which it waits for a little where it could take none.
func (a *Activities) Stop(ctx context.Context, id string) (Result, error) {
	n, err := a.Store.Accepted(ctx, id)
	if err != nil {
		return Result{}, retryable(err)
	}
	job, err := a.job(ctx, n, true)
	if err != nil {
		return Result{}, retryable(err)
	}
	job.stopped, job.told = notify.ReasonCancelled, &told{}
	return a.stop(ctx, func() (Result, *wait) { return a.deliverAll(ctx, job) })
}

// stop cancels what is unsent, and waits a little where it could cancel nothing
// because all is under way.
func (a *Activities) stop(ctx context.Context, cancel func() (Result, *wait)) (Result, error) {
	ticker := time.NewTicker(stopEvery)
	defer ticker.Stop()
	for deadline := a.Now().Add(stopPatience); ; {
		result, wait := cancel()
		switch {
		case wait != nil && wait.failed != nil:
			return result, retryable(wait.failed)
		case wait == nil, result.Cancelled > 0, a.Now().After(deadline):
			return result, nil
		}
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-ticker.C:
		}
	}
}

// Settle ends a notification whose workflow is no more, as one that an operator
// has terminated: what is unsent is skipped as cancelled. While a delivery of
// it may still be on its way it fails, to be tried again.
func (a *Activities) Settle(ctx context.Context, n *notify.Notification) error {
	if n.Bulk {
		return a.settlePages(ctx, n)
	}
	result, wait, err := a.deliverDirect(ctx, n, notify.ReasonCancelled, true, nil)
	if err == nil && wait != nil {
		err = underWay(result, wait)
	}
	if err != nil {
		return err
	}
	_, err = a.Finish(ctx, n.ID, result)
	return err
}

func (a *Activities) settlePages(ctx context.Context, n *notify.Notification) error {
	var total Result
	if n.Audience != nil && n.Audience.AllUsers && n.Audience.Total == 0 {
		total.Cancelled = 1
	}
	for page := range n.Pages() {
		result, wait, err := a.deliverPage(ctx, Page{ID: n.ID, Number: page, Again: true, Stopped: notify.ReasonCancelled}, nil)
		if err == nil && wait != nil {
			err = underWay(result, wait)
		}
		if err != nil {
			return err
		}
		total.Add(result)
	}
	_, err := a.FinishBulk(ctx, n.ID, total)
	return err
}

func underWay(result Result, wait *wait) error {
	return fmt.Errorf("%d of %d deliveries are under way: %w", result.Counts.Queued, result.Counts.Total, wait.cause)
}
