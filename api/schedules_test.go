package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
)

// planner stands in for Temporal's schedules. The end-to-end tests have the
// real ones.
type planner struct {
	mu       sync.Mutex
	err      error
	ensured  []string
	run      *schedule.Run
	backfill []time.Time
}

func (p *planner) Ensure(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.ensured = append(p.ensured, name)
	}
	return p.err
}

func (p *planner) Trigger(context.Context, string, time.Time) (*schedule.Run, error) {
	return p.run, p.err
}

func (p *planner) Backfill(_ context.Context, _ *schedule.Schedule, times []time.Time) error {
	p.backfill = times
	return p.err
}

// today is when these tests take place, a second before a schedule runs.
var today = time.Date(2026, time.March, 28, 8, 0, 0, 0, time.UTC)

func newScheduleServer(t *testing.T) (*server, *planner) {
	t.Helper()
	p := &planner{}
	s := newServer(t).again(func(cfg *api.Config) {
		cfg.Schedules = p
		cfg.Now = func() time.Time { return today }
	})
	welcome(s)
	return s, p
}

// weekly is a good definition, with more or other fields.
func weekly(more object) object {
	body := object{
		"name": "weekly", "cron": "0 9 * * 1-5", "time_zone": "Europe/Berlin",
		"notification": object{"template": "welcome", "to": to("ann@example.com"), "data": object{"film": "x"}},
	}
	maps.Copy(body, more)
	maps.DeleteFunc(body, func(_ string, value any) bool { return value == nil })
	return body
}

func TestBadSchedulesAreRefusedWithTheField(t *testing.T) {
	t.Parallel()
	s, p := newScheduleServer(t)
	notification := func(more object) object {
		n := object{"template": "welcome", "to": to("ann@example.com")}
		maps.Copy(n, more)
		return object{"notification": n}
	}
	for name, test := range map[string]struct {
		more object
		at   string
	}{
		"unknown zone":             {object{"time_zone": "Europe/Bonn"}, "body.time_zone"},
		"no zone":                  {object{"time_zone": ""}, "body.time_zone"},
		"this machine's zone":      {object{"time_zone": "Local"}, "body.time_zone"},
		"impossible cron":          {object{"cron": "0 0 31 2 *"}, "body.cron"},
		"six fields":               {object{"cron": "0 0 0 31 2 *"}, "body.cron"},
		"none":                     {object{"cron": nil}, "body.cron"},
		"cron and every":           {object{"every": "1h"}, "body.every"},
		"cron and calendar":        {object{"calendar": object{"hour": 9, "minute": 0}}, "body.calendar"},
		"an empty calendar":        {object{"cron": nil, "calendar": object{}}, "body.calendar.hour"},
		"hour 24":                  {object{"cron": nil, "calendar": object{"hour": 24, "minute": 0}}, "body.calendar.hour"},
		"backwards":                {object{"cron": nil, "calendar": object{"hour": 9, "minute": "5-1"}}, "body.calendar.minute"},
		"a year":                   {object{"cron": nil, "calendar": object{"hour": 9, "minute": 0, "year": 2027}}, "body.calendar.year"},
		"impossible calendar":      {object{"cron": nil, "calendar": object{"month": 2, "day_of_month": 30, "hour": 9, "minute": 0}}, "body.calendar"},
		"59 s":                     {object{"cron": nil, "every": "59s"}, "body.every"},
		"0 s":                      {object{"cron": nil, "every": "0s"}, "body.every"},
		"half seconds":             {object{"cron": nil, "every": "61.5s"}, "body.every"},
		"no duration":              {object{"cron": nil, "every": "daily"}, "body.every"},
		"start after 2100":         {object{"start_at": "2150-01-01T00:00:00Z"}, "body.start_at"},
		"end before start":         {object{"start_at": "2026-04-02T00:00:00Z", "end_at": "2026-04-01T00:00:00Z"}, "body.end_at"},
		"too much jitter":          {object{"jitter": "25h"}, "body.jitter"},
		"negative jitter":          {object{"jitter": "-1s"}, "body.jitter"},
		"a catch-up window of 1 s": {object{"catchup_window": "1s"}, "body.catchup_window"},
		"one of 31 days":           {object{"catchup_window": "744h"}, "body.catchup_window"},
		"unknown overlap":          {object{"overlap": "cancel"}, "body.overlap"},
		"send_at":                  {notification(object{"send_at": "2026-12-01T00:00:00Z"}), "body.notification.send_at"},
		"delay":                    {notification(object{"delay": "1h"}), "body.notification.delay"},
		"a bad address":            {notification(object{"to": to("ann")}), "body.notification.to[0].email"},
		"no recipients":            {notification(object{"to": []any{}}), "body.notification.to"},
		"unknown provider":         {notification(object{"provider": "pigeon"}), "body.notification.provider"},
		"it expired":               {notification(object{"expires_at": "2026-01-01T00:00:00Z"}), "body.notification.expires_at"},
		"unknown field":            {object{"paused": true}, "body.paused"},
		"bad name":                 {object{"name": "Weekly"}, "body.name"},
	} {
		refused := s.refused(http.MethodPost, "/v1/schedules", http.StatusUnprocessableEntity, weekly(test.more))
		require.Contains(t, refused.locations(), test.at, name)
	}
	all := weekly(object{
		"cron": "0 0 31 2 *", "time_zone": "x", "jitter": "y", "start_at": "2026-04-02T00:00:00Z", "end_at": "2026-04-01T00:00:00Z",
		"notification": object{"template": "welcome", "to": to("ann"), "delay": "1h"},
	})
	require.ElementsMatch(t, []string{"body.cron", "body.time_zone", "body.jitter", "body.end_at", "body.notification.to[0].email", "body.notification.delay"},
		s.refused(http.MethodPost, "/v1/schedules", http.StatusUnprocessableEntity, all).locations())
	all["name"] = nil
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	require.Len(t, s.refused(http.MethodPut, "/v1/schedules/weekly", http.StatusUnprocessableEntity, all).locations(), 6, "of a PUT too")
	gone := s.refused(http.MethodPost, "/v1/schedules", http.StatusNotFound, weekly(notification(object{"template": "gone"})))
	require.Equal(t, string(notify.CodeTemplateNotFound), gone.Code)
	require.Empty(t, p.ensured)
	require.Empty(t, get[listed](s, http.MethodGet, "/v1/schedules", http.StatusOK, nil).Items)
}

