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
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

var a *activities.Activities

func input(recipients int) workflows.Input {
	n := &notify.Notification{
		ID:       "0193a5b0-0000-7000-8000-000000000001",
		Template: &notify.TemplateRef{Name: "welcome", Version: 3},
		Channels: []notify.Channel{notify.ChannelEmail},
	}
	for i := range recipients {
		n.To = append(n.To, notify.Recipient{Email: fmt.Sprintf("u%d@example.com", i)})
	}
	return workflows.NewInput(n, recipients <= workflows.DirectLimit)
}

func result(counts notify.Counts) activities.PageResult { return activities.PageResult{Counts: counts} }

// recorded is Finish where all goes well.
func recorded(_ context.Context, f activities.Finish) (notify.Progress, error) {
	return f.Progress, nil
}

func newEnvironment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(a)
	t.Cleanup(func() { env.AssertExpectations(t) })
	return env
}

func progressOf(t *testing.T, env *testsuite.TestWorkflowEnvironment) notify.Progress {
	t.Helper()
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	var progress notify.Progress
	require.NoError(t, env.GetWorkflowResult(&progress))
	return progress
}

func TestNotificationEndsInTheStateItsDeliveriesSay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		result activities.PageResult
		want   notify.Status
	}{
		{"all sent", result(notify.Counts{Total: 2, Sent: 2}), notify.StatusDone},
		{"one sent, one failed", result(notify.Counts{Total: 2, Sent: 1, Failed: 1}), notify.StatusDone},
		{"all failed", result(notify.Counts{Total: 2, Failed: 2}), notify.StatusFailed},
		{"may have been sent", result(notify.Counts{Total: 1, Unknown: 1}), notify.StatusDone},
		{"expired", activities.PageResult{Counts: notify.Counts{Total: 1, Skipped: 1}, Expired: 1}, notify.StatusExpired},
		{"sent and expired", activities.PageResult{Counts: notify.Counts{Total: 2, Sent: 1, Skipped: 1}, Expired: 1}, notify.StatusDone},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			env.OnActivity(a.TryDeliver, mock.Anything, mock.Anything).Return(test.result, nil).Once()
			env.OnActivity(a.Finish, mock.Anything, mock.MatchedBy(func(f activities.Finish) bool {
				return f.Progress.Status == test.want && f.Notification != nil
			})).Return(recorded).Once()

			env.ExecuteWorkflow(workflows.Notification, input(2))

			progress := progressOf(t, env)
			require.Equal(t, test.want, progress.Status)
			require.Equal(t, test.result.Counts, progress.Counts)
		})
	}
}

func TestDeliveriesThatNeedAnotherAttemptBackOff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		first activities.PageResult
		err   error
	}{
		{"one is left", result(notify.Counts{Total: 2, Sent: 1, Queued: 1}), nil},
		{"the first attempt could not begin", activities.PageResult{}, errors.New("the store is away")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			began := env.Now()
			env.OnActivity(a.TryDeliver, mock.Anything, mock.Anything).Return(test.first, test.err).Once()
			tries := 0
			env.OnActivity(a.Deliver, mock.Anything, mock.Anything).Return(
				func(_ context.Context, page activities.Page) (activities.PageResult, error) {
					require.Equal(t, 2, page.To)
					if tries++; tries < 10 {
						return activities.PageResult{}, temporal.NewApplicationError("1 of 2 deliveries wait", "waiting")
					}
					return result(notify.Counts{Total: 2, Sent: 2}), nil
				})
			env.OnActivity(a.Finish, mock.Anything, mock.Anything).Return(recorded).Once()

			env.ExecuteWorkflow(workflows.Notification, input(2))

			require.Equal(t, notify.StatusDone, progressOf(t, env).Status)
			require.Equal(t, 10, tries)                                                   // the suite allows no more
			require.Equal(t, 511*time.Second, env.Now().Sub(began).Truncate(time.Second)) // 1 + 2 + 4 + ... + 256
		})
	}
}

func TestManyRecipientsGoOutInPages(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for _, r := range [][2]int{{0, 500}, {500, 1000}} {
		env.OnActivity(a.Deliver, mock.Anything, activities.Page{ID: input(1000).ID, From: r[0], To: r[1]}).
			Return(result(notify.Counts{Total: 500, Sent: 499, Failed: 1}), nil).Once()
	}
	env.OnActivity(a.Finish, mock.Anything, mock.MatchedBy(func(f activities.Finish) bool { return f.Notification == nil })).
		Return(recorded).Once()

	env.ExecuteWorkflow(workflows.Notification, input(1000))

	require.Equal(t, notify.Counts{Total: 1000, Sent: 998, Failed: 2}, progressOf(t, env).Counts)
}

func TestTheEndIsRecordedWhenTheStoreIsBack(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	env.OnActivity(a.TryDeliver, mock.Anything, mock.Anything).Return(result(notify.Counts{Total: 1, Sent: 1}), nil).Once()
	tries := 0
	env.OnActivity(a.Finish, mock.Anything, mock.Anything).Return(func(ctx context.Context, f activities.Finish) (notify.Progress, error) {
		if tries++; tries < 10 {
			return notify.Progress{}, errors.New("the store is away")
		}
		return recorded(ctx, f)
	})

	env.ExecuteWorkflow(workflows.Notification, input(1))

	require.Equal(t, notify.StatusDone, progressOf(t, env).Status)
	require.Equal(t, 10, tries)
}
