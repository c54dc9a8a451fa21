package main

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

type cancelCommand struct {
	server
	ID string `arg:"" help:"Id of the notification."`
}

// Run stops what is unsent.
func (c *cancelCommand) Run(ctx context.Context, env *environment) error {
	return c.control(ctx, env, c.ID, "cancel", nil)
}

type pauseCommand struct {
	server
	ID string `arg:"" help:"Id of the notification."`
}

// Run holds back what is not begun.
func (c *pauseCommand) Run(ctx context.Context, env *environment) error {
	return c.control(ctx, env, c.ID, "pause", nil)
}

type resumeCommand struct {
	server
	ID string `arg:"" help:"Id of the notification."`
}

// Run goes on after a pause.
func (c *resumeCommand) Run(ctx context.Context, env *environment) error {
	return c.control(ctx, env, c.ID, "resume", nil)
}

type rescheduleCommand struct {
	server
	ID     string        `arg:"" help:"Id of the notification."`
	SendAt time.Time     `help:"When it is to go out, such as 2026-12-01T09:00:00Z." placeholder:"TIME" xor:"when" required:"" format:"2006-01-02T15:04:05Z07:00"`
	Delay  time.Duration `help:"After how long from now it is to go out, such as 90m." placeholder:"DURATION" xor:"when" required:""`
}

// Run moves the time at which a notification is to go out.
func (c *rescheduleCommand) Run(ctx context.Context, env *environment) error {
	at := c.SendAt
	if at.IsZero() {
		at = time.Now().Add(c.Delay)
	}
	return c.control(ctx, env, c.ID, "reschedule", struct {
		SendAt time.Time `json:"send_at"`
	}{at.UTC()})
}

// control has something done about a notification and shows it. All of it may
// be asked for again, and is while the server is away.
func (s *server) control(ctx context.Context, env *environment, id, what string, body any) error {
	client, err := s.client(env)
	if err != nil {
		return err
	}
	got, err := client.insist(ctx, isTransient, func() (answer, error) {
		return client.ask(ctx, http.MethodPost, "/v1/notifications/"+url.PathEscape(id)+"/"+what, nil, body)
	})
	if err != nil {
		return err
	}
	n, err := decodeNotification(got)
	if err != nil {
		return err
	}
	return s.printNotification(env, n, n.is.about(), nil)
}
