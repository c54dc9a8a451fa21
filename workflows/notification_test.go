package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

var a *activities.Activities

func input(recipients int) workflows.Input {
	n := &notify.Notification{ID: "0193a5b0-0000-7000-8000-000000000001", Channels: []notify.Channel{notify.ChannelEmail}}
	for i := range recipients {
		n.To = append(n.To, notify.Recipient{Email: fmt.Sprintf("u%d@example.com", i)})
	}
	n.Bulk = recipients > 10
	return workflows.NewInput(n)
}

func result(counts notify.Counts) activities.Result { return activities.Result{Counts: counts} }

func newEnvironment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(a)
	t.Cleanup(func() { env.AssertExpectations(t) })
	return env
}

func statusOf(t *testing.T, env *testsuite.TestWorkflowEnvironment) notify.Status {
	t.Helper()
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	var status notify.Status
	require.NoError(t, env.GetWorkflowResult(&status))
	return status
}

func TestAFirstAttemptThatEndsAllIsAll(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.OnActivity(a.TryDeliver, mock.Anything, input(2).ID).Return(activities.FirstResult{Status: notify.StatusDone}, nil).Once()

	env.ExecuteWorkflow(workflows.Notification, input(2))

	require.Equal(t, notify.StatusDone, statusOf(t, env))
}

func TestDeliveriesThatNeedAnotherAttemptBackOff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		first activities.FirstResult
		err   error
	}{
		{"one is left", activities.FirstResult{Wait: 100 * time.Second}, nil},
		{"the first attempt could not begin", activities.FirstResult{}, errors.New("the store is away")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			began := env.Now()
			env.OnActivity(a.TryDeliver, mock.Anything, mock.Anything).Return(test.first, test.err).Once()
			tries := 0
			env.OnActivity(a.Deliver, mock.Anything, mock.Anything, mock.Anything).Return(
				func(context.Context, string, notify.Reason) (activities.Result, error) {
					if tries++; tries < 10 {
						return activities.Result{}, temporal.NewApplicationError("1 of 2 deliveries wait", "waiting")
					}
					return result(notify.Counts{Total: 2, Sent: 2}), nil
				})
			env.OnActivity(a.Finish, mock.Anything, mock.Anything, mock.Anything).Return(notify.StatusDone, nil).Once()

			env.ExecuteWorkflow(workflows.Notification, input(2))

			require.Equal(t, notify.StatusDone, statusOf(t, env))
			require.Equal(t, 10, tries) // the suite allows no more
			// As asked for, then 1 + 2 + 4 + ... + 256 s.
			require.Equal(t, test.first.Wait+511*time.Second, env.Now().Sub(began).Truncate(time.Second))
		})
	}
}

func TestTheEndIsRecordedWhenTheStoreIsBack(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.OnActivity(a.TryDeliver, mock.Anything, mock.Anything).Return(activities.FirstResult{Wait: time.Second}, nil).Once()
	env.OnActivity(a.Deliver, mock.Anything, mock.Anything, mock.Anything).Return(result(notify.Counts{Total: 1, Sent: 1}), nil).Once()
	tries := 0
	env.OnActivity(a.Finish, mock.Anything, mock.Anything, mock.Anything).Return(func(context.Context, string, activities.Result) (notify.Status, error) {
		if tries++; tries < 10 {
			return "", errors.New("the store is away")
		}
		return notify.StatusDone, nil
	})

	env.ExecuteWorkflow(workflows.Notification, input(1))

	require.Equal(t, notify.StatusDone, statusOf(t, env))
	require.Equal(t, 10, tries)
}

func TestPriorityChoosesTheWay(t *testing.T) {
	t.Parallel()
	for priority, queue := range map[notify.Priority]string{
		notify.PriorityHigh: workflows.EmailHighTaskQueue, notify.PriorityNormal: workflows.EmailTaskQueue, notify.PriorityLow: workflows.EmailBulkTaskQueue,
	} {
		t.Run(string(priority), func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			n := &notify.Notification{To: make([]notify.Recipient, 1), Channels: []notify.Channel{notify.ChannelEmail}, Priority: priority, Bulk: priority == notify.PriorityLow}
			finish := any(a.Finish)
			if priority == notify.PriorityLow { // which goes with the broadcasts at once
				finish = a.FinishBulk
				env.OnActivity(a.DeliverPage, mock.Anything, mock.Anything).Return(func(ctx context.Context, _ activities.Page) (activities.PageResult, error) {
					require.Equal(t, queue, activity.GetInfo(ctx).TaskQueue)
					return activities.PageResult{Result: result(notify.Counts{Total: 1, Sent: 1})}, nil
				}).Once()
			} else {
				env.OnActivity(a.TryDeliver, mock.Anything, mock.Anything).Return(activities.FirstResult{Wait: time.Second}, nil).Once()
				env.OnActivity(a.Deliver, mock.Anything, mock.Anything, mock.Anything).Return(func(ctx context.Context, _ string, _ notify.Reason) (activities.Result, error) {
					require.Equal(t, queue, activity.GetInfo(ctx).TaskQueue)
					return result(notify.Counts{Total: 1, Sent: 1}), nil
				}).Once()
			}
			env.OnActivity(finish, mock.Anything, mock.Anything, mock.Anything).Return(notify.StatusDone, nil).Once()

			env.ExecuteWorkflow(workflows.Notification, workflows.NewInput(n))

			require.Equal(t, notify.StatusDone, statusOf(t, env))
		})
	}
}
