package workflows_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

// pages keeps which pages were delivered, and answers as it is told.
type pages struct {
	mu     sync.Mutex
	seen   []activities.Page
	now    int // under way
	most   int
	answer func(ctx context.Context, page activities.Page) (activities.PageResult, error)
}

// newPages has pages of a notification delivered, each at once and to all, or
// as answer says.
func newPages(env *testsuite.TestWorkflowEnvironment, answer func(context.Context, activities.Page) (activities.PageResult, error)) *pages {
	p := &pages{answer: answer}
	env.RegisterWorkflow(workflows.Partition)
	env.OnActivity(a.DeliverPage, mock.Anything, mock.Anything).Return(func(ctx context.Context, page activities.Page) (activities.PageResult, error) {
		p.mu.Lock()
		p.seen = append(p.seen, page)
		p.now++
		p.most = max(p.most, p.now)
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.now--
		}()
		if p.answer == nil {
			return sentAll(page)
		}
		return p.answer(ctx, page)
	})
	return p
}

func sentAll(page activities.Page) (activities.PageResult, error) {
	counts := notify.Counts{Total: 500, Sent: 500}
	if page.Stopped != "" {
		counts = notify.Counts{Total: 500, Skipped: 500}
	}
	end := activities.PageResult{Result: result(counts)}
	if page.Stopped == notify.ReasonCancelled {
		end.Cancelled = 500
	}
	return end, nil
}

// numbers are those of the pages that were begun, in their order.
func (p *pages) numbers(which func(activities.Page) bool) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var numbers []int
	for _, page := range p.seen {
		if which == nil || which(page) {
			numbers = append(numbers, page.Number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestManyRecipientsGoOutInPages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		of   int
	}{{"few", 3}, {"over partitions", 41}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			p := newPages(env, nil)
			in := input(500 * test.of)
			env.OnActivity(a.FinishBulk, mock.Anything, in.ID, result(notify.Counts{Total: 500 * test.of, Sent: 500 * test.of})).
				Return(notify.StatusDone, nil).Once()

			env.ExecuteWorkflow(workflows.Notification, in)

			require.Equal(t, notify.StatusDone, statusOf(t, env))
			require.Equal(t, upTo(test.of), p.numbers(nil))
			require.LessOrEqual(t, p.most, 4*8)
		})
	}
}

func TestDeliveriesOfAPageThatWaitComeBesideTheOthers(t *testing.T) {
	t.Parallel()
	for _, rate := range []notify.Rate{"", "100/s"} {
		t.Run("rate "+string(rate), func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			p := newPages(env, func(_ context.Context, page activities.Page) (activities.PageResult, error) {
				if page.Number%4 == 0 && !page.ToEnd {
					return activities.PageResult{Result: result(notify.Counts{Total: 500, Sent: 490, Queued: 10}), Wait: time.Minute}, nil
				}
				return sentAll(page)
			})
			in := input(500 * 20)
			in.Rate = rate
			env.OnActivity(a.FinishBulk, mock.Anything, in.ID, result(notify.Counts{Total: 10_000, Sent: 10_000})).Return(notify.StatusDone, nil).Once()

			env.ExecuteWorkflow(workflows.Notification, in)

			require.Equal(t, notify.StatusDone, statusOf(t, env))
			late := func(page activities.Page) bool { return page.ToEnd }
			require.Equal(t, []int{0, 4, 8, 12, 16}, p.numbers(late))
			first := slices.IndexFunc(p.seen, late)
			for i, page := range p.seen {
				switch {
				case rate == "":
					require.Zero(t, page.Rate)
				case page.ToEnd:
					require.GreaterOrEqual(t, i, 20, "those that wait come last")
					require.InDelta(t, 20, page.Rate, 0.01, "and share the rate")
				default:
					require.InDelta(t, 100, page.Rate, 0.01)
				}
			}
			if rate != "" {
				require.Equal(t, 20, first)
			}
			require.GreaterOrEqual(t, p.seen[first].Wait, time.Minute)
		})
	}
}

// untilCancelled is a page that is told to stop. The suite lets its time run as
// ours does while it goes on.
func untilCancelled(ctx context.Context) (activities.PageResult, error) {
	<-ctx.Done()
	return activities.PageResult{}, ctx.Err()
}

