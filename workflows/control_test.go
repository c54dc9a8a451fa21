package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

// An answer is what an update came to.
type answer struct {
	refused error // by the validator
	result  any
	err     error
	done    bool
}

// stopped is what a cancel says that it stopped.
func (a *answer) stopped(t *testing.T) activities.Result {
	t.Helper()
	stopped, ok := a.result.(activities.Result)
	require.True(t, ok, "%v", a.result)
	return stopped
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
		expired := activities.Result{Counts: notify.Counts{Total: 1, Skipped: 1}, Expired: 1}
		env.OnActivity(a.Deliver, mock.Anything, in.ID, notify.ReasonExpired).Return(expired, nil).Once()
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
	stopped := activities.Result{Counts: notify.Counts{Total: 1, Skipped: 1}, Cancelled: 1}
	env.OnActivity(a.Stop, mock.Anything, in.ID).Return(stopped, nil).Once()
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
	underWay := activities.Result{Counts: notify.Counts{Total: 1, Queued: 1}}
	env.OnActivity(a.Stop, mock.Anything, mock.Anything).Return(underWay, nil).Once()
	env.OnActivity(a.TryDeliver, mock.Anything, in.ID).Return(activities.FirstResult{Status: notify.StatusDone}, nil).Once()
	cancelled := ask(env, time.Hour, workflows.CancelUpdate)

	env.ExecuteWorkflow(workflows.Notification, in)

	require.Equal(t, notify.StatusDone, statusOf(t, env))
	require.Equal(t, underWay, cancelled.result)
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
