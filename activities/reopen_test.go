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
			require.NoError(t, w.ledger.InsertClaim(t.Context(), notify.Reopen(ended, last.Number+1, "by hand", w.clock.Now())))

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
	require.NoError(t, w.ledger.InsertClaim(t.Context(), notify.Reopen(ended, 2, "by hand", w.clock.Now())))

	again, err := w.attempt(t.Context(), n, true)
	require.NoError(t, err)
	require.Equal(t, notify.ReasonUserNotFound, again.Reason, "still not known: it has ended again")
	require.Equal(t, 3, again.Claim)
	require.NoError(t, w.ledger.InsertClaim(t.Context(), notify.Reopen(again, 4, "by hand", w.clock.Now())))

	w.Directory = directory{"newcomer": {ID: "newcomer", Email: "new@example.com"}}
	d, err := w.attempt(t.Context(), n, true)
	require.NoError(t, err)
	require.Equal(t, notify.StateSent, d.State)
	require.Equal(t, "new@example.com", d.Address)
}
