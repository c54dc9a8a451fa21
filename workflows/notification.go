package workflows

import (
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
	ID         string           `json:"id"`
	Recipients int              `json:"recipients"`
	Channels   []notify.Channel `json:"channels,omitempty"` // in the order of their pages; none: mail alone
	Direct     bool             `json:"direct,omitempty"`
	AllUsers   bool             `json:"all_users,omitempty"` // whom to tell is yet to be listed
	Priority   notify.Priority  `json:"priority,omitempty"`
	Rate       notify.Rate      `json:"rate,omitempty"`
	SendAt     *time.Time       `json:"send_at,omitempty"` // nil: now

	PausedUntil *time.Time `json:"paused_until,omitempty"` // carried on: it is paused, and expires then
}

// Notification waits until it is time, tells the recipients, and records how
// that ended. It is done when every delivery has an end state; its result is
// that of the whole. Meanwhile it can be cancelled, moved, paused and resumed,
// see control.go.
func Notification(ctx workflow.Context, in Input) (notify.Status, error) {
	n := &notification{Input: in, writing: workflow.NewMutex(ctx)}
	n.left = n.allPages()
	if err := n.takeUpdates(ctx); err != nil {
		return "", err
	}
	status, err := n.run(ctx)
	if err != nil {
		return "", err
	}
	n.ended = true
	return status, handlersFinished(ctx)
}

// notification is one run of the workflow.
type notification struct {
	Input
	begun   bool           // it waits no more
	ended   bool           // and its end is recorded
	writing workflow.Mutex // held by whoever writes to the notification's document
	deciders

	// Of one to many: the pages that are left, whether some of them may have gone
	// out, how often they were begun, and what came of the others.
	left   []Pages
	again  bool
	rounds int
	result activities.Result
}

// a only names the activities; the worker has the real one.
var a *activities.Activities

func (n *notification) run(ctx workflow.Context) (notify.Status, error) {
	if n.SendAt != nil || n.PausedUntil != nil {
		if err := n.wait(ctx); err != nil {
			return "", err
		}
	}
	n.begun = true
	if n.Direct && !n.cancelled && !n.paused {
		// An error says nothing about the deliveries: the next attempt finds out.
		first, err := n.tryDirect(ctx)
		if err == nil && first.Status.Ended() {
			return first.Status, nil
		}
		if err := n.markBegun(ctx); err != nil {
			return "", err
		}
		if _, err := workflow.AwaitWithTimeout(ctx, first.Wait, n.isInterrupted); err != nil {
			return "", err
		}
	} else if err := n.markBegun(ctx); err != nil {
		return "", err
	}
	for n.AllUsers && !n.cancelled {
		if err := n.listUsers(ctx); err != nil {
			return "", err
		}
	}
	result, err := n.deliver(ctx)
	if err != nil {
		return "", err
	}
	return n.finish(ctx, result)
}

// tryDirect makes the first attempt in the worker that runs the workflow, and
// records the end where there is nothing left to do.
func (n *notification) tryDirect(ctx workflow.Context) (first activities.FirstResult, err error) {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: activities.DefaultPatience + 10*time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             "first attempt at each delivery",
	})
	err = n.write(ctx, func() error {
		err := workflow.ExecuteLocalActivity(ctx, a.TryDeliver, n.ID).Get(ctx, &first)
		n.ended = err == nil && first.Status.Ended()
		return err
	})
	return first, err
}

// deliver takes every delivery to its end. A pause or a cancel interrupts it:
// then it goes on when it is resumed, or with what is left to be cancelled.
func (n *notification) deliver(ctx workflow.Context) (activities.Result, error) {
	for len(n.left) > 0 {
		if err := n.untilResumed(ctx); err != nil {
			return n.result, err
		}
		if n.cancelledAll != nil {
			return *n.cancelledAll, nil
		}
		deliver := n.deliverPages
		if n.Direct {
			deliver = n.deliverDirect
		}
		interrupted, err := n.interruptible(ctx, deliver)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !interrupted {
			return n.result, err
		}
	}
	return n.result, nil
}

// interruptible does what a pause or a cancel may interrupt, and says whether
// one has.
func (n *notification) interruptible(ctx workflow.Context, do func(workflow.Context) error) (interrupted bool, err error) {
	under, interrupt := workflow.WithCancel(ctx)
	defer interrupt()
	n.interrupt = interrupt
	err = do(under)
	n.interrupt = nil
	return under.Err() != nil && ctx.Err() == nil, err
}

// deliverDirect delivers to the few recipients of a notification that went the
// direct way.
func (n *notification) deliverDirect(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, deliverOptions(directQueue(n.Priority), "deliveries that need another attempt"))
	err := workflow.ExecuteActivity(ctx, a.Deliver, n.ID, n.stopped()).Get(ctx, &n.result)
	if err == nil {
		n.left = nil
	}
	return err
}

// listUsers lists whom to tell. A pause or a cancel interrupts it.
func (n *notification) listUsers(ctx workflow.Context) error {
	if err := n.untilResumed(ctx); err != nil || n.cancelled {
		return err
	}
	interrupted, err := n.interruptible(ctx, func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, deliverOptions(TaskQueue, "list all users"))
		return n.write(ctx, func() error {
			var all activities.Listing
			if err := workflow.ExecuteActivity(ctx, a.ListRecipients, n.ID).Get(ctx, &all); err != nil {
				return err
			}
			n.AllUsers, n.Recipients = false, all.Total
			n.left = n.allPages()
			if all.Expired {
				n.result.Expired = 1
			}
			return nil
		})
	})
	if interrupted {
		return nil
	}
	return err
}

// directQueue is where deliveries are tried that do not go with the broadcasts.
func directQueue(p notify.Priority) string {
	if p == notify.PriorityHigh {
		return EmailHighTaskQueue
	}
	return EmailTaskQueue
}

// heartbeatTimeout is how long a worker may be silent before its page is given
// to another one.
const heartbeatTimeout = 20 * time.Second

// deliverOptions are those of what sends. It is retried until the notification
// expires, which the activity itself sees to. Cancelled, it finishes what is
// under way.
func deliverOptions(queue, summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:           queue,
		StartToCloseTimeout: 24 * time.Hour,
		HeartbeatTimeout:    heartbeatTimeout,
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    activities.InitialBackoff,
			BackoffCoefficient: 2,
			MaximumInterval:    activities.MaxBackoff,
		},
		Summary: summary,
	}
}

// finish records how the notification ended, as often as it takes.
func (n *notification) finish(ctx workflow.Context, result activities.Result) (status notify.Status, err error) {
	finish := any(a.Finish)
	if !n.Direct {
		finish = a.FinishBulk
	}
	err = n.write(ctx, func() error {
		err := n.record(ctx, "record the end", finish, n.ID, result).Get(ctx, &status)
		n.ended = err == nil
		return err
	})
	return status, err
}

// record executes a short activity that writes down what became of the
// notification, as often as it takes: where it is cancelled as a whole, beside
// the workflow, which spares the server most of what many cancels cost.
func (n *notification) record(ctx workflow.Context, summary string, what any, args ...any) workflow.Future {
	if !n.Direct || n.begun && n.cancelledAll == nil {
		return workflow.ExecuteActivity(recording(ctx, summary), what, args...)
	}
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
		Summary:             summary,
	})
	return workflow.ExecuteLocalActivity(ctx, what, args...)
}

// recording is for the short activities that write to the notification's
// document, as often as it takes.
func recording(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: time.Minute},
		Summary:             summary,
	})
}
