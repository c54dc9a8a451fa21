package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

type scheduleCreateCommand struct {
	server
	Name          string    `arg:"" optional:"" help:"Name of the schedule; with --file it is in there."`
	File          string    `short:"f" help:"The schedule as JSON, as the API takes it; - reads it from standard input." placeholder:"FILE"`
	Cron          string    `help:"Five fields of cron, such as '0 9 * * 1-5', or @daily and the like." placeholder:"EXPRESSION" xor:"rule"`
	Every         string    `help:"A period of a minute or more, such as 90m." placeholder:"DURATION" xor:"rule"`
	TimeZone      string    `help:"Time zone of the schedule, such as Europe/Berlin." placeholder:"ZONE"`
	StartAt       time.Time `help:"No run comes before, such as 2026-12-01T09:00:00Z." placeholder:"TIME" format:"2006-01-02T15:04:05Z07:00"`
	EndAt         time.Time `help:"No run comes after." placeholder:"TIME" format:"2006-01-02T15:04:05Z07:00"`
	Jitter        string    `help:"By how much at most a run may come late on purpose." placeholder:"DURATION"`
	CatchupWindow string    `help:"How late a run may start that was missed; 1h by default." placeholder:"DURATION"`
	Overlap       string    `help:"What becomes of a run while the one before has not ended: allow_all (the default) or skip." placeholder:"WHAT"`
	Template      string    `help:"Template to send, in its newest version each time." placeholder:"NAME"`
	To            []string  `help:"User id or mail address; may be given many times." placeholder:"WHOM" sep:"none"`
	Data          string    `help:"What the template sees, a JSON object; @FILE reads it from a file, - from standard input." placeholder:"JSON" default:"{}"`
	Channel       []string  `help:"Channel to send over, email by default; may be given many times." placeholder:"NAME"`
	Tag           []string  `help:"Tag to find its notifications by; may be given many times." placeholder:"TAG" sep:"none"`
}

// Validate says what is wrong with the flags together.
func (c *scheduleCreateCommand) Validate() error {
	switch {
	case c.File != "" && (c.Name != "" || c.Cron != "" || c.Every != "" || c.Template != "" || len(c.To) > 0):
		return usagef("--file has all of the schedule: the name and the other flags go without it")
	case c.File != "":
		return nil
	case c.Name == "":
		return usagef("needs a name, or --file")
	case c.Cron == "" && c.Every == "":
		return usagef("needs --cron or --every; --file can have a calendar too")
	case c.TimeZone == "":
		return usagef("needs --time-zone, such as Europe/Berlin or UTC")
	case c.Template == "" || len(c.To) == 0:
		return usagef("needs --template and --to; --file can have free-form content too")
	}
	return nil
}

// scheduleRequest is a schedule as the server takes it.
type scheduleRequest struct {
	Name          string      `json:"name"`
	Cron          string      `json:"cron,omitempty"`
	Every         string      `json:"every,omitempty"`
	TimeZone      string      `json:"time_zone"`
	StartAt       *time.Time  `json:"start_at,omitempty"`
	EndAt         *time.Time  `json:"end_at,omitempty"`
	Jitter        string      `json:"jitter,omitempty"`
	CatchupWindow string      `json:"catchup_window,omitempty"`
	Overlap       string      `json:"overlap,omitempty"`
	Notification  sendRequest `json:"notification"`
}

// Run creates a schedule. Asked for again with the same definition, the server
// answers the same.
func (c *scheduleCreateCommand) Run(ctx context.Context, env *environment) error {
	body, err := c.body(ctx, env)
	if err != nil {
		return err
	}
	return c.one(ctx, env, http.MethodPost, "/v1/schedules", body)
}

func (c *scheduleCreateCommand) body(ctx context.Context, env *environment) (any, error) {
	if c.File != "" {
		return env.readObject(ctx, "--file", fileValue(c.File))
	}
	data, err := env.readObject(ctx, "--data", c.Data)
	if err != nil {
		return nil, err
	}
	return c.request(data), nil
}

func (c *scheduleCreateCommand) request(data json.RawMessage) scheduleRequest {
	return scheduleRequest{
		Name: c.Name, Cron: c.Cron, Every: c.Every, TimeZone: c.TimeZone, StartAt: given(c.StartAt), EndAt: given(c.EndAt),
		Jitter: c.Jitter, CatchupWindow: c.CatchupWindow, Overlap: c.Overlap,
		Notification: sendRequest{Template: c.Template, To: parseRecipients(c.To), Data: data, Channels: c.Channel, Tags: c.Tag},
	}
}

// given is a flag's time, nil where it was not given.
func given(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	utc := at.UTC()
	return &utc
}
