package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
	"github.com/belfry-notify/belfry/internal/schedule"
	"github.com/belfry-notify/belfry/workflows"
)

// A timetable is a schedule as GET shows it.
type timetable struct {
	Name       string      `json:"name"`
	Paused     bool        `json:"paused"`
	NextRuns   []time.Time `json:"next_runs"`
	RecentRuns []struct {
		ScheduledAt    time.Time `json:"scheduled_at"`
		Status         string    `json:"status"`
		NotificationID string    `json:"notification_id"`
		Reason         string    `json:"reason"`
	} `json:"recent_runs"`
}

// recurring is a schedule's definition with more fields.
func recurring(name, domain string, more map[string]any) map[string]any {
	body := map[string]any{"name": name, "time_zone": "UTC", "notification": map[string]any{
		"template": "welcome", "to": to("u%d", domain, 1), "data": map[string]any{"film": name},
	}}
	maps.Copy(body, more)
	return body
}

func (b *belfry) schedule(body map[string]any) timetable {
	b.t.Helper()
	var s timetable
	b.do(http.MethodPost, "/v1/schedules", http.StatusCreated, body, &s)
	return s
}

func (b *belfry) timetable(name string) timetable {
	b.t.Helper()
	var s timetable
	b.do(http.MethodGet, "/v1/schedules/"+name, http.StatusOK, nil, &s)
	return s
}

// runs waits until a schedule has so many recent runs.
func (b *belfry) runs(name string, n int) timetable {
	b.t.Helper()
	var s timetable
	b.eventually("runs of "+name, func() bool {
		s = b.timetable(name)
		return len(s.RecentRuns) >= n
	})
	require.Len(b.t, s.RecentRuns, n)
	return s
}

// soon is a start that a schedule made before it has not missed, for one that
// runs at its start.
func soon() string { return time.Now().Add(8 * time.Second).UTC().Format(time.RFC3339) }

// changes are the next n moments at which the clocks of a zone change.
func changes(t *testing.T, zone string, n int) []time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	var found []time.Time
	for at := time.Now().Add(48 * time.Hour); len(found) < n; {
		_, end := at.In(location).ZoneBounds()
		require.False(t, end.IsZero(), "%s changes no more", zone)
		found, at = append(found, end.UTC()), end
	}
	return found
}

func TestTemporalPlansWhatBelfrySaysOverChangeDays(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	temporal := dialTemporal(t, b.variables["TEMPORAL_NAMESPACE"])
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"} {
		for season, change := range changes(t, zone, 2) {
			// At these times of the day, some zone skips or repeats one.
			for kind, cron := range map[string]string{"fixed": "15,30 0-3 * * *", "pace": "*/15 * * * *"} {
				name := strings.ToLower(strings.ReplaceAll(zone, "/", "-")) + "-" + kind + []string{"-next", "-after"}[season]
				start, end := change.Add(-75*time.Minute), change.Add(30*time.Hour)
				b.schedule(recurring(name, "example.com", map[string]any{"cron": cron, "time_zone": zone, "start_at": start, "end_at": end}))
				rule, err := recurrence.Compile(recurrence.Rule{Cron: cron, Zone: zone, StartAt: &start, EndAt: &end})
				require.NoError(t, err)
				expected := slices.Collect(rule.From(start))
				require.Greater(t, len(expected), 10)

				b.eventually("Temporal's plan of "+name, func() bool { // a fresh namespace takes a moment
					described, err := temporal.ScheduleClient().GetHandle(t.Context(), workflows.ScheduleID(name)).Describe(t.Context())
					return err == nil && slices.EqualFunc(described.Info.NextActionTimes, expected[:10], time.Time.Equal)
				})
				matching, err := temporal.WorkflowService().ListScheduleMatchingTimes(t.Context(), &workflowservice.ListScheduleMatchingTimesRequest{
					Namespace: b.variables["TEMPORAL_NAMESPACE"], ScheduleId: workflows.ScheduleID(name),
					StartTime: timestamppb.New(time.Now()), EndTime: timestamppb.New(end.Add(48 * time.Hour)),
				})
				require.NoError(t, err)
				var planned []time.Time
				for _, at := range matching.StartTime {
					planned = append(planned, at.AsTime())
				}
				require.GreaterOrEqual(t, len(planned), 10) // more than that of the next half a year only
				require.Equal(t, expected[:len(planned)], planned, name)
				require.Equal(t, expected[:5], b.timetable(name).NextRuns)
			}
		}
	}
}

