package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
)

// Input is what a Notification workflow is started with. Notification is nil
// where it is to be read from the store.
type Input struct {
	ID           string               `json:"id"`
	Notification *notify.Notification `json:"notification,omitempty"`
	Recipients   int                  `json:"recipients"`
	Direct       bool                 `json:"direct"`
	Priority     notify.Priority      `json:"priority,omitempty"`
}

// Notification tells the recipients and records how that ended. It is done
// when every delivery has an end state; its result says how many are in which.
func Notification(ctx workflow.Context, in Input) (notify.Progress, error) {
	n := notification{Input: in}
	result, err := n.deliver(ctx)
	if err != nil {
		return notify.Progress{}, err
	}
	return n.finish(ctx, notify.Progress{Status: result.Counts.Status(result.Expired > 0), Counts: result.Counts})
}

// notification is one run of the workflow.
type notification struct{ Input }

// a only names the activities; the worker has the real one.
var a *activities.Activities

// deliver takes every delivery to its end: a few at once here, many or those
// that need another attempt page by page.
func (n notification) deliver(ctx workflow.Context) (activities.PageResult, error) {
	if n.Direct {
		result, err := n.tryDirect(ctx)
		if err == nil && result.Counts.Queued == 0 {
			return result, nil
		}
	}
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
		total.Counts.Sum(result.Counts)
		total.Expired += result.Expired
	}
	return total, nil
}

func (n notification) page(r pageRange) activities.Page {
	return activities.Page{ID: n.ID, Notification: n.Notification, From: r.from, To: r.to}
}

// tryDirect makes the first attempt in the worker that runs the workflow. An
// error says nothing about the deliveries: the next attempt finds out.
func (n notification) tryDirect(ctx workflow.Context) (activities.PageResult, error) {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: activities.DefaultPatience + 10*time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             "first attempt at each delivery",
	})
	var result activities.PageResult
	err := workflow.ExecuteLocalActivity(ctx, a.TryDeliver, n.page(pageRange{0, n.Recipients})).Get(ctx, &result)
	return result, err
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

// finish records how the notification ended: at once here, or else as often
// as it takes.
func (n notification) finish(ctx workflow.Context, progress notify.Progress) (notify.Progress, error) {
	end := activities.Finish{ID: n.ID, Notification: n.Notification, Progress: progress}
	local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 5 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             "record the end",
	})
	var recorded notify.Progress
	if err := workflow.ExecuteLocalActivity(local, a.Finish, end).Get(ctx, &recorded); err == nil {
		return recorded, nil
	}
	durable := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
		Summary:             "record the end",
	})
	err := workflow.ExecuteActivity(durable, a.Finish, end).Get(ctx, &recorded)
	return recorded, err
}
