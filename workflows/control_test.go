package workflows_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

// errInterrupted is what a page fails with that was told to stop.
var errInterrupted = temporal.NewApplicationError("1 of 350 deliveries wait", "waiting")

// An answer is what an update came to.
type answer struct {
	refused error // by the validator
	result  any
	err     error
	done    bool
}

// ask has an update carried out at a moment of the workflow's time.
func ask(env *testsuite.TestWorkflowEnvironment, after time.Duration, name string, args ...any) *answer {
	got := &answer{}
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(name, "", &testsuite.TestUpdateCallback{
			OnReject:   func(err error) { got.refused = err },
			OnAccept:   func() {},
			OnComplete: func(result any, err error) { got.result, got.err, got.done = result, err, true },
		}, args...)
	}, after)
	return got
}

// waiting is the input of a notification of one recipient that waits so long.
func waiting(env *testsuite.TestWorkflowEnvironment, wait time.Duration) workflows.Input {
	in := input(1)
	at := env.Now().Add(wait)
	in.SendAt = &at
	return in
}

func TestItWaitsUntilItIsTime(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	in := waiting(env, 2*365*24*time.Hour)
	env.OnActivity(a.TryDeliver, mock.Anything, in.ID).Return(activities.FirstResult{Status: notify.StatusDone}, nil).Once()

	env.ExecuteWorkflow(workflows.Notification, in)

	require.Equal(t, notify.StatusDone, statusOf(t, env))
	require.WithinDuration(t, *in.SendAt, env.Now(), time.Second)
}

func TestItIsMovedEarlierAndLater(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]time.Duration{"earlier": 2 * time.Hour, "later": 72 * time.Hour, "to the past": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			began, in := env.Now(), waiting(env, 24*time.Hour)
			at := began.Add(to)
			env.OnActivity(a.Reschedule, mock.Anything, in.ID, mock.Anything).Return(at.Add(24*time.Hour), nil).Once()
			env.OnActivity(a.TryDeliver, mock.Anything, in.ID).Return(activities.FirstResult{Status: notify.StatusDone}, nil).Once()
			moved := ask(env, time.Hour, workflows.RescheduleUpdate, at)

			env.ExecuteWorkflow(workflows.Notification, in)

			require.Equal(t, notify.StatusDone, statusOf(t, env))
			require.True(t, moved.done)
			require.NoError(t, moved.err)
			require.WithinDuration(t, began.Add(max(to, time.Hour)), env.Now(), time.Second)
		})
	}
}

func TestWhatIsPausedWaitsForResumeOrItsExpiry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		resume, expiry time.Duration
		begins         time.Duration // from the start
	}{
		{"resumed before it is due", 2 * time.Hour, 48 * time.Hour, 24 * time.Hour},
		{"resumed when it is long due", 30 * time.Hour, 48 * time.Hour, 30 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			began, in := env.Now(), waiting(env, 24*time.Hour)
			env.OnActivity(a.Mark, mock.Anything, in.ID, mock.Anything).Return(began.Add(test.expiry), nil).Twice()
			env.OnActivity(a.TryDeliver, mock.Anything, in.ID).Return(activities.FirstResult{Status: notify.StatusDone}, nil).Once()
			ask(env, time.Hour, workflows.PauseUpdate)
			resumed := ask(env, test.resume, workflows.ResumeUpdate)

			env.ExecuteWorkflow(workflows.Notification, in)

			require.Equal(t, notify.StatusDone, statusOf(t, env))
			require.True(t, resumed.done)
			require.WithinDuration(t, began.Add(test.begins), env.Now(), time.Second)
		})
	}
	t.Run("never resumed", func(t *testing.T) {
		t.Parallel()
		env := newEnvironment(t)
		began, in := env.Now(), waiting(env, 24*time.Hour)
		env.OnActivity(a.Mark, mock.Anything, in.ID, notify.StatusPaused).Return(began.Add(48*time.Hour), nil).Once()
		expired := activities.PageResult{Counts: notify.Counts{Total: 1, Skipped: 1}, Expired: 1}
		env.OnActivity(a.Deliver, mock.Anything, mock.Anything).Return(expired, nil).Once()
		env.OnActivity(a.Finish, mock.Anything, in.ID, expired).Return(notify.StatusExpired, nil).Once()
		ask(env, time.Hour, workflows.PauseUpdate)

		env.ExecuteWorkflow(workflows.Notification, in)

		require.Equal(t, notify.StatusExpired, statusOf(t, env))
		require.WithinDuration(t, began.Add(48*time.Hour), env.Now(), 3*time.Second)
	})
}

