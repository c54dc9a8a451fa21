package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
)

// Input is what a Notification workflow is started with. It is small, since
// every byte of it costs the server much more than a read of the stored
// notification costs a worker.
type Input struct {
	ID         string          `json:"id"`
	Recipients int             `json:"recipients"`
	Direct     bool            `json:"direct,omitempty"`
	Priority   notify.Priority `json:"priority,omitempty"`
}

// Notification tells the recipients and records how that ended. It is done
// when every delivery has an end state; its result is that of the whole.
func Notification(ctx workflow.Context, in Input) (notify.Status, error) {
	n := notification{Input: in}
	if n.Direct {
		// An error says nothing about the deliveries: the next attempt finds out.
		first, err := n.tryDirect(ctx)
		if err == nil && first.Status.Ended() {
			return first.Status, nil
		}
		if err := workflow.Sleep(ctx, first.Wait); err != nil {
			return "", err
		}
	}
	result, err := n.deliver(ctx)
	if err != nil {
		return "", err
	}
	return n.finish(ctx, result)
}

// notification is one run of the workflow.
type notification struct{ Input }

// a only names the activities; the worker has the real one.
var a *activities.Activities

// deliver takes every delivery to its end, page by page.
func (n notification) deliver(ctx workflow.Context) (activities.PageResult, error) {
	var futures []workflow.Future
	for i, page := range pages(n.Input) {
		pageCtx := workflow.WithActivityOptions(ctx, n.pageOptions(i))
		futures = append(futures, workflow.ExecuteActivity(pageCtx, a.Deliver, n.page(page)))
	}
	var total activities.PageResult
	for _, future := range futures {
		var result activities.PageResult
		if err := future.Get(ctx, &result); err != nil {
			return total, err
		}
		total.Add(result)
	}
	return total, nil
}

func (n notification) page(r pageRange) activities.Page {
	return activities.Page{ID: n.ID, From: r.from, To: r.to}
}

// tryDirect makes the first attempt in the worker that runs the workflow, and
// records the end where there is nothing left to do.
func (n notification) tryDirect(ctx workflow.Context) (activities.FirstResult, error) {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: activities.DefaultPatience + 10*time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             "first attempt at each delivery",
	})
	var first activities.FirstResult
	err := workflow.ExecuteLocalActivity(ctx, a.TryDeliver, n.ID).Get(ctx, &first)
	return first, err
}

// pageOptions are those of the activity that delivers a page.
func (n notification) pageOptions(page int) workflow.ActivityOptions {
	queue, summary := EmailBulkTaskQueue, fmt.Sprintf("page %d of %d recipients", page+1, n.Recipients)
	if n.Direct {
		queue, summary = directQueue(n.Priority), "deliveries that need another attempt"
	}
	return deliverOptions(queue, summary)
}

// directQueue is where deliveries are tried that do not go with the broadcasts.
func directQueue(p notify.Priority) string {
	if p == notify.PriorityHigh {
		return EmailHighTaskQueue
	}
	return EmailTaskQueue
}

// deliverOptions are those of Deliver. It is retried until the notification
// expires, which the activity itself sees to.
func deliverOptions(queue, summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: time.Hour,
		HeartbeatTimeout:    4 * activities.HeartbeatInterval,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    activities.InitialBackoff,
			BackoffCoefficient: 2,
			MaximumInterval:    activities.MaxBackoff,
		},
		Summary: summary,
	}
}

// finish records how the notification ended, as often as it takes.
func (n notification) finish(ctx workflow.Context, result activities.PageResult) (notify.Status, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
		Summary:             "record the end",
	})
	var status notify.Status
	err := workflow.ExecuteActivity(ctx, a.Finish, n.ID, result).Get(ctx, &status)
	return status, err
}
