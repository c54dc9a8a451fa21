package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
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

// watch follows a notification to its end. Accepted says that the server has
// just accepted it: then it is there, even if it does not show it yet.
func (s server) watch(ctx context.Context, env *environment, c *apiClient, id string, accepted bool) (shownNotification, error) {
	mends := func(err error) bool { return isTransient(err) || accepted && isRefused(err, http.StatusNotFound) }
	p := s.progress(env)
	defer p.clear()
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		got, err := c.insist(ctx, mends, func() (answer, error) { return c.notification(ctx, id) })
		if err != nil {
			return shownNotification{}, goesOn(err, mends, id)
		}
		n, err := decodeNotification(got)
		if err != nil || n.is.Status.Ended() {
			return n, err
		}
		accepted = false // seen
		p.show(n.is)
		select {
		case <-ctx.Done():
			return n, goesOn(context.Cause(ctx), mends, id)
		case <-time.After(pause):
		}
	}
}

// goesOn says how to look again, where it is only the watching that has ended.
func goesOn(err error, mends func(error) bool, id string) error {
	if !mends(err) && !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w\nonly the watching ends; to look again: belfry status --watch %s", err, id)
}

// progress shows how far a notification has come: in one line of a terminal,
// else in a plain line now and then, which JSON goes without.
type progress struct {
	env   *environment
	plain bool
	next  time.Time // of the next plain line
}

func (s server) progress(env *environment) *progress {
	return &progress{env: env, plain: !env.live && !s.asJSON(), next: time.Now().Add(plainProgress)}
}

func (p *progress) show(n notification) {
	switch {
	case p.env.live:
		fmt.Fprint(p.env.err, overwrite+printableLine(n.outcome()))
	case p.plain && !time.Now().Before(p.next):
		fmt.Fprintln(p.env.err, printableLine(n.outcome()))
		p.next = time.Now().Add(plainProgress)
	}
}

func (p *progress) clear() {
	if p.env.live {
		fmt.Fprint(p.env.err, overwrite)
	}
}