func TestACancelThatStopsAllEndsIt(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	began, in := env.Now(), waiting(env, 24*time.Hour)
	stopped := activities.PageResult{Counts: notify.Counts{Total: 1, Skipped: 1}, Cancelled: 1}
	env.OnActivity(a.Stop, mock.Anything, activities.Page{ID: in.ID, To: 1}).Return(stopped, nil).Once()
	env.OnActivity(a.Finish, mock.Anything, in.ID, stopped).Return(notify.StatusCancelled, nil).Once()
	cancelled := ask(env, time.Hour, workflows.CancelUpdate)
	late := ask(env, time.Hour+time.Millisecond, workflows.RescheduleUpdate, began)

	env.ExecuteWorkflow(workflows.Notification, in)

	require.Equal(t, notify.StatusCancelled, statusOf(t, env))
	require.Equal(t, stopped, cancelled.result)
	require.NoError(t, cancelled.err)
	require.WithinDuration(t, began.Add(time.Hour), env.Now(), time.Second)
	if late.done { // it came before the end
		require.Error(t, late.err)
	}
}

func TestACancelThatStopsNothingChangesNothing(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	in := waiting(env, 24*time.Hour)
	underWay := activities.PageResult{Counts: notify.Counts{Total: 1, Queued: 1}}
	env.OnActivity(a.Stop, mock.Anything, mock.Anything).Return(underWay, nil).Once()
	env.OnActivity(a.TryDeliver, mock.Anything, in.ID).Return(activities.FirstResult{Status: notify.StatusDone}, nil).Once()
	cancelled := ask(env, time.Hour, workflows.CancelUpdate)

	env.ExecuteWorkflow(workflows.Notification, in)

	require.Equal(t, notify.StatusDone, statusOf(t, env))
	require.Equal(t, underWay, cancelled.result)
}

func TestACancelInTheMiddleHasTheRestEndedAsCancelled(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	in := input(700)
	var mu sync.Mutex
	var pages []activities.Page
	env.OnActivity(a.Deliver, mock.Anything, mock.Anything).Return(func(_ context.Context, page activities.Page) (activities.PageResult, error) {
		mu.Lock()
		defer mu.Unlock()
		pages = append(pages, page)
		if page.Stopped == "" {
			return activities.PageResult{}, errInterrupted
		}
		return activities.PageResult{Counts: notify.Counts{Total: 350, Sent: 100, Skipped: 250}, Cancelled: 250}, nil
	})
	env.OnActivity(a.Stop, mock.Anything, mock.Anything).
		Return(activities.PageResult{Counts: notify.Counts{Total: 350, Queued: 10, Skipped: 240, Sent: 100}, Cancelled: 240}, nil).Twice()
	total := activities.PageResult{Counts: notify.Counts{Total: 700, Sent: 200, Skipped: 500}, Cancelled: 500}
	env.OnActivity(a.Finish, mock.Anything, in.ID, total).Return(notify.StatusCancelled, nil).Once()
	cancelled := ask(env, 500*time.Millisecond, workflows.CancelUpdate)

	env.ExecuteWorkflow(workflows.Notification, in)

	require.Equal(t, notify.StatusCancelled, statusOf(t, env))
	require.True(t, cancelled.done)
	require.Equal(t, notify.ReasonCancelled, pages[len(pages)-1].Stopped)
}

func TestAVeryLongHistoryIsLeftBehindWhileItWaits(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	in := waiting(env, 24*time.Hour)
	expires := env.Now().Add(48 * time.Hour)
	env.OnActivity(a.Mark, mock.Anything, in.ID, notify.StatusPaused).Return(expires, nil).Once()
	env.RegisterDelayedCallback(func() { env.SetContinueAsNewSuggested(true) }, 30*time.Minute)
	ask(env, time.Hour, workflows.PauseUpdate)

	env.ExecuteWorkflow(workflows.Notification, in)

	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &again)
	require.Equal(t, "Notification", again.WorkflowType.Name)
}