func TestAPauseLeavesPagesForLater(t *testing.T) {
	t.Parallel()
	for _, of := range []int{5, 41} {
		env := newEnvironment(t)
		began := env.Now()
		resumed := false
		p := newPages(env, nil)
		p.answer = func(ctx context.Context, page activities.Page) (activities.PageResult, error) {
			p.mu.Lock()
			blocked := !resumed && page.Number%2 == 1
			p.mu.Unlock()
			if blocked {
				result, err := untilCancelled(ctx)
				if page.Number%4 == 1 { // its worker died, or it failed, just then
					err = temporal.NewNonRetryableApplicationError("no heartbeat", "timeout", nil)
				}
				return result, err
			}
			return sentAll(page)
		}
		in := input(500 * of)
		env.OnActivity(a.Mark, mock.Anything, in.ID, notify.StatusPaused).Return(began.Add(24*time.Hour), nil).Once()
		env.OnActivity(a.Mark, mock.Anything, in.ID, notify.StatusSending).Return(began.Add(24*time.Hour), nil).Once()
		env.OnActivity(a.FinishBulk, mock.Anything, in.ID, result(notify.Counts{Total: 500 * of, Sent: 500 * of})).Return(notify.StatusDone, nil).Once()
		ask(env, 500*time.Millisecond, workflows.PauseUpdate)
		env.RegisterDelayedCallback(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			resumed = true
		}, time.Second)
		ask(env, time.Second, workflows.ResumeUpdate)

		env.ExecuteWorkflow(workflows.Notification, in)

		require.Equal(t, notify.StatusDone, statusOf(t, env))
		require.GreaterOrEqual(t, env.Now().Sub(began), time.Second)
		again := p.numbers(func(page activities.Page) bool { return page.Again })
		require.NotEmpty(t, again)
		for _, n := range upTo(of) {
			require.Contains(t, p.numbers(nil), n)
		}
	}
}

func TestACancelInTheMiddleHasTheRestEndedAsCancelled(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	in := input(500 * 41)
	p := newPages(env, func(ctx context.Context, page activities.Page) (activities.PageResult, error) {
		if page.Stopped == "" && page.Number >= 20 {
			return untilCancelled(ctx)
		}
		return sentAll(page)
	})
	var stopped []int
	env.OnActivity(a.StopPage, mock.Anything, mock.Anything).Return(func(_ context.Context, page activities.Page) (activities.Result, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		stopped = append(stopped, page.Number)
		return activities.Result{Counts: notify.Counts{Total: 500, Skipped: 500}, Cancelled: 500}, nil
	})
	var total activities.Result
	env.OnActivity(a.FinishBulk, mock.Anything, in.ID, mock.Anything).Return(func(_ context.Context, _ string, result activities.Result) (notify.Status, error) {
		total = result
		return notify.StatusCancelled, nil
	}).Once()
	cancelled := ask(env, 500*time.Millisecond, workflows.CancelUpdate)
	again := ask(env, 501*time.Millisecond, workflows.CancelUpdate)

	env.ExecuteWorkflow(workflows.Notification, in)

	require.Equal(t, notify.StatusCancelled, statusOf(t, env))
	require.NoError(t, cancelled.err)
	require.Equal(t, 500, cancelled.stopped(t).Cancelled)
	require.Equal(t, 40, stopped[0], "a page that was not begun says that a cancel stops something")
	require.LessOrEqual(t, len(stopped), 2, "one for each cancel")
	if again.done {
		require.Positive(t, again.stopped(t).Cancelled)
	}
	require.Equal(t, 41*500, total.Counts.Total)
	require.Equal(t, total.Counts.Skipped, total.Cancelled)
	require.Positive(t, total.Cancelled)
	require.Contains(t, p.numbers(func(page activities.Page) bool { return page.Stopped == notify.ReasonCancelled }), 40)
}

