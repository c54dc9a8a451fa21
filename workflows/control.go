package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
)

// Updates of a notification that has not ended. All but cancel are refused
// with an error of type TooLate when there is nothing left to decide.
const (
	CancelUpdate     = "cancel"     // answers an activities.Result: what it could stop
	RescheduleUpdate = "reschedule" // takes the new time; only while it waits
	PauseUpdate      = "pause"
	ResumeUpdate     = "resume"
)

// TooLate is the type of the error of an update that comes too late.
const TooLate = string(notify.CodeTooLate)

// answerPatience is how long the answer to an update waits for what it
// decided to be seen in the record.
const answerPatience = 1500 * time.Millisecond

// deciders is what the updates of a notification have decided.
type deciders struct {
	deciding  int // updates that are being carried out: nothing is begun before they are
	decisions int // so far
	paused    bool
	expires   time.Time // of a paused notification
	cancelled bool
	// cancelledAll is what became of the deliveries where a cancel has left
	// none to be ended.
	cancelledAll *activities.Result
	interrupt    workflow.CancelFunc // of the pages under way; nil when none are
}

func (n *notification) isInterrupted() bool { return n.paused || n.cancelled }

// takeUpdates answers the updates from now on.
func (n *notification) takeUpdates(ctx workflow.Context) error {
	if n.PausedUntil != nil {
		n.paused, n.expires = true, *n.PausedUntil
	}
	undecided := workflow.UpdateHandlerOptions{Validator: func(workflow.Context) error { return n.undecided() }}
	unbegun := workflow.UpdateHandlerOptions{Validator: func(workflow.Context, time.Time) error { return n.unbegun() }}
	return errors.Join(
		workflow.SetUpdateHandlerWithOptions(ctx, PauseUpdate, n.pause, undecided),
		workflow.SetUpdateHandlerWithOptions(ctx, ResumeUpdate, n.resume, undecided),
		workflow.SetUpdateHandlerWithOptions(ctx, RescheduleUpdate, n.reschedule, unbegun),
		workflow.SetUpdateHandler(ctx, CancelUpdate, n.cancel),
	)
}

// undecided refuses what comes after the end.
func (n *notification) undecided() error {
	if n.ended || n.cancelled {
		return temporal.NewNonRetryableApplicationError("the notification has ended", TooLate, nil)
	}
	return nil
}

// unbegun refuses what comes after the wait.
func (n *notification) unbegun() error {
	if n.begun || n.cancelled {
		return temporal.NewNonRetryableApplicationError("the notification waits no more", TooLate, nil)
	}
	return nil
}

// handlersFinished waits until whoever asked has an answer.
func handlersFinished(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// decide carries an update out. What is decided is seen by whoever waits for
// decisions only when that is over.
func (n *notification) decide(update func() error) error {
	n.deciding++
	defer func() {
		n.deciding--
		n.decisions++
	}()
	return update()
}

// wait returns when it is time to send, when there is nothing to send any more,
// or when a paused notification expires.
func (n *notification) wait(ctx workflow.Context) error {
	if n.SendAt == nil {
		now := workflow.Now(ctx)
		n.SendAt = &now
	}
	for !n.cancelled {
		if n.deciding > 0 {
			if err := workflow.Await(ctx, func() bool { return n.deciding == 0 }); err != nil {
				return err
			}
			continue
		}
		until, what := *n.SendAt, "waits until "
		if n.paused {
			until, what = n.expires, "paused, expires at "
		}
		left := until.Sub(workflow.Now(ctx))
		if left <= 0 {
			return nil
		}
		seen := n.decisions
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			if err := handlersFinished(ctx); err != nil {
				return err
			}
			if n.decisions == seen {
				return n.continueAsNew(ctx)
			}
			continue
		}
		summary := what + until.UTC().Format(time.RFC3339)
		workflow.SetCurrentDetails(ctx, summary)
		_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{Timeout: left, TimerOptions: workflow.TimerOptions{Summary: summary}},
			func() bool { return n.decisions != seen || n.deciding > 0 })
		if err != nil {
			return err
		}
	}
	return nil
}

// continueAsNew goes on waiting with an empty history, after very many updates.
func (n *notification) continueAsNew(ctx workflow.Context) error {
	in := n.Input
	in.PausedUntil = nil
	if n.paused {
		in.PausedUntil = &n.expires
	}
	return workflow.NewContinueAsNewError(ctx, Notification, in)
}

