package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type scheduleCommand struct {
	Create  scheduleCreateCommand  `cmd:"" help:"Create a schedule, from flags or a file."`
	List    scheduleListCommand    `cmd:"" help:"List the schedules, and when each runs next."`
	Show    scheduleShowCommand    `cmd:"" help:"Show a schedule, its next runs and its last ones."`
	Pause   schedulePauseCommand   `cmd:"" help:"Leave out the runs of a schedule until it is unpaused."`
	Unpause scheduleUnpauseCommand `cmd:"" help:"Go on with a schedule."`
	Trigger scheduleTriggerCommand `cmd:"" help:"Run a schedule now, besides its own times."`
	Delete  scheduleDeleteCommand  `cmd:"" help:"Delete a schedule."`
}

// timetable is a schedule as the server shows it.
type timetable struct {
	Name         string          `json:"name"`
	Cron         string          `json:"cron"`
	Every        string          `json:"every"`
	Calendar     json.RawMessage `json:"calendar"`
	TimeZone     string          `json:"time_zone"`
	StartAt      time.Time       `json:"start_at"`
	EndAt        time.Time       `json:"end_at"`
	Jitter       string          `json:"jitter"`
	Catchup      string          `json:"catchup_window"`
	Overlap      string          `json:"overlap"`
	Paused       bool            `json:"paused"`
	NextRuns     []time.Time     `json:"next_runs"`
	RecentRuns   []recentRun     `json:"recent_runs"`
	Notification struct {
		Template string            `json:"template"`
		To       []json.RawMessage `json:"to"`
	} `json:"notification"`
}

type recentRun struct {
	ScheduledAt    time.Time `json:"scheduled_at"`
	Status         string    `json:"status"`
	NotificationID string    `json:"notification_id"`
	Reason         string    `json:"reason"`
	Detail         string    `json:"detail"`
}

func schedulePath(name string) string { return "/v1/schedules/" + url.PathEscape(name) }

// rule says when it runs.
func (t timetable) rule() string {
	switch {
	case t.Every != "":
		return "every " + t.Every
	case t.Cron != "":
		return t.Cron
	}
	return string(t.Calendar)
}

// next is when it runs next, in its own zone where this machine knows that.
func (t timetable) next() string {
	switch {
	case t.Paused:
		return "paused"
	case len(t.NextRuns) == 0:
		return "over"
	}
	return t.local(t.NextRuns[0])
}

func (t timetable) local(at time.Time) string {
	if zone, err := time.LoadLocation(t.TimeZone); err == nil {
		return at.In(zone).Format(time.RFC3339)
	}
	return when(at)
}

// outcome is what became of a run, in a few words.
func (r recentRun) outcome() string {
	if r.Reason == "" {
		return r.Status
	}
	return r.Status + ": " + r.Reason
}

// about is a schedule in full, for a person.
func (t timetable) about() string {
	rows := [][]string{{"schedule", t.Name}, {"runs", t.rule()}, {"time zone", t.TimeZone}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("starts", when(t.StartAt))
	add("ends", when(t.EndAt))
	add("jitter", t.Jitter)
	add("catch-up", t.Catchup)
	add("overlap", t.Overlap)
	add("template", t.Notification.Template)
	if n := len(t.Notification.To); n > 0 {
		add("to", fmt.Sprintf("%d recipients", n))
	}
	if t.Paused {
		add("paused", "yes")
	}
	for i, at := range t.NextRuns {
		add([]string{"next runs", " "}[min(i, 1)], t.local(at))
	}
	text := aligned(rows)
	if len(t.RecentRuns) > 0 {
		table := [][]string{{"SCHEDULED", "OUTCOME", "NOTIFICATION", "NOTE"}}
		for _, r := range t.RecentRuns {
			table = append(table, []string{t.local(r.ScheduledAt), r.outcome(), r.NotificationID, r.Detail})
		}
		text += "\n" + aligned(table)
	}
	return text
}

type scheduleListCommand struct{ server }

// Run lists the schedules.
func (c *scheduleListCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	schedules, err := list[timetable](ctx, client, "/v1/schedules", nil)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printValue(struct {
			Items []shown[timetable] `json:"items"`
		}{schedules})
	}
	if len(schedules) == 0 {
		return nil
	}
	rows := [][]string{{"NAME", "RUNS", "TIME ZONE", "NEXT RUN", "LAST RUN", "OUTCOME"}}
	for _, s := range schedules {
		row := []string{s.is.Name, s.is.rule(), s.is.TimeZone, s.is.next()}
		if len(s.is.RecentRuns) > 0 {
			last := s.is.RecentRuns[0]
			row = append(row, s.is.local(last.ScheduledAt), last.outcome())
		}
		rows = append(rows, row)
	}
	return env.print(aligned(rows))
}

// one has something done about a schedule that may be asked for again, and
// shows what the server answers.
func (s *server) one(ctx context.Context, env *environment, method, path string, body any) error {
	client, err := s.client(env)
	if err != nil {
		return err
	}
	got, err := client.insist(ctx, isTransient, func() (answer, error) { return client.ask(ctx, method, path, nil, body) })
	if err != nil {
		return err
	}
	var t timetable
	if err := got.decode(&t); err != nil {
		return err
	}
	if s.asJSON() {
		return env.printJSON(got.text)
	}
	return env.print(t.about())
}

type scheduleShowCommand struct {
	server
	Name string `arg:"" help:"Name of the schedule."`
}

// Run shows a schedule.
func (c *scheduleShowCommand) Run(ctx context.Context, env *environment) error {
	return c.one(ctx, env, http.MethodGet, schedulePath(c.Name), nil)
}

type schedulePauseCommand struct {
	server
	Name string `arg:"" help:"Name of the schedule."`
}

// Run pauses a schedule.
func (c *schedulePauseCommand) Run(ctx context.Context, env *environment) error {
	return c.one(ctx, env, http.MethodPost, schedulePath(c.Name)+"/pause", nil)
}

type scheduleUnpauseCommand struct {
	server
	Name string `arg:"" help:"Name of the schedule."`
}

// Run goes on with a schedule.
func (c *scheduleUnpauseCommand) Run(ctx context.Context, env *environment) error {
	return c.one(ctx, env, http.MethodPost, schedulePath(c.Name)+"/unpause", nil)
}

type scheduleTriggerCommand struct {
	server
	Name string `arg:"" help:"Name of the schedule."`
}

// Run runs a schedule now. It is asked for once: each time makes another run.
func (c *scheduleTriggerCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	got, err := client.ask(ctx, http.MethodPost, schedulePath(c.Name)+"/trigger", nil, nil)
	if err != nil {
		return err
	}
	var triggered struct {
		NotificationID string `json:"notification_id"`
	}
	if err := got.decode(&triggered); err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	return env.print(printableLine(triggered.NotificationID) + "\n")
}

type scheduleDeleteCommand struct {
	server
	Name string `arg:"" help:"Name of the schedule."`
}

// Run deletes a schedule.
func (c *scheduleDeleteCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	_, err = client.ask(ctx, http.MethodDelete, schedulePath(c.Name), nil, nil)
	return err
}
