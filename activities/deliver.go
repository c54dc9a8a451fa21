package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Retries of a delivery back off from InitialBackoff, doubling up to
// MaxBackoff, until the notification expires.
const (
	InitialBackoff = time.Second
	MaxBackoff     = 10 * time.Minute
)

// soonBackoff is the longest wait of a delivery that no provider could take, so
// that an outage is over soon after its end.
const soonBackoff = 30 * time.Second

// HeartbeatInterval is how often Deliver tells the server that it lives, and is
// told whether it is to stop.
const HeartbeatInterval = time.Second

// A Result says how some deliveries of a notification stand. Expired is how many of
// the skipped ones were so for want of time, Cancelled how many because
// somebody stopped the notification; either is 1 where nobody was listed for it.
type Result struct {
	Counts    notify.Counts `json:"counts"`
	Expired   int           `json:"expired"`
	Cancelled int           `json:"cancelled"`
}

// Add adds the numbers of others.
func (r *Result) Add(other Result) {
	r.Counts.Sum(other.Counts)
	r.Expired += other.Expired
	r.Cancelled += other.Cancelled
}

// A FirstResult is what the first attempt came to: the end state of the
// notification, or after how long those deliveries are due that have no end.
type FirstResult struct {
	Status notify.Status `json:"status,omitempty"`
	Wait   time.Duration `json:"wait,omitempty"`
}

// TryDeliver makes a first attempt at every delivery of a notification, as a
// local activity. Where all have ended then, it records that.
func (a *Activities) TryDeliver(ctx context.Context, id string) (FirstResult, error) {
	n, err := a.Store.Accepted(ctx, id)
	if err != nil {
		return FirstResult{}, retryable(err)
	}
	result, wait, err := a.deliverDirect(ctx, n, "", false, nil)
	if err != nil {
		return FirstResult{}, retryable(err)
	}
	if wait != nil {
		return FirstResult{Wait: cmp.Or(wait.delay(1), InitialBackoff)}, nil
	}
	status, err := a.Finish(ctx, id, result)
	return FirstResult{Status: status}, err
}

// Deliver takes every delivery of a notification that went the direct way to
// its end. While one is left that has none, it fails with an error that asks for
// a retry at the right time; what has ended is not touched again. Past the
// notification's expiry it ends the rest as expired, and where it was stopped,
// for that reason. Cancelled, it finishes what is under way and begins nothing
// more.
func (a *Activities) Deliver(ctx context.Context, id string, stopped notify.Reason) (Result, error) {
	told, stop := heartbeat(ctx)
	defer stop()
	n, err := a.Store.Accepted(ctx, id)
	if err != nil {
		return Result{}, retryable(err)
	}
	result, wait, err := a.deliverDirect(ctx, n, stopped, true, told)
	if err != nil {
		return result, retryable(err)
	}
	if wait == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	return result, waiting(fmt.Sprintf("%d of %d deliveries wait: %v", result.Counts.Queued, result.Counts.Total, wait.cause),
		wait.delay(activity.GetInfo(ctx).Attempt))
}

// waiting is the error that has an activity tried again after so long, 0 for as
// long as its retry policy says.
func waiting(why string, after time.Duration) error {
	return temporal.NewApplicationErrorWithOptions(why, "waiting", temporal.ApplicationErrorOptions{
		NextRetryDelay: after,
		Category:       temporal.ApplicationErrorCategoryBenign, // no error of ours: not logged as one
	})
}

// heartbeat reports to the server what is told, from a ticker until it is
// stopped.
func heartbeat(ctx context.Context) (t *told, stop func()) {
	going, cancel := context.WithCancel(ctx)
	t = newTold(ctx)
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(HeartbeatInterval)
		defer ticker.Stop()
		for {
			select {
			case <-going.Done():
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx, t.all())
			}
		}
	})
	return t, func() {
		cancel()
		beating.Wait()
		if t.all() != nil {
			activity.RecordHeartbeat(ctx, t.all()) // goes out where the attempt fails
		}
	}
}

// deliverDirect takes each delivery as far as it gets now. The wait says when to
// try those again that have no end; it is nil when all have. On a first attempt
// nothing is read before it is claimed.
func (a *Activities) deliverDirect(ctx context.Context, n *notify.Notification, stopped notify.Reason, again bool, told *told) (Result, *wait, error) {
	job, err := a.job(ctx, n, again)
	if err != nil {
		return Result{}, nil, err
	}
	job.stopped, job.told = stopped, told
	result, next := a.deliverAll(ctx, job)
	return result, next, nil
}

// each calls f with 0 to n-1, Concurrency of them at a time. It takes no more
// goroutines than that: one for each call would grow a stack each time.
func (a *Activities) each(n int, f func(i int)) {
	var begun atomic.Int64
	var group sync.WaitGroup
	for range min(n, a.Concurrency) {
		group.Go(func() {
			for i := int(begun.Add(1)) - 1; i < n; i = int(begun.Add(1)) - 1 {
				f(i)
			}
		})
	}
	group.Wait()
}

