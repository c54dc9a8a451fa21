package stream

import (
	"context"
	"slices"
	"time"

	"github.com/belfry-notify/belfry/internal/store"
)

// How many users are looked at together, and how many items at most: where there
// are more, each is looked at alone.
const (
	lookUsers = 100
	lookItems = 5000
)

// Run compares the sockets with what is stored, now and then, so that they get
// what nobody could tell them, until ctx ends.
func (s *Stream) Run(ctx context.Context) {
	ticker := time.NewTicker(s.LookEvery)
	defer ticker.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := s.lookAtAll(ctx)
		if err != nil && !away && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "inboxes cannot be looked at: sockets learn of what they were not told when they can", "error", err)
		}
		away = err != nil
	}
}

// lookAtAll looks at all sockets that do not catch up anyway, those of some
// users at a time.
func (s *Stream) lookAtAll(ctx context.Context) error {
	byUser := map[string][]*connection{}
	for _, c := range s.open(true) {
		if !c.isLooking() {
			byUser[c.userID] = append(byUser[c.userID], c)
		}
	}
	users := make([]string, 0, len(byUser))
	for userID := range byUser {
		users = append(users, userID)
	}
	for some := range slices.Chunk(users, lookUsers) {
		if err := s.lookAt(ctx, some, byUser); err != nil {
			return err
		}
	}
	return nil
}

// lookAt has those sockets of users catch up that lack something.
func (s *Stream) lookAt(ctx context.Context, users []string, byUser map[string][]*connection) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	began := s.Now()
	since := began
	for _, userID := range users {
		for _, c := range byUser[userID] {
			if at := c.lookedAt().Add(-margin); at.Before(since) {
				since = at
			}
		}
	}
	stored, err := s.Store.StoredSince(ctx, users, since, lookItems)
	if err != nil {
		return err
	}
	byOwner := map[string][]store.Stored{}
	for _, item := range stored {
		byOwner[item.UserID] = append(byOwner[item.UserID], item)
	}
	for _, userID := range users {
		for _, c := range byUser[userID] {
			if len(stored) == lookItems || !c.hasAll(byOwner[userID], began) {
				c.lookAgain() //nolint:contextcheck // in the time of the connection
			}
		}
	}
	return nil
}

func (c *connection) isLooking() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looking
}

func (c *connection) lookedAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looked
}

// hasAll says whether all of the items were sent that a look found. Then there
// is nothing else that could be seen when it began.
func (c *connection) hasAll(stored []store.Stored, began time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, item := range stored {
		if !item.At.Before(c.looked.Add(-margin)) && !c.sent.Contains(item.ID) {
			return false
		}
	}
	if !c.looking && began.After(c.looked) {
		c.looked = began
	}
	return true
}
