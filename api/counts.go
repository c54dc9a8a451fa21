package api

import (
	"context"
	"maps"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// countsFresh is how old the counts of a notification that runs may be. Those
// who wait for it may ask as often as they like.
const countsFresh = 500 * time.Millisecond

// maxRunning is of how many notifications counts are remembered.
const maxRunning = 1000

// runningCounts counts the deliveries of notifications that run.
type runningCounts struct {
	now  func() time.Time
	seen *lru.Cache[string, counted]
}

type counted struct {
	at     time.Time
	counts notify.Counts
}

func newRunningCounts(now func() time.Time) (*runningCounts, error) {
	seen, err := lru.New[string, counted](maxRunning)
	return &runningCounts{now: now, seen: seen}, err
}

// counts are those of the records that run, by id: what has not ended is
// queued.
func (c *runningCounts) counts(ctx context.Context, from *store.Store, records []notify.Record) (map[string]notify.Counts, error) {
	now := c.now()
	running := map[string]notify.Counts{}
	var stale, bulk []string
	for _, r := range records {
		if r.Status.Ended() || r.Status == notify.StatusScheduled { // nothing has been tried
			continue
		}
		if last, ok := c.seen.Get(r.ID); ok && now.Sub(last.at) < countsFresh {
			running[r.ID] = last.counts
		} else if r.Audience != nil {
			bulk = append(bulk, r.ID)
		} else {
			stale = append(stale, r.ID)
		}
	}
	ended := map[string]notify.Counts{}
	for _, ask := range []struct {
		ids   []string
		count func(context.Context, []string) (map[string]notify.Counts, error)
	}{{stale, from.CountEndedOf}, {bulk, from.CountPages}} {
		if ask.ids == nil {
			continue
		}
		counts, err := ask.count(ctx, ask.ids)
		if err != nil {
			return nil, err
		}
		maps.Copy(ended, counts)
	}
	for _, r := range records {
		if _, known := running[r.ID]; known || !slices.Contains(stale, r.ID) && !slices.Contains(bulk, r.ID) {
			continue
		}
		counts, begun := ended[r.ID]
		if r.Audience != nil && !begun { // not begun, or its end has come between
			now, err := from.Notification(ctx, r.ID)
			if err != nil {
				return nil, err
			}
			if now.Status.Ended() {
				running[r.ID] = now.Counts
				continue
			}
		}
		counts.Queued, counts.Total = r.Counts.Total-counts.Total, r.Counts.Total
		c.seen.Add(r.ID, counted{at: now, counts: counts})
		running[r.ID] = counts
	}
	return running, nil
}