func TestABackfillOverChangeDays(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain := newDomain()
	b.schedule(recurring("night", domain, map[string]any{"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "overlap": "skip"}))
	var expected []time.Time
	for _, text := range []string{
		"2025-03-28T01:30:00Z", "2025-03-29T01:30:00Z", "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z", // 02:30 does not exist on the 30th
		"2025-10-25T00:30:00Z", "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z", // 02:30 exists twice on the 26th
	} {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		expected = append(expected, at)
	}
	for range 2 { // done again it does nothing
		for period, runs := range map[[2]string]int{{"2025-03-28T00:00:00Z", "2025-04-01T00:00:00Z"}: 4, {"2025-10-25T00:00:00Z", "2025-10-27T01:30:01Z"}: 3} {
			var answer struct{ Runs int }
			b.do(http.MethodPost, "/v1/schedules/night/backfill", http.StatusAccepted, map[string]any{"from": period[0], "to": period[1]}, &answer)
			require.Equal(t, runs, answer.Runs)
		}
		shown := b.runs("night", len(expected))
		for i, at := range expected {
			run := shown.RecentRuns[len(expected)-1-i]
			require.Equal(t, at, run.ScheduledAt)
			require.Equal(t, "started", run.Status)
			require.Equal(t, schedule.NotificationID("night", at), run.NotificationID)
			require.Equal(t, notify.StatusDone, b.wait(run.NotificationID).Status)
		}
	}
	require.Len(t, mails(t, domain), len(expected))
	var all list[standing]
	b.do(http.MethodGet, "/v1/notifications", http.StatusOK, nil, &all)
	require.Len(t, all.Items, len(expected))
}

func TestASchedulePausesAndGoesOn(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain, start := newDomain(), soon()
	changed := func(name, how string) {
		b.eventually("Temporal takes a change", func() bool {
			return b.status(http.MethodPost, "/v1/schedules/"+name+"/"+how, nil) == http.StatusOK
		})
	}
	for _, name := range []string{"paused", "unpaused"} {
		b.schedule(recurring(name, domain, map[string]any{"every": "1m", "start_at": start}))
		var s timetable
		changed(name, "pause")
		b.do(http.MethodPost, "/v1/schedules/"+name+"/pause", http.StatusOK, nil, &s) // again: the same answer
		require.True(t, s.Paused)
		require.Len(t, s.NextRuns, 5)
	}
	changed("unpaused", "unpause")
	due, err := time.Parse(time.RFC3339, start)
	require.NoError(t, err)

	run := b.runs("unpaused", 1).RecentRuns[0]
	require.True(t, run.ScheduledAt.Equal(due) || run.ScheduledAt.Equal(due.Add(time.Minute)), "%s", run.ScheduledAt)
	require.Equal(t, schedule.NotificationID("unpaused", run.ScheduledAt), run.NotificationID)
	require.Equal(t, notify.Counts{Total: 1, Sent: 1}, b.wait(run.NotificationID).Counts)
	require.Empty(t, b.timetable("paused").RecentRuns)
	require.Len(t, mails(t, domain), 1)
}

func TestATemplateThatIsGoneFailsTheRunOnly(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	domain, start := newDomain(), soon()
	b.schedule(recurring("orphan", domain, map[string]any{"every": "1m", "start_at": start}))
	b.do(http.MethodDelete, "/v1/templates/welcome", http.StatusNoContent, nil, nil)
	run := b.runs("orphan", 1).RecentRuns[0]
	require.Equal(t, "failed", run.Status)
	require.Equal(t, string(notify.CodeTemplateNotFound), run.Reason)
	require.Empty(t, run.NotificationID)
	var problem struct{ Code notify.Code }
	b.do(http.MethodPost, "/v1/schedules/orphan/trigger", http.StatusNotFound, nil, &problem)
	require.Equal(t, notify.CodeTemplateNotFound, problem.Code)

	var again notify.Template
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, welcome, &again)
	require.Equal(t, 2, again.Version)
	var triggered struct {
		NotificationID string `json:"notification_id"`
	}
	b.do(http.MethodPost, "/v1/schedules/orphan/trigger", http.StatusAccepted, nil, &triggered)
	require.Equal(t, again.Ref(), *b.wait(triggered.NotificationID).Template)
	backfill := map[string]any{"from": run.ScheduledAt, "to": run.ScheduledAt.Add(time.Second)}
	b.eventually("that second is over", func() bool {
		return b.status(http.MethodPost, "/v1/schedules/orphan/backfill", backfill) == http.StatusAccepted
	})
	b.eventually("the failed run is made up for", func() bool {
		runs := b.timetable("orphan").RecentRuns
		return runs[len(runs)-1].Status == "started"
	})
	require.NotEmpty(t, b.timetable("orphan").NextRuns)
}

func TestOverlapSkips(t *testing.T) {
	t.Parallel()
	b := newBelfry(t).with("BELFRY_IDP_ADDR", freeAddr(t)) // nobody is there: what needs it does not end
	b.run("all")
	b.eventually("up", func() bool { return b.status(http.MethodPost, "/v1/templates", welcome) == http.StatusCreated })
	definition := recurring("busy", "", map[string]any{"every": "1m", "overlap": "skip", "start_at": soon()})
	definition["notification"].(map[string]any)["to"] = []map[string]any{{"user_id": ann}}
	b.schedule(definition)
	b.do(http.MethodPost, "/v1/schedules/busy/trigger", http.StatusAccepted, nil, nil)

	runs := b.runs("busy", 2).RecentRuns
	require.Equal(t, []string{"skipped", "overlap"}, []string{runs[0].Status, runs[0].Reason})
	require.Equal(t, "started", runs[1].Status)
}

func TestTemporalIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	b := newBelfry(t).with("BELFRY_SWEEP_INTERVAL", "1s")
	proxy := b.before("TEMPORAL_ADDRESS")
	b.run("all")
	b.ready()
	handle := dialTemporal(t, b.variables["TEMPORAL_NAMESPACE"]).ScheduleClient().GetHandle(t.Context(), workflows.ScheduleID("daily"))
	describe := func() *client.ScheduleDescription {
		described, err := handle.Describe(t.Context())
		if err != nil {
			return nil
		}
		return described
	}
	definition := recurring("daily", "example.com", map[string]any{"cron": "@daily"})

	proxy.cut()
	began := time.Now()
	response := b.do(http.MethodPost, "/v1/schedules", http.StatusServiceUnavailable, definition, nil)
	require.Less(t, time.Since(began), 5*time.Second+busy)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	proxy.restore()
	b.eventually("the same call succeeds", func() bool { return b.status(http.MethodPost, "/v1/schedules", definition) == http.StatusCreated })
	b.do(http.MethodPost, "/v1/schedules", http.StatusConflict, recurring("daily", "example.com", map[string]any{"cron": "@hourly"}), nil)
	b.eventually("Temporal has it", func() bool { return describe() != nil })
	require.Contains(t, describe().Schedule.State.Note, "@daily in UTC (version 1, planned until ")

	require.NoError(t, handle.Delete(t.Context()))
	b.eventually("it is made again", func() bool { return describe() != nil })

	proxy.cut()
	b.do(http.MethodPost, "/v1/schedules/daily/pause", http.StatusServiceUnavailable, nil, nil)
	require.True(t, b.timetable("daily").Paused, "what is stored is the truth")
	proxy.restore()
	b.eventually("it is paused", func() bool { return describe().Schedule.State.Paused })

	proxy.cut()
	b.do(http.MethodDelete, "/v1/schedules/daily", http.StatusNoContent, nil, nil)
	b.do(http.MethodGet, "/v1/schedules/daily", http.StatusNotFound, nil, nil)
	proxy.restore()
	b.eventually("it is gone", func() bool { return describe() == nil })
}
