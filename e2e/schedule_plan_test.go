package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/schedule"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/workflows"
)

// A plan that was made long ago is topped up, without a run in between being
// lost or a pause by an operator being undone.
func TestAPlanIsToppedUp(t *testing.T) {
	t.Parallel()
	kept, err := store.Open(mongotest.NewURI(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close(context.WithoutCancel(t.Context()))) })
	temporal := dialTemporal(t, newNamespace(t))
	daily := &schedule.Schedule{Name: "daily", CreatedAt: time.Now(), Definition: schedule.Definition{
		Cron: "0 9 * * *", TimeZone: "Asia/Kathmandu", CatchupWindow: time.Hour, Overlap: schedule.OverlapSkip,
	}}
	require.NoError(t, kept.CreateSchedule(t.Context(), daily))
	ensure := func(ago time.Duration) {
		t.Helper()
		now := func() time.Time { return time.Now().Add(-ago) }
		require.NoError(t, workflows.NewSchedules(temporal, converter.GetDefaultDataConverter(), kept, now).Ensure(t.Context(), "daily"))
	}
	handle := temporal.ScheduleClient().GetHandle(t.Context(), workflows.ScheduleID("daily"))
	var last *client.ScheduleDescription
	plannedUntil := func() time.Time {
		t.Helper()
		eventually(t, func() bool { // a fresh namespace takes a moment
			described, err := handle.Describe(t.Context())
			last = described
			return err == nil
		}, patience, 50*time.Millisecond)
		version, until, ok := schedule.ParseNote(last.Schedule.State.Note)
		require.True(t, ok, last.Schedule.State.Note)
		require.Equal(t, 1, version)
		return *until
	}
	const day = 24 * time.Hour
	ensure(100 * day)
	first := plannedUntil()
	require.WithinDuration(t, time.Now().Add(80*day), first, 2*day)
	ensure(95 * day) // which is too early
	require.Equal(t, first, plannedUntil())

	ensure(0)
	eventually(t, func() bool { return plannedUntil().After(first) }, patience, 50*time.Millisecond)
	require.WithinDuration(t, time.Now().Add(180*day), plannedUntil(), 2*day)
	next, err := daily.NextRuns(time.Now(), 10)
	require.NoError(t, err)
	require.Equal(t, next, last.Info.NextActionTimes)

	require.NoError(t, handle.Pause(t.Context(), client.SchedulePauseOptions{Note: "by an operator"}))
	eventually(t, func() bool {
		described, err := handle.Describe(t.Context())
		return err == nil && described.Schedule.State.Paused
	}, patience, 50*time.Millisecond)
	ensure(0)
	described, err := handle.Describe(t.Context())
	require.NoError(t, err)
	require.True(t, described.Schedule.State.Paused)
}
