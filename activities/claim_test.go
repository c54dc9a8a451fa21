package activities

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestADeliveryEndsAsTheProviderSays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		to         notify.Recipient
		data       notify.Object
		outcome    notify.Outcome
		state      notify.State
		reason     notify.Reason
		lastAnswer string
	}{
		{name: "sent to an address", to: notify.Recipient{Email: "bob@example.com", Name: "Bob"},
			outcome: notify.Outcome{Kind: notify.OutcomeSent, ProviderID: "q1"}, state: notify.StateSent},
		{name: "sent to a user", to: notify.Recipient{UserID: "ann"},
			outcome: notify.Outcome{Kind: notify.OutcomeSent}, state: notify.StateSent},
		{name: "refused for good", to: notify.Recipient{UserID: "ann"},
			outcome: notify.Outcome{Kind: notify.OutcomePermanent, Reason: notify.ReasonRejected, Detail: "550 no such mailbox"},
			state:   notify.StateFailed, reason: notify.ReasonRejected, lastAnswer: "550 no such mailbox"},
		{name: "unknown user", to: notify.Recipient{UserID: "nobody"},
			state: notify.StateFailed, reason: notify.ReasonUserNotFound, lastAnswer: "the idp knows no such user"},
		{name: "user without address", to: notify.Recipient{UserID: "noaddress"},
			state: notify.StateFailed, reason: notify.ReasonNoAddress, lastAnswer: "the idp knows no mail address of the user"},
		{name: "content that does not render", to: notify.Recipient{UserID: "ann"}, data: "bad",
			state: notify.StateFailed, reason: notify.ReasonBadContent, lastAnswer: `email.subject: line 1: undefined variable "film"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.provider.answer = func(context.Context, notify.Message) notify.Outcome { return test.outcome }
			n := w.notification(test.to)
			n.Data = test.data

			d, err := w.attempt(t.Context(), n, false)

			require.NoError(t, err)
			require.Equal(t, test.state, d.State)
			require.Equal(t, test.reason, d.Reason)
			require.Equal(t, test.lastAnswer, d.Attempts[len(d.Attempts)-1].Error)
			require.False(t, d.Resent)
			require.Equal(t, *d, w.ledger.deliveries[d.ID])

			again, err := w.attempt(t.Context(), n, true)
			require.NoError(t, err)
			require.Equal(t, d, again, "what has ended is not touched again")
		})
	}
}

func TestATransientRefusalIsRetriedWithTheSameContent(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "ann"})
	refused := notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 try later", RetryAfter: time.Minute}
	w.provider.answer = func(context.Context, notify.Message) notify.Outcome { return refused }
	_, err := w.attempt(t.Context(), n, false)
	var later *laterError
	require.ErrorAs(t, err, &later)
	require.Equal(t, time.Minute, later.after)

	w.provider.answer = nil
	d, err := w.attempt(t.Context(), n, true)

	require.NoError(t, err)
	require.Equal(t, notify.StateSent, d.State)
	require.False(t, d.Resent, "nothing was in doubt")
	require.Len(t, d.Attempts, 2)
	require.Equal(t, "451 try later", d.Attempts[0].Error)
	require.Equal(t, "rendering 1", w.provider.sent[0].Email.Text)
}

func TestADoubtIsResentOnlyAfterTheDeadlineAndMarked(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "ann"})
	_, err := w.attemptAndDie(t.Context(), n)
	require.Error(t, err)
	require.Len(t, w.provider.sent, 1)

	_, err = w.attempt(t.Context(), n, true)
	var later *laterError
	require.ErrorAs(t, err, &later)
	require.Equal(t, DefaultPatience+clockSkew, later.after)
	require.Len(t, w.provider.sent, 1, "nothing is sent while the first sender may live")

	w.clock.advance(later.after)
	d, err := w.attempt(t.Context(), n, true)
	require.NoError(t, err)
	require.Equal(t, notify.StateSent, d.State)
	require.True(t, d.Resent)
	require.Len(t, w.provider.sent, 2)
	require.Equal(t, w.provider.sent[0], w.provider.sent[1], "the same text, date and id")
	require.Len(t, d.Attempts, 2)
}

// attemptAndDie makes an attempt whose process ends when it would record what
// came of it: the claim is there, its outcome is not.
func (w *world) attemptAndDie(ctx context.Context, n *notify.Notification) (*notify.Delivery, error) {
	j, err := w.job(ctx, n, false)
	if err != nil {
		return nil, err
	}
	d := &notify.Delivery{
		ID: notify.DeliveryID(n.ID, n.Channels[0], n.To[0]), NotificationID: n.ID, UserID: n.To[0].UserID,
		Channel: n.Channels[0], CreatedAt: n.CreatedAt,
	}
	claim, err := w.nextClaim(ctx, j, d, n.To[0], nil, nil)
	if err != nil {
		return nil, err
	}
	if err := w.Store.InsertClaim(ctx, claim); err != nil {
		return nil, err
	}
	w.provider.Send(ctx, notify.Message{
		DeliveryID: d.ID, NotificationID: n.ID, Address: claim.Address, Name: claim.Name, Email: *claim.Content.Email, Date: claim.At,
	})
	return nil, errors.New("dead")
}

func TestAnUnknownOutcomeIsResentAndMarked(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "ann"})
	w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
		return notify.Outcome{Kind: notify.OutcomeUnknown, Detail: "connection lost after the final dot"}
	}
	_, err := w.attempt(t.Context(), n, false)
	require.ErrorContains(t, err, "final dot")

	for _, test := range []struct {
		name    string
		outcome notify.Outcome
		state   notify.State
		resent  bool
	}{
		{"and taken", notify.Outcome{Kind: notify.OutcomeSent}, notify.StateSent, true},
		{"and refused: the first may have gone out", notify.Outcome{Kind: notify.OutcomePermanent, Reason: notify.ReasonRejected}, notify.StateUnknown, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.provider.answer = func(context.Context, notify.Message) notify.Outcome { return test.outcome }
			clear(w.ledger.deliveries)
			delete(w.ledger.claims, notify.ClaimID(notify.DeliveryID(n.ID, n.Channels[0], n.To[0]), 2))
			d, err := w.attempt(t.Context(), n, true)
			require.NoError(t, err)
			require.Equal(t, test.state, d.State)
			require.Equal(t, test.resent, d.Resent)
			require.Len(t, d.Attempts, 2)
		})
	}
}

func TestWhatHasNotGoneOutInTimeIsSkipped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		first notify.OutcomeKind // of an attempt before; empty: there was none
		state notify.State
	}{
		{"never tried", "", notify.StateSkipped},
		{"tried in vain", notify.OutcomeTransient, notify.StateSkipped},
		{"may have gone out", notify.OutcomeUnknown, notify.StateUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			n := w.notification(notify.Recipient{UserID: "ann"})
			if test.first != "" {
				w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
					return notify.Outcome{Kind: test.first, Detail: "words"}
				}
				_, err := w.attempt(t.Context(), n, false)
				require.Error(t, err)
			}
			w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
				t.Error("sent after its time")
				return notify.Outcome{Kind: notify.OutcomeSent}
			}
			w.clock.advance(notify.DefaultExpiry)

			d, err := w.attempt(t.Context(), n, true)

			require.NoError(t, err)
			require.Equal(t, test.state, d.State)
			if test.state == notify.StateSkipped {
				require.Equal(t, notify.ReasonExpired, d.Reason)
			}
		})
	}
}

func TestMyOwnClaimFoundTakenIsMine(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "ann"})
	first := true
	// The answer to the insert is lost; the driver inserts again and finds it taken.
	w.ledger.before = func(ctx context.Context, operation string) error {
		if operation == "insert claim" && first {
			first = false
			w.ledger.before = nil
			id := notify.DeliveryID(n.ID, n.Channels[0], n.To[0])
			content := &notify.Bodies{Email: &notify.Email{Subject: "s"}}
			return errors.Join(w.ledger.InsertClaim(ctx, &notify.Claim{
				ID: notify.ClaimID(id, 1), DeliveryID: id, Number: 1, Token: "1", Address: "ann@example.com",
				At: w.clock.Now(), Deadline: w.clock.Now().Add(time.Minute), Provider: "smtp", Content: content,
			}))
		}
		return nil
	}

	d, err := w.attempt(t.Context(), n, false)

	require.NoError(t, err)
	require.Equal(t, notify.StateSent, d.State)
	require.Len(t, w.provider.sent, 1)
}

func TestAFirstAttemptThatEndsAllRecordsIt(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		kind   notify.OutcomeKind
		status notify.Status
	}{
		{"sent", notify.OutcomeSent, notify.StatusDone},
		{"refused", notify.OutcomePermanent, notify.StatusFailed},
		{"to be tried again", notify.OutcomeTransient, notify.StatusSending},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			n := w.notification(notify.Recipient{UserID: "ann"})
			w.ledger.notifications[n.ID] = notify.Record{Notification: *n, Progress: notify.Progress{Status: notify.StatusSending}}
			w.provider.answer = func(context.Context, notify.Message) notify.Outcome { return notify.Outcome{Kind: test.kind} }

			first, err := w.TryDeliver(t.Context(), n.ID)

			require.NoError(t, err)
			if test.status.Ended() {
				require.Equal(t, FirstResult{Status: test.status}, first)
			} else {
				require.Equal(t, FirstResult{Wait: InitialBackoff}, first)
			}
			recorded := w.ledger.notifications[n.ID].Progress
			require.Equal(t, test.status, recorded.Status)
			require.Equal(t, test.status.Ended(), recorded.FinishedAt != nil)
		})
	}
}

func TestANotificationEndsAsItsDeliveriesSay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		result Result
		want   notify.Status
	}{
		{"all sent", Result{Counts: notify.Counts{Total: 2, Sent: 2}}, notify.StatusDone},
		{"one sent, one failed", Result{Counts: notify.Counts{Total: 2, Sent: 1, Failed: 1}}, notify.StatusDone},
		{"all failed", Result{Counts: notify.Counts{Total: 2, Failed: 2}}, notify.StatusFailed},
		{"may have been sent", Result{Counts: notify.Counts{Total: 1, Unknown: 1}}, notify.StatusDone},
		{"expired", Result{Counts: notify.Counts{Total: 1, Skipped: 1}, Expired: 1}, notify.StatusExpired},
		{"sent and expired", Result{Counts: notify.Counts{Total: 2, Sent: 1, Skipped: 1}, Expired: 1}, notify.StatusDone},
		{"cancelled", Result{Counts: notify.Counts{Total: 2, Sent: 1, Skipped: 1}, Cancelled: 1}, notify.StatusCancelled},
	} {
		w := newWorld()
		w.ledger.notifications["id"] = notify.Record{}
		status, err := w.Finish(t.Context(), "id", test.result)
		require.NoError(t, err, test.name)
		require.Equal(t, test.want, status, test.name)
		require.Equal(t, test.result.Counts, w.ledger.notifications["id"].Counts, test.name)
	}
	_, err := newWorld().Finish(t.Context(), "not there", Result{})
	require.Error(t, err)
}

func TestWaitIsDueWhenTheNotificationExpires(t *testing.T) {
	t.Parallel()
	w := newWorld()
	j := job{notification: w.notification(notify.Recipient{UserID: "ann"})}
	now := j.notification.ExpiresAt.Add(-90 * time.Second)
	plain := (*wait)(nil).with(j, now, errors.New("the idp is away"))
	require.Zero(t, plain.delay(1), "the retry policy says when")
	require.Equal(t, 90*time.Second+time.Millisecond, plain.delay(9), "256 s would be too late")
	asked := (*wait)(nil).with(j, now, &laterError{after: 30 * time.Second})
	require.Equal(t, 30*time.Second, asked.delay(1))
	require.Zero(t, asked.with(j, now, errors.New("no words on when")).delay(1))
}

func TestADoubtIsLookedAtByThePolicyAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld()
	j := job{notification: w.notification(notify.Recipient{UserID: "ann"})}
	now := w.Now()
	doubts := func(now time.Time) *wait {
		return (*wait)(nil).with(j, now, inDoubt(30*time.Second)).with(j, now, inDoubt(20*time.Second))
	}
	require.Zero(t, doubts(now).delay(5), "16 s by the policy")
	require.Equal(t, 20*time.Second, doubts(now).delay(6))
	require.Equal(t, 10*time.Second+time.Millisecond, doubts(j.notification.ExpiresAt.Add(-10*time.Second)).delay(6))
	require.Equal(t, 20*time.Second, doubts(j.notification.ExpiresAt.Add(time.Hour)).delay(6), "expired or not")

	asked := &laterError{after: time.Hour}
	require.Equal(t, 20*time.Second, doubts(now).with(j, now, asked).delay(1), "whoever asked is not asked before")
	require.Zero(t, doubts(now).with(j, now, errors.New("no words on when")).delay(1))
}

func TestRecountWaitsForTheNotificationToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "nobody"})
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n, Progress: notify.Progress{Status: notify.StatusSending}}
	var benign *temporal.ApplicationError
	require.ErrorAs(t, w.Recount(t.Context(), n.ID), &benign, "it runs")
	require.Equal(t, temporal.ApplicationErrorCategoryBenign, benign.Category(), "waiting is no error of ours")

	w.ledger.notifications[n.ID] = notify.Record{Notification: *n, Progress: notify.Progress{Status: notify.StatusDone}}
	require.NoError(t, w.Recount(t.Context(), n.ID))
}

func TestWhatADirectNotificationCosts(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{UserID: "ann"})
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n, Progress: notify.Progress{Status: notify.StatusSending}}
	var operations []string
	w.ledger.before = func(_ context.Context, operation string) error {
		operations = append(operations, operation)
		return nil
	}
	w.Outcomes = nil // else it is found once more, in the memory of the process that accepted it
	_, err := w.TryDeliver(t.Context(), n.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"find notification", "insert claim", "insert delivery", "update progress"}, operations)
}