type listed struct {
	Items      []object `json:"items"`
	NextCursor string   `json:"next_cursor"`
}

const weeklyAsShown = `{"name":"weekly","cron":"0 9 * * 1-5","time_zone":"Europe/Berlin","start_at":"2026-03-27T00:00:00Z","jitter":"30s",
	"catchup_window":"1h","overlap":"allow_all","paused":false,
	"notification":{"template":"welcome","to":[{"email":"ann@example.com"}],"data":{"film":"x"}},
	"next_runs":["2026-03-30T07:00:00Z","2026-03-31T07:00:00Z","2026-04-01T07:00:00Z","2026-04-02T07:00:00Z","2026-04-03T07:00:00Z"],
	"recent_runs":[]}`

func TestASchedule(t *testing.T) {
	t.Parallel()
	s, p := newScheduleServer(t)
	definition := weekly(object{"start_at": "2026-03-27T01:00:00.9+01:00", "jitter": "30s"})
	response, text := s.ask(http.MethodPost, "/v1/schedules", definition)
	require.Equal(t, http.StatusCreated, response.StatusCode, "%s", text)
	require.Equal(t, "/v1/schedules/weekly", response.Header.Get("Location"))
	require.JSONEq(t, weeklyAsShown, string(text))
	_, text = s.ask(http.MethodGet, "/v1/schedules/weekly", nil)
	require.JSONEq(t, weeklyAsShown, string(text))
	require.Equal(t, []string{"weekly"}, p.ensured)

	for i := range 12 {
		run := schedule.Started("weekly", today.Add(-time.Duration(i)*time.Hour), today)
		if i == 1 {
			run = schedule.Failed("weekly", run.ScheduledAt, today, &notify.Error{Code: notify.CodeTemplateNotFound, Detail: "gone"})
		}
		require.NoError(t, s.store.InsertRun(t.Context(), run))
	}
	shown := get[struct {
		RecentRuns []object `json:"recent_runs"`
	}](s, http.MethodGet, "/v1/schedules/weekly", http.StatusOK, nil)
	require.Len(t, shown.RecentRuns, 10)
	require.Equal(t, object{"scheduled_at": "2026-03-28T08:00:00Z", "status": "started", "notification_id": schedule.NotificationID("weekly", today)}, shown.RecentRuns[0])
	require.Equal(t, object{"scheduled_at": "2026-03-28T07:00:00Z", "status": "failed", "reason": "template_not_found", "detail": "gone"}, shown.RecentRuns[1])

	paused := get[object](s, http.MethodPost, "/v1/schedules/weekly/pause", http.StatusOK, nil)
	require.Equal(t, true, paused["paused"])
	other := weekly(object{"name": nil, "cron": nil, "calendar": object{"hour": "9-10", "minute": 30}, "overlap": "skip", "end_at": "2026-03-29T08:30:00Z"})
	changed := get[object](s, http.MethodPut, "/v1/schedules/weekly", http.StatusOK, other)
	require.Equal(t, true, changed["paused"], "a definition does not say that")
	require.Equal(t, object{"hour": "9-10", "minute": 30.}, changed["calendar"])
	require.Equal(t, []any{"2026-03-28T08:30:00Z", "2026-03-28T09:30:00Z", "2026-03-29T07:30:00Z", "2026-03-29T08:30:00Z"}, changed["next_runs"])
	require.NotContains(t, changed, "cron")
	require.NotContains(t, changed, "jitter")
	require.Equal(t, false, get[object](s, http.MethodPost, "/v1/schedules/weekly/unpause", http.StatusOK, nil)["paused"])

	s.ask(http.MethodDelete, "/v1/schedules/weekly", nil)
	for _, missing := range []string{"GET ", "PUT ", "DELETE ", "POST /pause", "POST /unpause", "POST /trigger", "POST /backfill"} {
		method, action, _ := strings.Cut(missing, " ")
		var body any
		switch {
		case method == http.MethodPut:
			body = other
		case action == "/backfill":
			body = object{"from": today.Add(-time.Hour), "to": today}
		}
		require.Equal(t, "not_found", s.refused(method, "/v1/schedules/weekly"+action, http.StatusNotFound, body).Code, missing)
	}
}