// untilResumed waits while the notification is paused, until it expires: then
// what is left is ended as expired.
func (n *notification) untilResumed(ctx workflow.Context) error {
	if err := workflow.Await(ctx, func() bool { return n.deciding == 0 }); err != nil {
		return err
	}
	if !n.paused || n.cancelled {
		return nil
	}
	_, err := workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{
		Timeout:      n.expires.Sub(workflow.Now(ctx)),
		TimerOptions: workflow.TimerOptions{Summary: "paused, expires at " + n.expires.UTC().Format(time.RFC3339)},
	}, func() bool { return n.deciding == 0 && (!n.paused || n.cancelled) })
	return err
}

// cancel stops what is unsent. What it could stop is for the claims to say, not
// for the workflow to remember: a worker may have sent and died.
func (n *notification) cancel(ctx workflow.Context) (activities.Result, error) {
	stop := n.stopPages
	if n.Direct {
		stop = n.stopDirect
	}
	var stopped activities.Result
	err := n.decide(func() (err error) {
		if stopped, err = stop(ctx); err != nil || stopped.Cancelled == 0 {
			return err
		}
		n.cancelled = true
		if n.Direct || !n.paused {
			return nil
		}
		return n.write(ctx, func() error { // it goes on, to its end
			_, err := n.mark(ctx, notify.StatusSending)
			return err
		})
	})
	if err != nil || stopped.Cancelled == 0 {
		return stopped, err
	}
	_, err = workflow.AwaitWithTimeout(ctx, answerPatience, func() bool { return n.ended })
	return stopped, err
}

func (n *notification) stopDirect(ctx workflow.Context) (stopped activities.Result, err error) {
	err = n.record(ctx, "cancel what is unsent", a.Stop, n.ID).Get(ctx, &stopped)
	if err != nil || stopped.Cancelled == 0 {
		return stopped, err
	}
	if stopped.Counts.Queued == 0 {
		n.cancelledAll = &stopped
	}
	if n.interrupt != nil {
		n.interrupt()
	}
	return stopped, nil
}

// reschedule moves the time at which it is to go out, and with it the expiry
// where that was the default.
func (n *notification) reschedule(ctx workflow.Context, at time.Time) error {
	return n.decide(func() error {
		return n.write(ctx, func() error {
			if err := n.unbegun(); err != nil {
				return err
			}
			var expires time.Time
			err := workflow.ExecuteActivity(recording(ctx, "move to "+at.UTC().Format(time.RFC3339)), a.Reschedule, n.ID, at).Get(ctx, &expires)
			if err == nil {
				n.SendAt, n.expires = &at, expires
			}
			return err
		})
	})
}

// pause holds back what is not begun. It answers when what was under way has
// ended, or soon will have.
func (n *notification) pause(ctx workflow.Context) error {
	err := n.decide(func() error {
		if n.interrupt != nil {
			n.interrupt()
		}
		return n.write(ctx, func() (err error) {
			if err = n.undecided(); err != nil {
				return err
			}
			n.expires, err = n.mark(ctx, notify.StatusPaused)
			n.paused = err == nil
			return err
		})
	})
	if err != nil {
		return err
	}
	_, err = workflow.AwaitWithTimeout(ctx, answerPatience, func() bool { return n.interrupt == nil })
	return err
}

func (n *notification) resume(ctx workflow.Context) error {
	return n.decide(func() error {
		return n.write(ctx, func() error {
			if err := n.undecided(); err != nil || !n.paused {
				return err
			}
			status := notify.StatusSending
			if !n.begun && workflow.Now(ctx).Before(*n.SendAt) {
				status = notify.StatusScheduled
			}
			_, err := n.mark(ctx, status)
			n.paused = err != nil
			return err
		})
	})
}

// write holds the right to write to the notification's document.
func (n *notification) write(ctx workflow.Context, write func() error) error {
	if err := n.writing.Lock(ctx); err != nil {
		return err
	}
	defer n.writing.Unlock()
	return write()
}

// markBegun records that a notification that waited waits no more.
func (n *notification) markBegun(ctx workflow.Context) error {
	if n.SendAt == nil {
		return nil
	}
	return n.write(ctx, func() error {
		if n.isInterrupted() {
			return nil
		}
		_, err := n.mark(ctx, notify.StatusSending)
		return err
	})
}

// mark records where the notification stands, for who holds the right to write.
func (n *notification) mark(ctx workflow.Context, status notify.Status) (expires time.Time, err error) {
	err = workflow.ExecuteActivity(recording(ctx, "record that it is "+string(status)), a.Mark, n.ID, status).Get(ctx, &expires)
	return expires, err
}
