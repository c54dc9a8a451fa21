package activities

import (
	"context"
	"slices"
	"sync"

	"go.temporal.io/sdk/activity"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Outcomes tells other programs how deliveries and notifications ended. When it
// answers nil they are told, or will be.
//
// An end is told after it is recorded and before whatever keeps it from being
// looked at again: the end of a chunk's claims, of an activity, of the workflow.
// So one whose worker dies in between is told by whoever finds it, and some are
// told twice.
type Outcomes interface {
	Deliveries(ctx context.Context, deliveries []*notify.Delivery) error
	Notification(ctx context.Context, r *notify.Record) error
}

// told are deliveries whose ends an activity has told, in this attempt or in
// those before. A nil one forgets.
type told struct {
	mu  sync.Mutex
	ids []string
}

// newTold has what earlier attempts at an activity have told: they keep it in
// their heartbeats, the last of which Temporal has when an attempt fails.
func newTold(ctx context.Context) *told {
	t := &told{}
	if activity.IsActivity(ctx) && activity.HasHeartbeatDetails(ctx) {
		if activity.GetHeartbeatDetails(ctx, &t.ids) != nil {
			t.ids = nil // told again, then
		}
	}
	return t
}

func (t *told) all() []string {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.ids)
}

// tell tells how deliveries ended.
func (a *Activities) tell(ctx context.Context, ended []*notify.Delivery) error {
	if a.Outcomes == nil || len(ended) == 0 {
		return nil
	}
	return a.persist(ctx, func(ctx context.Context) error { return a.Outcomes.Deliveries(ctx, ended) })
}

// tellOnce tells how deliveries ended of which an activity has not told yet.
func (a *Activities) tellOnce(ctx context.Context, t *told, ended []*notify.Delivery) error {
	before := t.all()
	fresh := slices.DeleteFunc(slices.Clone(ended), func(d *notify.Delivery) bool { return slices.Contains(before, d.ID) })
	if err := a.tell(ctx, fresh); err != nil || t == nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range fresh {
		t.ids = append(t.ids, d.ID)
	}
	return nil
}

// tellEnd tells how a notification ended.
func (a *Activities) tellEnd(ctx context.Context, id string, end notify.Progress) error {
	if a.Outcomes == nil {
		return nil
	}
	n, err := a.Store.Accepted(ctx, id)
	if err != nil {
		return err
	}
	return a.persist(ctx, func(ctx context.Context) error {
		return a.Outcomes.Notification(ctx, &notify.Record{Notification: *n, Progress: end})
	})
}