func TestSchedulesAreListedByName(t *testing.T) {
	t.Parallel()
	s, _ := newScheduleServer(t)
	for _, name := range []string{"c", "a", "b"} {
		get[object](s, http.MethodPost, "/v1/schedules", http.StatusCreated, weekly(object{"name": name}))
	}
	first := get[listed](s, http.MethodGet, "/v1/schedules?limit=2", http.StatusOK, nil)
	rest := get[listed](s, http.MethodGet, "/v1/schedules?limit=2&cursor="+first.NextCursor, http.StatusOK, nil)
	names := ""
	for _, item := range append(first.Items, rest.Items...) {
		names += fmt.Sprint(item["name"])
	}
	require.Equal(t, "abc", names)
	require.Empty(t, rest.NextCursor)
}

func TestTheSameCallAgainDoesWhatWasLeftUndone(t *testing.T) {
	t.Parallel()
	s, p := newScheduleServer(t)
	away := &notify.Error{Code: notify.CodeUnavailable, Err: context.DeadlineExceeded}
	other := weekly(object{"cron": "@daily"})
	redefined := weekly(object{"name": nil, "cron": "@hourly"})
	for _, call := range []struct {
		method, path string
		body         any
		status       int
	}{
		{http.MethodPost, "", weekly(nil), http.StatusCreated},
		{http.MethodPost, "/weekly/pause", nil, http.StatusOK},
		{http.MethodPut, "/weekly", redefined, http.StatusOK},
		{http.MethodPost, "/weekly/unpause", nil, http.StatusOK},
	} {
		p.err, p.ensured = away, nil
		s.refused(call.method, "/v1/schedules"+call.path, http.StatusServiceUnavailable, call.body)
		before, err := s.store.Schedule(t.Context(), "weekly")
		require.NoError(t, err)
		p.err = nil
		for range 2 {
			get[object](s, call.method, "/v1/schedules"+call.path, call.status, call.body)
		}
		require.Equal(t, []string{"weekly", "weekly"}, p.ensured)
		after, err := s.store.Schedule(t.Context(), "weekly")
		require.NoError(t, err)
		require.Equal(t, before.Version, after.Version)
		require.Equal(t, "conflict", s.refused(http.MethodPost, "/v1/schedules", http.StatusConflict, other).Code)
	}
	p.err = away // deleted is what is stored as such
	response, _ := s.ask(http.MethodDelete, "/v1/schedules/weekly", nil)
	require.Equal(t, http.StatusNoContent, response.StatusCode)
	s.refused(http.MethodGet, "/v1/schedules/weekly", http.StatusNotFound, nil)
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	s, p := newScheduleServer(t)
	get[object](s, http.MethodPost, "/v1/schedules", http.StatusCreated, weekly(nil))
	const path = "/v1/schedules/weekly/trigger"
	id := schedule.NotificationID("weekly", today)
	for _, run := range []*schedule.Run{nil, schedule.Started("weekly", today, today)} {
		p.run = run
		require.Equal(t, object{"notification_id": id}, get[object](s, http.MethodPost, path, http.StatusAccepted, nil))
	}
	p.run = schedule.Failed("weekly", today, today, &notify.Error{Code: notify.CodeTemplateNotFound, Detail: "there is no template"})
	require.Equal(t, "template_not_found", s.refused(http.MethodPost, path, http.StatusNotFound, nil).Code)
	p.run = schedule.Skipped("weekly", today, today, schedule.ReasonDeleted)
	require.Equal(t, "not_found", s.refused(http.MethodPost, path, http.StatusNotFound, nil).Code)
	p.err = &notify.Error{Code: notify.CodeUnavailable}
	s.refused(http.MethodPost, path, http.StatusServiceUnavailable, nil)
}