// deliverAll takes deliveries as far as they get now. When ctx ends or the
// worker is told to stop, what is under way is finished and nothing more begun:
// a message that is cut off would be in doubt.
func (a *Activities) deliverAll(ctx context.Context, job job) (Result, *wait) {
	recipients := job.notification.To
	deliveries := len(recipients) * len(job.notification.Channels)
	type end struct {
		delivery *notify.Delivery
		err      error
	}
	ends := make([]end, deliveries)
	stopping, begun := stopChannel(ctx), context.WithoutCancel(ctx)
	a.each(deliveries, func(i int) {
		select {
		case <-stopping:
			ends[i] = end{err: &laterError{cause: "the worker is stopping"}}
			return
		case <-ctx.Done():
			ends[i] = end{err: &laterError{cause: "told to stop"}}
			return
		default:
		}
		to := recipients[i/len(job.notification.Channels)]
		channel := job.notification.Channels[i%len(job.notification.Channels)]
		delivery, err := a.deliver(begun, job, to, channel, nil)
		ends[i] = end{delivery, err}
	})

	var result Result
	var next *wait
	var ended []*notify.Delivery
	for _, e := range ends {
		if e.err != nil {
			result.Counts.Add(notify.StateQueued, 1)
			next = next.with(job, a.Now(), e.err)
			continue
		}
		result.count(e.delivery)
		ended = append(ended, e.delivery)
	}
	if err := a.tellOnce(begun, job.told, ended); err != nil {
		next = next.with(job, a.Now(), err)
	}
	return result, next
}

// stopChannel is closed when the worker that runs the activity is told to stop.
func stopChannel(ctx context.Context) <-chan struct{} {
	if !activity.IsActivity(ctx) {
		return nil
	}
	return activity.GetWorkerStopChannel(ctx)
}

// A job is a notification with what its deliveries have in common.
type job struct {
	notification *notify.Notification
	source       notify.Bodies
	again        bool          // there may be claims already
	stopped      notify.Reason // why nothing more is to be sent; empty: all is to be
	pace         *rate.Limiter // of its own messages; nil: none
	told         *told         // what need not be told again; nil: nothing
}

func (a *Activities) job(ctx context.Context, n *notify.Notification, again bool) (job, error) {
	j := job{notification: n, again: again}
	if j.notification.Content != nil {
		j.source = *j.notification.Content
		return j, nil
	}
	template, err := a.Store.Template(ctx, *j.notification.Template)
	if err != nil {
		return job{}, err
	}
	j.source = template.Channels
	return j, nil
}

// A wait says when deliveries without an end are to be tried again.
type wait struct {
	cause     error
	failed    error         // a delivery's that does not wait, but could not be looked at
	after     time.Duration // as asked for by whoever refused; 0: by the policy
	soon      bool          // within soonBackoff
	early     bool          // sooner than after, where the policy says so
	blocked   bool          // a whole chunk could not be begun
	tillDeath time.Duration // until the notification expires; not positive when it has
}

// with adds one more delivery that has to wait: the shortest wait counts.
func (w *wait) with(j job, now time.Time, err error) *wait {
	var after time.Duration
	var soon, early bool
	var later *laterError
	if errors.As(err, &later) {
		after, soon, early = later.after, later.soon, later.early
	}
	var failed error
	if later == nil {
		failed = err
	}
	if w == nil {
		return &wait{cause: err, failed: failed, after: after, soon: soon, early: early, tillDeath: j.notification.ExpiresAt.Sub(now)}
	}
	if w.failed == nil {
		w.failed = failed
	}
	w.after, w.soon, w.early = min(w.after, after), w.soon || soon, w.early && early
	return w
}

// delay is the delay before the next attempt, 0 to leave it to the retry
// policy: as asked for, but an attempt is due when the notification expires.
func (w *wait) delay(attempt int32) time.Duration {
	policy := MaxBackoff
	if attempt < 10 { // 2^10 s is over the cap
		policy = InitialBackoff << (attempt - 1)
	}
	after := w.after
	if w.early && policy < after {
		after = 0
	}
	if w.soon && after == 0 && policy > soonBackoff {
		return min(soonBackoff, max(w.tillDeath, time.Millisecond))
	}
	if w.tillDeath > 0 && w.tillDeath < cmp.Or(after, policy) {
		return w.tillDeath + time.Millisecond
	}
	return after
}

// A laterError is a delivery that cannot go on now, and when it can.
type laterError struct {
	after time.Duration // 0: by the retry policy
	soon  bool          // nothing was tried: to ask again costs little, and is not put off for long
	early bool          // it may be possible before, too: by the retry policy
	cause string
}

func (e *laterError) Error() string { return e.cause }

// inDoubt has a delivery wait whose earlier attempt has no outcome yet: until that
// attempt's time is over, but looked at before, since its sender may only be slow.
func inDoubt(over time.Duration) *laterError {
	return &laterError{after: over, early: true, cause: "an earlier attempt is in doubt until its deadline"}
}

// retryable maps an error to Temporal. Belfry's errors carry no text that must
// not be seen there; all of them may be gone the next time.
func retryable(err error) error {
	if err == nil {
		return nil
	}
	return temporal.NewApplicationError(err.Error(), string(notify.CodeOf(err)))
}
