package store

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Chores are done soon, one for each id however often it is asked for until
// then, and again until they are done. They are in memory only: who asks for one
// can bear that it is lost with the process.
type chores struct {
	do     func(ctx context.Context, id string) error // an error: to be done again
	pause  time.Duration                              // before a chore is done
	most   time.Duration                              // before it is done again, which doubles from pause
	giveUp time.Duration                              // after which it is not done again
	share  int                                        // the time one took is waited so often before the same is done again
	atOnce int

	mu      sync.Mutex
	all     map[string]*chore
	running bool
	closing bool
	soonest time.Time     // when something is due next, while that is waited for
	woken   chan struct{} // something is due earlier
	ended   chan struct{} // closed when nothing runs
}

// A chore is waiting, or was done and is not to be done again at once.
type chore struct {
	due   time.Time
	asked time.Time     // zero: nobody has, since it was last begun
	delay time.Duration // of the last time that it was put off
}

// ask has a chore done, whatever becomes of ctx.
func (c *chores) ask(ctx context.Context, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	if c.all == nil {
		c.all, c.woken = map[string]*chore{}, make(chan struct{}, 1)
	}
	now := time.Now()
	known := c.all[id]
	if known == nil {
		known = &chore{due: now}
		c.all[id] = known
	}
	if known.asked.IsZero() {
		known.asked, known.delay = now, 0
		if earliest := now.Add(c.pause); known.due.Before(earliest) {
			known.due = earliest
		}
	}
	if !c.running {
		c.running, c.ended = true, make(chan struct{})
		go c.run(context.WithoutCancel(ctx))
	} else if known.due.Before(c.soonest) {
		c.wake()
	}
}

// wake ends the wait, or the next one.
func (c *chores) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// run does what is due until nothing is left.
func (c *chores) run(ctx context.Context) {
	for {
		due, wait := c.next()
		switch {
		case len(due) > 0:
			c.doAll(ctx, due)
		case wait == 0:
			return
		default:
			select {
			case <-time.After(wait):
			case <-c.woken:
			}
		}
	}
}

// next is what is due, or else for how long to wait: 0 when nothing is left.
// Those that were done are forgotten when their time is over.
func (c *chores) next() (due []string, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.soonest = time.Time{}
	for id, known := range c.all {
		switch {
		case known.asked.IsZero() && (c.closing || !known.due.After(now)):
			delete(c.all, id)
		case !known.asked.IsZero() && (c.closing || !known.due.After(now)):
			due = append(due, id)
		case c.soonest.IsZero() || known.due.Before(c.soonest):
			c.soonest = known.due
		}
	}
	if len(due) == 0 && c.soonest.IsZero() {
		c.running = false
		close(c.ended)
		return nil, 0
	}
	return due, max(c.soonest.Sub(now), 1)
}

func (c *chores) doAll(ctx context.Context, ids []string) {
	var group errgroup.Group
	group.SetLimit(c.atOnce)
	for _, id := range ids {
		group.Go(func() error {
			c.doOne(ctx, id)
			return nil
		})
	}
	_ = group.Wait() // no function of the group fails
}

func (c *chores) doOne(ctx context.Context, id string) {
	c.mu.Lock()
	known := c.all[id]
	asked := known.asked
	known.asked = time.Time{}
	c.mu.Unlock()

	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, choreTimeout)
	err := c.do(ctx, id)
	cancel()

	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		known.due, known.delay = now.Add(time.Duration(c.share)*now.Sub(began)), 0
	case c.closing || now.Sub(asked) > c.giveUp:
		known.due = now
	default:
		known.delay = min(max(2*known.delay, c.pause), c.most)
		known.asked, known.due = asked, now.Add(known.delay)
	}
}

// choreTimeout bounds one try.
const choreTimeout = 5 * time.Minute

// close does at once what is left, once, and waits until that is over or ctx
// ends.
func (c *chores) close(ctx context.Context) {
	c.mu.Lock()
	c.closing = true
	running, ended := c.running, c.ended
	c.mu.Unlock()
	if !running {
		return
	}
	c.wake()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