func TestBackfill(t *testing.T) {
	t.Parallel()
	s, p := newScheduleServer(t)
	get[object](s, http.MethodPost, "/v1/schedules", http.StatusCreated, weekly(object{"cron": "* * * * *", "time_zone": "UTC"}))
	backfill := func(from, to time.Duration) object { return object{"from": today.Add(-from), "to": today.Add(-to)} }
	const path = "/v1/schedules/weekly/backfill"
	for name, test := range map[string]struct {
		body object
		runs int
	}{
		"with its first moment, without its last": {backfill(2*time.Hour, time.Hour), 60},
		"as many as may be":                       {backfill(1000*time.Minute, 0), 1000},
		"none":                                    {backfill(time.Minute-time.Second, time.Second), 0},
	} {
		p.backfill = nil
		require.Equal(t, object{"runs": float64(test.runs)}, get[object](s, http.MethodPost, path, http.StatusAccepted, test.body), name)
		require.Len(t, p.backfill, test.runs, name)
		if test.runs > 0 {
			text, err := json.Marshal(test.body["from"])
			require.NoError(t, err)
			require.Contains(t, string(text), p.backfill[0].Format(time.RFC3339), name)
		}
	}
	p.backfill = nil
	for name, test := range map[string]struct {
		body object
		at   string
	}{
		"one too many":  {backfill(1001*time.Minute, 0), "body.to"},
		"nothing":       {backfill(time.Hour, time.Hour), "body.from"},
		"backwards":     {backfill(time.Hour, 2*time.Hour), "body.from"},
		"in the future": {backfill(time.Hour, -time.Second), "body.to"},
	} {
		refused := s.refused(http.MethodPost, path, http.StatusUnprocessableEntity, test.body)
		require.Equal(t, []string{test.at}, refused.locations(), name)
	}
	require.Empty(t, p.backfill)
}
