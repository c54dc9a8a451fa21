package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
	"github.com/belfry-notify/belfry/internal/schedule"
)

var now = time.Date(2026, time.January, 10, 12, 0, 30, 0, time.UTC)

func of(d schedule.Definition) *schedule.Schedule {
	if d.TimeZone == "" {
		d.TimeZone = "UTC"
	}
	return &schedule.Schedule{Name: "report", Version: 3, CreatedAt: now.Add(-90 * time.Minute), Definition: d}
}

// planned are the instants of a plan's calendars.
func planned(plan *schedule.Plan) []time.Time {
	in := func(ranges []recurrence.Range, n int) bool {
		for _, r := range ranges {
			if r.Start <= n && n <= r.End {
				return true
			}
		}
		return false
	}
	var times []time.Time
	for at := now.Add(-48 * time.Hour).Truncate(time.Minute); at.Before(now.AddDate(60, 0, 0)); at = at.Add(time.Hour) {
		for _, c := range plan.Calendars {
			if c.Year == at.Year() && in(c.Months, int(at.Month())) && in(c.Days, at.Day()) && in(c.Hours, at.Hour()) && in(c.Minutes, 0) {
				times = append(times, at)
				break
			}
		}
	}
	return times
}

func TestAPlanHoldsUntilItIsHalfUsedUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		is      schedule.Definition
		planned int       // instants
		until   time.Time // the first one left out
		holds   time.Time // until then
	}{
		{"daily", schedule.Definition{Cron: "0 9 * * *"}, 180, time.Date(2026, time.July, 10, 9, 0, 0, 0, time.UTC), time.Date(2026, time.April, 11, 9, 0, 0, 0, time.UTC)},
		{"yearly", schedule.Definition{Cron: "@yearly"}, 10, time.Date(2037, time.January, 1, 0, 0, 0, 0, time.UTC), time.Date(2032, time.January, 1, 0, 0, 0, 0, time.UTC)},
		{"on leap days", schedule.Definition{Cron: "0 0 29 2 *"}, 10, time.Date(2068, time.February, 29, 0, 0, 0, 0, time.UTC), time.Date(2048, time.February, 29, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := of(test.is)
			plan, err := s.Plan(now)
			require.NoError(t, err)
			require.Equal(t, 3, plan.Version)
			require.Equal(t, test.until, *plan.Until)
			expected, err := s.RunsBetween(now, test.until, 1000)
			require.NoError(t, err)
			require.Len(t, expected, test.planned)
			require.Equal(t, expected, planned(plan))
			for at, holds := range map[time.Time]bool{now: true, test.holds.Add(-time.Second): true, test.holds: false} {
				is, err := s.Holds(3, plan.Until, at)
				require.NoError(t, err)
				require.Equal(t, holds, is, "at %s", at)
			}
			is, err := s.Holds(2, plan.Until, now)
			require.NoError(t, err)
			require.False(t, is, "of the version before")
		})
	}
}

func TestAPlanThatEndsOrIsAPeriodHoldsForEver(t *testing.T) {
	t.Parallel()
	end := now.Add(24 * time.Hour)
	plan, err := of(schedule.Definition{Cron: "0 * * * *", EndAt: &end}).Plan(now)
	require.NoError(t, err)
	require.Nil(t, plan.Until)
	require.Len(t, planned(plan), 25, "with that of half a minute ago")

	s := of(schedule.Definition{Every: 100 * time.Minute})
	plan, err = s.Plan(now)
	require.NoError(t, err)
	require.Nil(t, plan.Until)
	require.Equal(t, 100*time.Minute, plan.Every)
	require.Empty(t, plan.Calendars)
	next, err := s.NextRuns(now, 2)
	require.NoError(t, err)
	require.Equal(t, []time.Time{now.Add(10 * time.Minute), now.Add(110 * time.Minute)}, next, "counted from creation")
	require.Zero(t, (next[0].Sub(time.Unix(0, 0))-plan.Offset)%plan.Every)

	start := now.Add(time.Hour)
	next, err = of(schedule.Definition{Every: 100 * time.Minute, StartAt: &start}).NextRuns(now, 2)
	require.NoError(t, err)
	require.Equal(t, []time.Time{start, start.Add(100 * time.Minute)}, next, "counted from its start")
}

func TestARunThatJitterHoldsBackStaysPlanned(t *testing.T) {
	t.Parallel()
	plan, err := of(schedule.Definition{Cron: "0 * * * *", Jitter: 2 * time.Hour}).Plan(now)
	require.NoError(t, err)
	require.Equal(t, now.Truncate(time.Hour).Add(-2*time.Hour), planned(plan)[0])
}

func TestANoteIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	s := of(schedule.Definition{Cron: "0 9 * * 1-5", TimeZone: "Europe/Berlin"})
	until := now.Truncate(time.Hour)
	require.Equal(t, "0 9 * * 1-5 in Europe/Berlin (version 3, planned until 2026-01-10T12:00:00Z)", s.Note(&until))
	version, read, ok := schedule.ParseNote(s.Note(&until))
	require.True(t, ok)
	require.Equal(t, 3, version)
	require.Equal(t, &until, read)

	s = of(schedule.Definition{Every: 90 * time.Minute})
	require.Equal(t, "every 1h30m (version 3)", s.Note(nil))
	version, read, ok = schedule.ParseNote(s.Note(nil))
	require.True(t, ok)
	require.Equal(t, 3, version)
	require.Nil(t, read)

	s = of(schedule.Definition{Calendar: &recurrence.Calendar{Hour: &recurrence.Range{Start: 9, End: 12}, Minute: &recurrence.Range{}}})
	require.Equal(t, "{\"hour\":\"9-12\",\"minute\":0} in UTC (version 3)", s.Note(nil)) //nolint:testifylint // it is not JSON
	for _, other := range []string{"", "Paused via UI", "(version x)", "(version 3, planned until 2026)"} {
		_, _, ok = schedule.ParseNote(other)
		require.False(t, ok, other)
	}
}

func TestARunHasOneNotification(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	require.Equal(t, schedule.NotificationID("report", now), schedule.NotificationID("report", now.In(berlin)))
	require.NotEqual(t, schedule.NotificationID("report", now), schedule.NotificationID("report", now.Add(time.Millisecond)))
	require.NotEqual(t, schedule.NotificationID("report", now), schedule.NotificationID("other", now))
	require.Equal(t, "report/2026-01-10T12:00:30Z", schedule.Started("report", now, now).ID)
	failed := schedule.Failed("report", now, now, &notify.Error{Code: notify.CodeTemplateNotFound, Detail: "there is no template"})
	require.Equal(t, schedule.RunReason("template_not_found"), failed.Reason)
	require.NotEqual(t, schedule.Started("report", now, now).ID, failed.ID, "so that it can be made up for")
}

func TestShort(t *testing.T) {
	t.Parallel()
	for text, short := range map[string]string{"0s": "0s", "90s": "1m30s", "20m": "20m", "24h": "24h", "1h30m": "1h30m", "1h1s": "1h0m1s"} {
		d, err := time.ParseDuration(text)
		require.NoError(t, err)
		require.Equal(t, short, schedule.Short(d))
	}
}
