package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
	"github.com/belfry-notify/belfry/internal/schedule"
)

func daily(name string) *schedule.Schedule {
	start := now()
	return &schedule.Schedule{Name: name, CreatedAt: now(), Definition: schedule.Definition{
		Calendar: &recurrence.Calendar{Hour: &recurrence.Range{Start: 9, End: 17}, Minute: &recurrence.Range{Start: 30, End: 30}},
		TimeZone: "Europe/Berlin", StartAt: &start, Jitter: time.Second, CatchupWindow: time.Hour, Overlap: schedule.OverlapSkip,
		Notification: notify.Request{
			Template: "welcome@2", To: []notify.Recipient{{Email: "ann@example.com"}}, Data: `{"n":1.10,"a.b":"$"}`, Metadata: `{"a":"b"}`,
		},
	}}
}

func TestSchedulesAreKeptAsTheyWereDefined(t *testing.T) {
	t.Parallel()
	s, ctx := open(t), t.Context()
	defined := daily("report")
	require.NoError(t, s.CreateSchedule(ctx, defined))
	require.Equal(t, 1, defined.Version)
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.CreateSchedule(ctx, daily("report"))))
	kept, err := s.Schedule(ctx, "report")
	require.NoError(t, err)
	require.True(t, defined.Same(kept.Definition), "%+v", kept)
	require.Nil(t, kept.Notification.Channels, "which stands for the default")
	require.Equal(t, defined.CreatedAt, kept.CreatedAt.UTC())

	unchanged, err := s.ChangeSchedule(ctx, "report", func(*schedule.Schedule) bool { return false })
	require.NoError(t, err)
	require.Equal(t, 1, unchanged.Version)
	paused, err := s.ChangeSchedule(ctx, "report", func(s *schedule.Schedule) bool {
		s.Paused = true
		return true
	})
	require.NoError(t, err)
	require.Equal(t, 2, paused.Version)
	kept, err = s.Schedule(ctx, "report")
	require.NoError(t, err)
	require.True(t, kept.Paused)
	require.False(t, unchanged.Paused, "a version never changes")
}

func TestADeletedScheduleGoesOnCountingVersions(t *testing.T) {
	t.Parallel()
	s, ctx := open(t), t.Context()
	for _, name := range []string{"b", "a", "deleted"} {
		require.NoError(t, s.CreateSchedule(ctx, daily(name)))
	}
	require.NoError(t, s.DeleteSchedule(ctx, "deleted", now()))
	for name, is := range map[string]bool{"deleted": true, "a": false, "never": false} {
		deleted, err := s.ScheduleDeleted(ctx, name)
		require.NoError(t, err)
		require.Equal(t, is, deleted, name)
	}
	for _, missing := range []string{"deleted", "never"} {
		_, err := s.Schedule(ctx, missing)
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
		_, err = s.ChangeSchedule(ctx, missing, func(*schedule.Schedule) bool { return true })
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.DeleteSchedule(ctx, missing, now())))
	}
	listed, err := s.ListSchedules(ctx, "", 10)
	require.NoError(t, err)
	require.Len(t, listed, 2)
	require.Equal(t, "a", listed[0].Name)
	again := daily("deleted")
	require.NoError(t, s.CreateSchedule(ctx, again))
	require.Equal(t, 2, again.Version)
}

func TestNoChangeOfAScheduleIsLost(t *testing.T) {
	t.Parallel()
	s := open(t)
	require.NoError(t, s.CreateSchedule(t.Context(), daily("busy")))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			_, err := s.ChangeSchedule(t.Context(), "busy", func(s *schedule.Schedule) bool {
				s.Notification.Tags = append([]string{fmt.Sprint(i)}, s.Notification.Tags...)
				return true
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	newest, err := s.Schedule(t.Context(), "busy")
	require.NoError(t, err)
	require.Equal(t, 9, newest.Version)
	require.Len(t, newest.Notification.Tags, 8, "each was made of the one before")
}

func TestRunsAreListedOnceEach(t *testing.T) {
	t.Parallel()
	s, ctx := open(t), t.Context()
	at := func(minute int) time.Time { return time.Date(2026, time.January, 1, 0, minute, 0, 0, time.UTC) }
	last, err := s.LastStartedRun(ctx, "report", at(60))
	require.NoError(t, err)
	require.Nil(t, last)
	for _, r := range []*schedule.Run{
		schedule.Started("report", at(1), now()),
		schedule.Skipped("report", at(2), now(), schedule.ReasonOverlap),
		schedule.Started("report", at(2), now()), // by a backfill
		schedule.Failed("report", at(3), now(), &notify.Error{Code: notify.CodeTemplateNotFound}),
		schedule.Started("other", at(4), now()),
	} {
		require.NoError(t, s.InsertRun(ctx, r))
		require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertRun(ctx, r)))
		kept, err := s.Run(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, r.NotificationID, kept.NotificationID)
	}
	newestFirst := []schedule.RunStatus{schedule.RunFailed, schedule.RunStarted, schedule.RunStarted}
	for limit, expected := range map[int][]schedule.RunStatus{10: newestFirst, 2: newestFirst[:2]} {
		runs, err := s.LastRuns(ctx, "report", limit)
		require.NoError(t, err)
		statuses := make([]schedule.RunStatus, len(runs))
		for i, r := range runs {
			statuses[i] = r.Status
		}
		require.Equal(t, expected, statuses)
	}
	last, err = s.LastStartedRun(ctx, "report", at(60))
	require.NoError(t, err)
	require.Equal(t, at(2), last.ScheduledAt.UTC())
}
