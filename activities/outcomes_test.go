package activities

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Whoever dies over a direct notification at any operation: each end is told in
// the end, and what an attempt has told before it failed is not told again.
func TestOutcomesOfADirectNotificationAreToldWhoeverDies(t *testing.T) {
	t.Parallel()
	page, answers := eventfulPage()
	crashes := 0
	for dies := 0; ; dies++ {
		w := newWorld()
		n := w.notification(notify.Recipient{})
		n.To = page.recipients[:4]
		w.mortals(answers())
		first := &process{left: dies}
		_, next, err := w.deliverDirect(first.in(t.Context()), n, "", false, nil)
		died := first.left < 0
		if !died {
			require.NoError(t, err)
			require.NotNil(t, next, "one was put off")
		}
		known := &told{}
		result := finish(t, w, func() (Result, *wait) {
			result, next, err := w.deliverDirect(t.Context(), n, "", true, known)
			require.NoError(t, err)
			return result, next
		})
		require.Equal(t, 4, result.Counts.Total)
		for _, to := range n.To {
			when := fmt.Sprintf("dead after %d operations, %v", dies, to)
			d := w.recorded(t, n, to)
			require.Positive(t, w.outcomes.told(d), when)
			require.LessOrEqual(t, w.outcomes.told(d), 2, "%s: once by each of the two", when)
		}
		if !died {
			break
		}
		crashes++
	}
	require.Greater(t, crashes, 10)
}

// Where somebody is away to whom outcomes are told, or who keeps them for later,
// nothing is taken for done.
func TestOutcomesThatCannotBeToldAreToldLater(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{Email: "ann@example.com"})
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n, Progress: notify.Progress{Status: notify.StatusSending}}
	first := &process{left: 3}
	w.mortals(accept) // it inserts the claim, sends, records, and is then refused
	result, next, err := w.deliverDirect(first.in(t.Context()), n, "", false, nil)
	require.NoError(t, err)
	require.Equal(t, 1, result.Counts.Sent)
	require.NotNil(t, next)
	require.Error(t, next.failed)
	require.Empty(t, w.outcomes.deliveries)

	result, next, err = w.deliverDirect(t.Context(), n, "", true, nil)
	require.NoError(t, err)
	require.Nil(t, next)
	require.Equal(t, 1, w.outcomes.told(w.recorded(t, n, n.To[0])))
	status, err := w.Finish(t.Context(), n.ID, result)
	require.NoError(t, err)
	require.Equal(t, notify.StatusDone, status)
	require.Equal(t, []notify.Status{notify.StatusDone}, w.outcomes.ends)
}
