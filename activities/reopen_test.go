package activities

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestAReopenedDeliveryIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		outcomes []notify.OutcomeKind // one an attempt until it ends
		state    notify.State
		text     string // of what goes out at last
		resent   bool
	}{
		{"one that failed: rendered anew", []notify.OutcomeKind{notify.OutcomePermanent}, notify.StateFailed, "rendering 2", false},
		{"one in doubt: the same text", []notify.OutcomeKind{notify.OutcomeUnknown, notify.OutcomePermanent}, notify.StateUnknown, "rendering 1", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			n := w.notification(notify.Recipient{UserID: "ann"})
			var ended *notify.Delivery
			for i, kind := range test.outcomes {
				w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
					return notify.Outcome{Kind: kind, Reason: notify.ReasonRejected, Detail: "words"}
				}
				ended, _ = w.attempt(t.Context(), n, i > 0)
			}
			require.Equal(t, test.state, ended.State)
			_, last, err := w.claims(t.Context(), ended.ID, nil)
			require.NoError(t, err)
			require.NoError(t, w.Reopen(t.Context(), ended.ID, last.Number+1))

			w.provider.answer = nil
			d, err := w.attempt(t.Context(), n, true)

			require.NoError(t, err)
			require.Equal(t, notify.StateSent, d.State)
			require.Equal(t, test.resent, d.Resent)
			require.Equal(t, test.text, w.provider.sent[len(w.provider.sent)-1].Email.Text)
			require.Len(t, d.Attempts, len(test.outcomes)+1)
			require.Equal(t, *d, w.ledger.deliveries[d.ID])
			again, err := w.attempt(t.Context(), n, true)
			require.NoError(t, err)
			require.Equal(t, d, again)
		})
	}
}

func TestAReopenedDeliveryThatEndedBeforeItCouldBeSent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "newcomer"})
	ended, err := w.attempt(t.Context(), n, false)
	require.NoError(t, err)
	require.Equal(t, notify.ReasonUserNotFound, ended.Reason)
	require.NoError(t, w.Reopen(t.Context(), ended.ID, 2))

	again, err := w.attempt(t.Context(), n, true)
	require.NoError(t, err)
	require.Equal(t, notify.ReasonUserNotFound, again.Reason, "still not known: it has ended again")
	require.Equal(t, 3, again.Claim)
	require.NoError(t, w.Reopen(t.Context(), ended.ID, 4))

	w.Directory = directory{"newcomer": {ID: "newcomer", Email: "new@example.com"}}
	d, err := w.attempt(t.Context(), n, true)
	require.NoError(t, err)
	require.Equal(t, notify.StateSent, d.State)
	require.Equal(t, "new@example.com", d.Address)
}

func TestADoubtThatCameAfterTheEndCountsWhenItIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "ann"})
	w.provider.answer = answering(rejected)
	ended, err := w.attempt(t.Context(), n, false)
	require.NoError(t, err)
	// Somebody took its sender for dead, and then may have sent it or not.
	require.NoError(t, w.ledger.InsertClaim(t.Context(), &notify.Claim{
		ID: notify.ClaimID(ended.ID, 2), DeliveryID: ended.ID, Number: 2, Doubts: 1, Provider: "smtp", At: w.clock.Now(), Deadline: w.clock.Now(),
	}))
	require.NoError(t, w.Reopen(t.Context(), ended.ID, 3))

	w.provider.answer = nil
	d, err := w.attempt(t.Context(), n, true)
	require.NoError(t, err)
	require.Equal(t, notify.StateSent, d.State)
	require.True(t, d.Resent)
	require.Equal(t, "rendering 1", w.provider.sent[0].Email.Text, "what may have gone out before")
}
