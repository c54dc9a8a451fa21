package stream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// MaxMissed is how many items a client gets that it has missed. If there are
// more it gets none of them but a gap, and reads the inbox.
const MaxMissed = 1000

// mostStored is how many items are looked at: those that were sent are among
// them.
const mostStored = MaxMissed + maxRemembered

// itemsPage is how many items are read at a time to be sent: they stay in memory
// until the client has read them.
const itemsPage = 20

// look has the connection compared with what is stored, until nothing comes
// meanwhile. It is to be looking already.
func (c *connection) look() {
	c.group.Go(func() {
		_, err := backoff.Retry(c.gone, func() (struct{}, error) {
			for {
				if err := c.round(); err != nil {
					return struct{}{}, err
				}
				if c.settled() {
					return struct{}{}, nil
				}
			}
		}, backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
			c.stream.Log.Warn("a socket waits for its inbox", "error", err)
		}))
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errEnded) {
			c.stream.Log.Warn("a socket gave up its inbox", "error", err)
		}
	})
}

// lookAgain has the connection compared with what is stored.
func (c *connection) lookAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if c.looking {
		c.again = true
		return
	}
	c.looking = true
	c.look()
}

// settled says whether nothing has come while the connection caught up; then it
// is told again what comes.
func (c *connection) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking = c.again
	c.again = false
	return !c.looking
}

// round sends what is stored and was not sent.
func (c *connection) round() error {
	c.mu.Lock()
	since := c.looked.Add(-margin)
	if c.looked.IsZero() {
		since = c.last.Add(-overlap)
	}
	c.mu.Unlock()
	stored, began, err := c.stored(since)
	if err != nil {
		return err
	}
	missing := c.missing(stored)
	if len(missing) > MaxMissed || len(stored) > mostStored {
		return c.skip()
	}
	if err := c.send(missing, began); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = began
	return nil
}

// stored finds what is stored of the user's since a moment, and when it looked.
func (c *connection) stored(since time.Time) (found []store.Stored, began time.Time, err error) {
	err = c.whenFree(func(ctx context.Context) (err error) {
		began = c.stream.Now()
		found, err = c.stream.Store.StoredSince(ctx, []string{c.userID}, since, mostStored+1)
		return err
	})
	return found, began, err
}

// whenFree reads from the store when it is this connection's turn.
func (c *connection) whenFree(from func(ctx context.Context) error) error {
	select {
	case c.stream.reads <- struct{}{}:
		defer func() { <-c.stream.reads }()
	case <-c.gone.Done():
		return backoff.Permanent(c.gone.Err())
	}
	ctx, cancel := context.WithTimeout(c.gone, storeTimeout)
	defer cancel()
	return from(ctx)
}

// settle takes what is stored for known: it is in the inbox, for the client to
// read.
func (c *connection) settle() error {
	stored, began, err := c.stored(c.stream.Now().Add(-margin))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, item := range stored {
		c.sent.Add(item.ID, struct{}{})
	}
	c.looked = began
	c.last = began
	return nil
}

// skip leaves what was missed to the client.
func (c *connection) skip() error {
	if err := c.settle(); err != nil {
		return err
	}
	return c.put(textOf(gapFrame{"gap", c.position().String()}))
}

func (c *connection) put(t text) error {
	if err := c.out.put(c.gone, t); err != nil {
		return backoff.Permanent(err)
	}
	return nil
}

// missing are those of the stored items that were not sent, in their order.
func (c *connection) missing(stored []store.Stored) []store.Stored {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := slices.DeleteFunc(slices.Clone(stored), func(item store.Stored) bool { return c.sent.Contains(item.ID) })
	slices.SortFunc(missing, func(a, b store.Stored) int { return strings.Compare(a.ID, b.ID) })
	return missing
}

// send sends items, as fast as the client reads. They were found by a look at
// what is stored that began at a moment.
func (c *connection) send(missing []store.Stored, began time.Time) error {
	// Cursors say what the client has, so the earliest item that is yet to be
	// sent holds them back: after it, a client that is cut off goes on there.
	complete := make(map[string]time.Time, len(missing))
	ids := make([]string, len(missing))
	earliest := began.Add(margin)
	for i, item := range slices.Backward(missing) {
		ids[i], complete[item.ID] = item.ID, earliest
		if at := item.At.Add(overlap); at.Before(earliest) {
			earliest = at
		}
	}
	for page := range slices.Chunk(ids, itemsPage) {
		var items []notify.Item
		if err := c.whenFree(func(ctx context.Context) (err error) {
			items, err = c.stream.Store.Items(ctx, page)
			return err
		}); err != nil {
			return err
		}
		for i := range items {
			item, err := gateway.NewItem(&items[i])
			if err != nil {
				return backoff.Permanent(err)
			}
			c.mu.Lock()
			frame := itemText(item, c.cursorFor(item.ID, complete[item.ID]))
			c.remember(item)
			c.mu.Unlock()
			if err := c.put(frame); err != nil {
				return err
			}
		}
	}
	return nil
}