func TestAPartitionGoesOnWithAnEmptyHistory(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	newPages(env, func(_ context.Context, page activities.Page) (activities.PageResult, error) {
		switch {
		case page.ToEnd:
			return activities.PageResult{}, temporal.NewApplicationErrorWithOptions("1 of 500 wait", "waiting", temporal.ApplicationErrorOptions{NextRetryDelay: time.Hour})
		case page.Number == 7:
			return activities.PageResult{Result: result(notify.Counts{Total: 500, Sent: 499, Queued: 1}), Wait: time.Second}, nil
		}
		return sentAll(page)
	})
	env.ExecuteWorkflow(workflows.Partition, workflows.PartitionInput{ID: "n", Left: []workflows.Pages{{From: 0, To: 1010}}})

	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &next)
	var in workflows.PartitionInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &in))
	require.Equal(t, []workflows.Pages{{From: 1000, To: 1010}, {From: 7, To: 8}}, in.Left, "those that were tried come last")
	require.True(t, in.Again)
	require.Equal(t, 999*500, in.Done.Counts.Sent)
}

func TestAllUsersAreListedWhenItGoesOut(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	p := newPages(env, nil)
	in := workflows.Input{ID: input(1).ID, AllUsers: true}
	env.OnActivity(a.ListRecipients, mock.Anything, in.ID).Return(activities.Listing{Total: 1500}, nil).Once()
	env.OnActivity(a.FinishBulk, mock.Anything, in.ID, result(notify.Counts{Total: 1500, Sent: 1500})).Return(notify.StatusDone, nil).Once()
	env.ExecuteWorkflow(workflows.Notification, in)
	require.Equal(t, notify.StatusDone, statusOf(t, env))
	require.Equal(t, upTo(3), p.numbers(nil))
}

func TestACancelBeforeAllUsersAreListedStopsAll(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(env *testsuite.TestWorkflowEnvironment, in *workflows.Input){
		"while it waits": func(env *testsuite.TestWorkflowEnvironment, in *workflows.Input) {
			at := env.Now().Add(24 * time.Hour)
			in.SendAt = &at
			env.OnActivity(a.Mark, mock.Anything, in.ID, mock.Anything).Return(at, nil).Maybe()
		},
		"while they are listed": func(env *testsuite.TestWorkflowEnvironment, in *workflows.Input) {
			env.OnActivity(a.ListRecipients, mock.Anything, in.ID).Return(func(ctx context.Context, _ string) (activities.Listing, error) {
				<-ctx.Done()
				return activities.Listing{}, ctx.Err()
			}).Once()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			in := workflows.Input{ID: input(1).ID, AllUsers: true}
			prepare(env, &in)
			env.OnActivity(a.FinishBulk, mock.Anything, in.ID, activities.Result{Cancelled: 1}).Return(notify.StatusCancelled, nil).Once()
			cancelled := ask(env, 500*time.Millisecond, workflows.CancelUpdate)
			env.ExecuteWorkflow(workflows.Notification, in)
			require.Equal(t, notify.StatusCancelled, statusOf(t, env))
			require.NoError(t, cancelled.err)
			require.Equal(t, 1, cancelled.stopped(t).Cancelled)
		})
	}
}

// Over two channels each has pages of its own, and those for inboxes wait for no
// mail.
func TestPagesForInboxesGoBesideThoseOfMails(t *testing.T) {
	t.Parallel()
	for _, of := range []int{2, 41} {
		env := newEnvironment(t)
		queues := map[int]string{}
		p := newPages(env, nil)
		p.answer = func(ctx context.Context, page activities.Page) (activities.PageResult, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			queues[page.Number] = activity.GetInfo(ctx).TaskQueue
			return sentAll(page)
		}
		n := &notify.Notification{
			ID: "0193a5b0-0000-7000-8000-000000000001", Channels: []notify.Channel{notify.ChannelEmail, notify.ChannelInbox},
			Audience: &notify.AudienceRef{Total: 500 * of}, Bulk: true,
		}
		in := workflows.NewInput(n)
		env.OnActivity(a.FinishBulk, mock.Anything, in.ID, result(notify.Counts{Total: 1000 * of, Sent: 1000 * of})).Return(notify.StatusDone, nil).Once()

		env.ExecuteWorkflow(workflows.Notification, in)

		require.Equal(t, notify.StatusDone, statusOf(t, env))
		require.Equal(t, upTo(2*of), p.numbers(nil))
		for number, queue := range queues {
			over, _ := n.Page(number)
			require.Equal(t, map[notify.Channel]string{
				notify.ChannelInbox: workflows.InboxBulkTaskQueue, notify.ChannelEmail: workflows.EmailBulkTaskQueue,
			}[over], queue, number)
		}
	}
}
