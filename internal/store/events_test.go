package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// sentDelivery stores a delivery that was sent under a claim.
func sentDelivery(t *testing.T, s *store.Store, notificationID string, claim int) *notify.Delivery {
	t.Helper()
	sent := now()
	d := &notify.Delivery{
		ID: uuid.NewString(), NotificationID: notificationID, Channel: notify.ChannelEmail, Provider: "sendgrid",
		Address: "ann@example.com", State: notify.StateSent, Attempts: []notify.Attempt{{At: sent, Provider: "sendgrid"}},
		CreatedAt: sent, SentAt: &sent, Claim: claim,
	}
	require.NoError(t, s.InsertDelivery(t.Context(), d))
	return d
}

func event(d *notify.Delivery, kind notify.EventKind, at time.Time, id string) *notify.Event {
	return &notify.Event{
		ID: notify.EventID(d.ID, id), DeliveryID: d.ID, NotificationID: d.NotificationID,
		Provider: "sendgrid", Kind: kind, At: at.Truncate(time.Second), Detail: id,
	}
}

func TestAnEventIsKeptOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	d, other := sentDelivery(t, s, "n", 1), sentDelivery(t, s, "n", 1)
	e := event(d, notify.EventDelivered, now(), "x")
	require.NoError(t, s.InsertEvent(t.Context(), e))
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertEvent(t.Context(), e)))
	require.NoError(t, s.InsertEvent(t.Context(), event(other, notify.EventDelivered, now(), "x")))
	events, err := s.EventsOf(t.Context(), d.ID)
	require.NoError(t, err)
	require.Equal(t, []notify.Event{*e}, events)
}

func TestADeliveryLearnsWhateverComesWhenever(t *testing.T) {
	t.Parallel()
	s := open(t)
	d := sentDelivery(t, s, "n", 1)
	const reporters = 8
	var group sync.WaitGroup
	for i := range reporters {
		group.Go(func() {
			kind := notify.EventDelivered
			if i == 0 {
				kind = notify.EventBounced
			}
			err := s.InsertEvent(t.Context(), event(d, kind, now().Add(time.Duration(i)*time.Second), fmt.Sprint(i)))
			if err == nil {
				_, err = s.Learn(t.Context(), d.ID)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	learnt, err := s.Delivery(t.Context(), d.ID)
	require.NoError(t, err)
	require.Equal(t, notify.StateFailed, learnt.State)
	require.Equal(t, notify.ReasonRejected, learnt.Reason)
	require.Len(t, learnt.Attempts, 2)
	require.Equal(t, d.SentAt, learnt.SentAt)
	require.Equal(t, 1, learnt.Claim)
}

func TestAnUnrecordedDeliveryLearnsNothingYet(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, err := s.Learn(t.Context(), uuid.NewString())
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
}

func TestABounceIsForgottenWhenTheDeliveryIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	for _, own := range [][]notify.Claim{{{Number: 1}}, nil} { // nil: the first claim was its chunk's
		reopened := now()
		d := sentDelivery(t, s, "n", 1)
		for i := range own {
			own[i].ID, own[i].DeliveryID = notify.ClaimID(d.ID, i+1), d.ID
			require.NoError(t, s.InsertClaim(ctx, &own[i]))
		}
		require.NoError(t, s.InsertEvent(ctx, event(d, notify.EventBounced, reopened.Add(-time.Minute), "bounce")))
		failed, err := s.Learn(ctx, d.ID)
		require.NoError(t, err)
		require.Equal(t, notify.StateFailed, failed.State)

		require.NoError(t, s.InsertClaim(ctx, notify.Reopen(failed, own, 2, "token", reopened)))
		_, err = s.Learn(ctx, d.ID)
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err), "it is being tried again")

		require.NoError(t, s.InsertClaim(ctx, &notify.Claim{ID: notify.ClaimID(d.ID, len(own)+2), DeliveryID: d.ID, Number: 3, Reopened: 2}))
		again := *failed
		again.State, again.Reason, again.Claim = notify.StateSent, "", 3
		require.NoError(t, s.ReplaceDelivery(ctx, &again))
		learnt, err := s.Learn(ctx, d.ID)
		require.NoError(t, err)
		require.Equal(t, notify.StateSent, learnt.State, "the bounce was the first message's")

		require.NoError(t, s.InsertEvent(ctx, event(d, notify.EventDelivered, reopened.Add(time.Second), "delivered")))
		learnt, err = s.Learn(ctx, d.ID)
		require.NoError(t, err)
		require.Equal(t, notify.StateDelivered, learnt.State)
		require.Equal(t, failed.Attempts, learnt.Attempts, "which shows among the attempts")
	}
}

func TestRecountFollowsTheDeliveries(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	r := record(now())
	r.Status, r.Counts = notify.StatusSending, notify.Counts{Total: 1}
	require.NoError(t, s.InsertNotification(ctx, r))
	d := sentDelivery(t, s, r.ID, 1)
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.Recount(ctx, r.ID)), "it runs")
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.Recount(ctx, uuid.NewString())))

	ended := now()
	for _, test := range []struct {
		before   notify.Status
		delivery notify.State
		after    notify.Status
		counts   notify.Counts
	}{
		{notify.StatusDone, notify.StateSent, notify.StatusDone, notify.Counts{Total: 1, Sent: 1}},
		{notify.StatusDone, notify.StateDelivered, notify.StatusDone, notify.Counts{Total: 1, Delivered: 1}},
		{notify.StatusDone, notify.StateFailed, notify.StatusFailed, notify.Counts{Total: 1, Failed: 1}},
		{notify.StatusFailed, notify.StateSent, notify.StatusDone, notify.Counts{Total: 1, Sent: 1}},
		{notify.StatusCancelled, notify.StateFailed, notify.StatusCancelled, notify.Counts{Total: 1, Failed: 1}},
	} {
		require.NoError(t, s.UpdateProgress(ctx, r.ID, notify.Progress{Status: test.before, Counts: notify.Counts{Total: 1, Unknown: 1}, FinishedAt: &ended}))
		d.State = test.delivery
		require.NoError(t, s.ReplaceDelivery(ctx, d))
		require.NoError(t, s.Recount(ctx, r.ID))
		kept, err := s.Notification(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, notify.Progress{Status: test.after, Counts: test.counts, FinishedAt: &ended}, kept.Progress)
	}
}
