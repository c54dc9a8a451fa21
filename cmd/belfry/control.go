package main

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// ofNotification is what all commands take that do something about one.
type ofNotification struct {
	server
	ID string `arg:"" help:"Id of the notification."`
}

type cancelCommand struct{ ofNotification }

// Run stops what is unsent.
func (c *cancelCommand) Run(ctx context.Context, env *environment) error {
	return c.control(ctx, env, "cancel", nil)
}

type pauseCommand struct{ ofNotification }

// Run holds back what is not begun.
func (c *pauseCommand) Run(ctx context.Context, env *environment) error {
	return c.control(ctx, env, "pause", nil)
}

type resumeCommand struct{ ofNotification }

// Run goes on after a pause.
func (c *resumeCommand) Run(ctx context.Context, env *environment) error {
	return c.control(ctx, env, "resume", nil)
}

type rescheduleCommand struct {
	ofNotification
	SendAt time.Time     `help:"When it is to go out, such as 2026-12-01T09:00:00Z." placeholder:"TIME" xor:"when" required:"" format:"2006-01-02T15:04:05Z07:00"`
	Delay  time.Duration `help:"After how long from now it is to go out, such as 90m." placeholder:"DURATION" xor:"when" required:""`
}

// Run moves the time at which a notification is to go out.
func (c *rescheduleCommand) Run(ctx context.Context, env *environment) error {
	at := c.SendAt
	if at.IsZero() {
		at = time.Now().Add(c.Delay)
	}
	return c.control(ctx, env, "reschedule", struct {
		SendAt time.Time `json:"send_at"`
	}{at.UTC()})
}

// control has something done about the notification and shows it. All of it may
// be asked for again, and is while the server is away.
func (o *ofNotification) control(ctx context.Context, env *environment, what string, body any) error {
	client, err := o.client(env)
	if err != nil {
		return err
	}
	got, err := client.insist(ctx, isTransient, func() (answer, error) {
		return client.ask(ctx, http.MethodPost, "/v1/notifications/"+url.PathEscape(o.ID)+"/"+what, nil, body)
	})
	if err != nil {
		return err
	}
	n, err := decodeNotification(got)
	if err != nil {
		return err
	}
	return o.printNotification(env, n, n.is.about(), nil)
}
