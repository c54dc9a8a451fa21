package workflows_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
	"github.com/belfry-notify/belfry/workflows"
)

var r *activities.Runs

var night = time.Date(2026, time.March, 29, 1, 0, 0, 0, time.UTC)

func newRunEnvironment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	env := newEnvironment(t)
	env.RegisterActivity(r)
	return env
}

func TestARunIsOfTheTimeThatTemporalSays(t *testing.T) {
	t.Parallel()
	env := newRunEnvironment(t)
	began := env.Now()
	scheduled := temporal.NewSearchAttributeKeyTime("TemporalScheduledStartTime")
	require.NoError(t, env.SetTypedSearchAttributesOnStart(temporal.NewSearchAttributes(scheduled.ValueSet(night))))
	tries := 0
	env.OnActivity(r.MakeRun, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.RunRequest) (*schedule.Run, error) {
		require.Equal(t, activities.RunRequest{Schedule: "report", ScheduledAt: night}, in)
		if tries++; tries < 8 {
			return nil, errors.New("the store is away")
		}
		return schedule.Started("report", night, night), nil
	})

	env.ExecuteWorkflow(workflows.ScheduledRun, workflows.ScheduledRunInput{Schedule: "report", Version: 3})

	require.NoError(t, env.GetWorkflowError())
	var run schedule.Run
	require.NoError(t, env.GetWorkflowResult(&run))
	require.Equal(t, schedule.NotificationID("report", night), run.NotificationID)
	require.Equal(t, 123*time.Second, env.Now().Sub(began).Truncate(time.Second)) // 1 + 2 + 4 + ... + 32 + 60
}

func TestARunByHandHasATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	env := newRunEnvironment(t)
	env.OnActivity(r.MakeRun, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.RunRequest) (*schedule.Run, error) {
		require.True(t, in.ByHand)
		require.Equal(t, night, in.ScheduledAt)
		return schedule.Failed("report", night, night, &notify.Error{Code: notify.CodeTemplateNotFound}), nil
	}).Once()

	env.ExecuteWorkflow(workflows.ScheduledRun, workflows.ScheduledRunInput{Schedule: "report", ScheduledAt: &night})

	require.NoError(t, env.GetWorkflowError(), "a run that failed is recorded as such")
}

func TestARunWithoutATimeFails(t *testing.T) {
	t.Parallel()
	env := newRunEnvironment(t)
	env.ExecuteWorkflow(workflows.ScheduledRun, workflows.ScheduledRunInput{Schedule: "report"})
	require.ErrorContains(t, env.GetWorkflowError(), "was not started by a schedule")
}

func TestABackfillMakesItsRunsSomeAtATime(t *testing.T) {
	t.Parallel()
	env := newRunEnvironment(t)
	in := workflows.BackfillInput{Schedule: "report"}
	for i := range 100 {
		in.Times = append(in.Times, night.Add(time.Duration(i)*time.Minute))
	}
	var made, busy, most atomic.Int32
	env.OnActivity(r.MakeRun, mock.Anything, mock.Anything).Return(func(_ context.Context, in activities.RunRequest) (*schedule.Run, error) {
		most.Store(max(most.Load(), busy.Add(1)))
		defer busy.Add(-1)
		require.True(t, in.ByHand)
		if made.Add(1)%10 == 0 {
			return schedule.Failed("report", in.ScheduledAt, night, &notify.Error{Code: notify.CodeTemplateNotFound}), nil
		}
		return schedule.Started("report", in.ScheduledAt, night), nil
	}).Times(100)

	env.ExecuteWorkflow(workflows.Backfill, in)

	require.NoError(t, env.GetWorkflowError())
	var result string
	require.NoError(t, env.GetWorkflowResult(&result))
	require.Equal(t, "90 of 100 runs have a notification", result)
	require.LessOrEqual(t, most.Load(), int32(20))
}
