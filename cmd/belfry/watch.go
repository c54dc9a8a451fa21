package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A notification that runs is looked at often in the beginning, as most end
// soon, and later once a second: the server's counts are that old too.
const (
	firstLook = 100 * time.Millisecond
	lastLook  = time.Second
)

// plainProgress is how often there is a line of progress where it cannot be
// written over.
const plainProgress = 10 * time.Second

// look reads a notification. It insists. Accepted says that the server has just
// accepted it: then it is there, even if it does not show it yet.
func (c *apiClient) look(ctx context.Context, id string, accepted bool) (shownNotification, error) {
	mends := func(err error) bool { return isTransient(err) || accepted && isRefused(err, http.StatusNotFound) }
	got, err := c.insist(ctx, mends, func() (answer, error) { return c.notification(ctx, id) })
	if err != nil {
		return shownNotification{}, goesOn(err, mends, id)
	}
	return decodeNotification(got)
}

// watch follows a notification to its end. Accepted is as look has it.
func (s server) watch(ctx context.Context, env *environment, c *apiClient, id string, accepted bool) (shownNotification, error) {
	p := s.progress(env)
	var pace speed
	defer p.clear()
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		n, err := c.look(ctx, id, accepted)
		if err != nil || n.is.Status.Ended() {
			return n, err
		}
		accepted = false // seen
		p.show(n.is.standing(&pace, time.Now()))
		select {
		case <-ctx.Done():
			return n, goesOn(context.Cause(ctx), isTransient, id)
		case <-time.After(pause):
		}
	}
}

// goesOn says how to look again, where it is only the watching that has ended.
func goesOn(err error, mends func(error) bool, id string) error {
	if !mends(err) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w\nonly the watching ends; to look again: belfry status --watch %[2]s\nto hold it back: belfry pause %[2]s; to stop it: belfry cancel %[2]s", err, id)
}

// standing is how a notification stands, in a line. Of one that is being sent
// it says how fast that goes and how long it will take.
func (n notification) standing(pace *speed, now time.Time) string {
	if n.Status != notify.StatusSending {
		*pace = speed{} // it does not go on while it is paused
		return n.outcome()
	}
	c := n.Counts
	text := fmt.Sprintf("%s: %d of %d sent, %d failed", n.Status, c.Sent+c.Delivered, c.Total, c.Failed)
	if c.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", c.Skipped)
	}
	if c.Unknown > 0 {
		text += fmt.Sprintf(", %d unknown", c.Unknown)
	}
	if perSecond := pace.at(now, int64(c.Total-c.Queued)); perSecond > 0 {
		text += fmt.Sprintf(", %.*f/s, %s left", decimals(perSecond), perSecond, remaining(int64(c.Queued), perSecond))
	}
	return text
}

// progress shows how far something has come: in one line of a terminal, else in
// a plain line now and then, which JSON goes without.
type progress struct {
	env   *environment
	plain bool
	next  time.Time // of the next plain line
}

func (s server) progress(env *environment) *progress {
	return &progress{env: env, plain: !env.live && !s.asJSON(), next: time.Now().Add(plainProgress)}
}

func (p *progress) show(line string) {
	switch {
	case p.env.live:
		fmt.Fprint(p.env.err, overwrite+noWrap+printableLine(line)+wrap)
	case p.plain && !time.Now().Before(p.next):
		fmt.Fprintln(p.env.err, printableLine(line))
		p.next = time.Now().Add(plainProgress)
	}
}

func (p *progress) clear() {
	if p.env.live {
		fmt.Fprint(p.env.err, overwrite)
	}
}
