package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// told remembers states and statuses that it was told.
type told struct {
	away   error
	states []string
}

func (o *told) Deliveries(_ context.Context, deliveries []*notify.Delivery) error {
	for _, d := range deliveries {
		o.states = append(o.states, string(d.State))
	}
	return o.away
}

func (o *told) Notification(_ context.Context, r *notify.Record) error {
	o.states = append(o.states, "notification "+string(r.Status))
	return o.away
}

// What is learnt after the end is told once, before it is written: where it
// cannot be told it is not written either, and comes again.
func TestWhatIsLearntIsTold(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	outcomes := &told{away: errors.New("away")}
	s.TellOutcomes(outcomes)
	r := record(now())
	ended := now()
	require.NoError(t, s.InsertNotification(ctx, r))
	require.NoError(t, s.UpdateProgress(ctx, r.ID, notify.Progress{Status: notify.StatusDone, Counts: notify.Counts{Total: 1, Sent: 1}, FinishedAt: &ended}))
	d := sentDelivery(t, s, r.ID, 1)
	require.NoError(t, s.InsertEvent(ctx, event(d, notify.EventBounced, time.Now(), "bounce")))

	_, err := s.Learn(ctx, d.ID)
	require.ErrorIs(t, err, outcomes.away)
	kept, err := s.Delivery(ctx, d.ID)
	require.NoError(t, err)
	require.Equal(t, notify.StateSent, kept.State)

	outcomes.away = nil
	for range 2 {
		_, err = s.Learn(ctx, d.ID)
		require.NoError(t, err)
		require.NoError(t, s.Recount(ctx, r.ID))
	}
	require.Equal(t, []string{"failed", "failed", "notification failed"}, outcomes.states)
}
