package activities

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/belfry-notify/belfry/internal/notify"
)

// redeliver runs the activity in ctx.
func (w *world) redeliver(ctx context.Context, deliveryID string) error {
	return w.redeliverUntil(ctx, deliveryID, w.clock.Now().Add(notify.DefaultExpiry))
}

func (w *world) redeliverUntil(ctx context.Context, deliveryID string, expires time.Time) error {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{BackgroundActivityContext: ctx})
	env.RegisterActivity(w.Redeliver)
	_, err := env.ExecuteActivity(w.Redeliver, Redelivery{DeliveryID: deliveryID, ExpiresAt: expires})
	return err
}

// reopen has a delivery tried again, under the number that comes after its own
// claims and those of its chunk.
func (w *world) reopen(t *testing.T, d notify.Delivery) {
	t.Helper()
	number := 1
	if own, err := w.ledger.Claims(t.Context(), d.ID); err == nil && len(own) > 0 {
		number = own[len(own)-1].Number + 1
	} else if d.Entry != "" {
		for ; ; number++ {
			id, _, err := d.Entry.In(d.NotificationID, number)
			require.NoError(t, err)
			claim, there := w.ledger.chunks[id]
			require.True(t, there, "the chunk has not ended")
			if claim.End != nil {
				break
			}
		}
	}
	require.NoError(t, w.Reopen(t.Context(), d.ID, number))
}

// accepted stores a notification to an audience: it names nobody.
func (w *world) accepted() *notify.Notification {
	n := w.notification(notify.Recipient{})
	n.To = nil
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n, Progress: notify.Progress{Status: notify.StatusDone}}
	return n
}

func answering(o notify.Outcome) func(context.Context, notify.Message) notify.Outcome {
	return func(context.Context, notify.Message) notify.Outcome { return o }
}

var (
	rejected = notify.Outcome{Kind: notify.OutcomePermanent, Reason: notify.ReasonRejected, Detail: "550 no such mailbox"}
	puzzling = notify.Outcome{Kind: notify.OutcomeUnknown, Detail: "connection lost after the final dot"}
	putOff   = notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later"}
)

func TestADeliveryIsTriedAgainByHand(t *testing.T) {
	t.Parallel()
	bob := notify.Recipient{Email: "Bob@example.com", Name: "Bob"}
	type ended struct {
		to      notify.Recipient
		answers []notify.Outcome // one a run of the page, until it ends
		data    notify.Object
		alone   bool // it was in no chunk
		erased  bool
		state   notify.State
	}
	type again struct {
		state  notify.State
		text   string // of what goes out
		resent bool
		tries  int
		claim  int
	}
	for _, test := range []struct {
		name  string
		ended ended
		again again
	}{
		{"rejected: rendered anew",
			ended{to: bob, answers: []notify.Outcome{rejected}, state: notify.StateFailed},
			again{notify.StateSent, "rendering 2", false, 2, 3}},
		{"in doubt: the same text",
			ended{to: bob, answers: []notify.Outcome{puzzling}, state: notify.StateUnknown},
			again{notify.StateSent, "rendering 1", true, 2, 3}},
		{"in doubt, and erased",
			ended{to: bob, answers: []notify.Outcome{puzzling}, erased: true, state: notify.StateUnknown},
			again{notify.StateUnknown, "", false, 1, 2}},
		{"rejected after it went on alone",
			ended{to: bob, answers: []notify.Outcome{putOff, putOff, rejected}, state: notify.StateFailed},
			again{notify.StateSent, "rendering 2", false, 4, 5}},
		{"a user",
			ended{to: notify.Recipient{UserID: "ann"}, answers: []notify.Outcome{rejected}, state: notify.StateFailed},
			again{notify.StateSent, "rendering 2", false, 2, 3}},
		{"a user whom nobody knew",
			ended{to: notify.Recipient{UserID: "newcomer"}, answers: []notify.Outcome{{}}, state: notify.StateFailed},
			again{notify.StateSent, "rendering 1", false, 2, 3}},
		{"what did not render",
			ended{to: bob, answers: []notify.Outcome{{}}, data: "bad", state: notify.StateFailed},
			again{notify.StateSent, "rendering 1", false, 2, 3}},
		{"what did not render, in no chunk",
			ended{to: bob, answers: []notify.Outcome{{}}, data: "bad", alone: true, state: notify.StateFailed},
			again{notify.StateSent, "rendering 1", false, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			n := w.accepted()
			n.OnUnknown, n.Data, n.To = notify.OnUnknownSkip, test.ended.data, []notify.Recipient{test.ended.to}
			for i, outcome := range append(test.ended.answers, notify.Outcome{}) {
				w.provider.answer = answering(outcome)
				if test.ended.alone {
					_, _ = w.attempt(t.Context(), n, i > 0) // what it came to is in the ledger
				} else {
					w.broadcast(t.Context(), n, chunkedPage{number: 3, over: notify.ChannelEmail, recipients: n.To}, i > 0)
				}
			}
			ended := w.recorded(t, n, test.ended.to)
			require.Equal(t, test.ended.state, ended.State)
			require.Equal(t, test.ended.alone, ended.Entry == "")
			if test.ended.erased {
				first := w.ledger.chunks[notify.ChunkID(n.ID, 3, 0, 1)]
				require.True(t, first.Erase(0))
			}
			before := len(w.provider.sent)
			w.provider.answer = nil
			w.Directory = directory{"ann": {Email: "ann@example.com"}, "newcomer": {Email: "new@example.com"}}

			w.reopen(t, ended)
			require.NoError(t, w.redeliver(t.Context(), ended.ID))

			d := w.recorded(t, n, test.ended.to)
			require.Equal(t, test.again.state, d.State)
			require.Equal(t, test.again.resent, d.Resent)
			require.Len(t, d.Attempts, test.again.tries)
			require.Equal(t, test.again.claim, d.Claim)
			require.Equal(t, ended.Entry, d.Entry)
			own, err := w.ledger.Claims(t.Context(), d.ID)
			require.NoError(t, err)
			require.Equal(t, d.Claim, own[len(own)-1].Number)
			sent := w.provider.sent[before:]
			if test.again.text == "" {
				require.Empty(t, sent)
				return
			}
			require.Len(t, sent, 1)
			require.Equal(t, test.again.text, sent[0].Email.Text)
			require.Equal(t, test.ended.to.Name, sent[0].Name)
			require.Equal(t, d.Address, sent[0].Address)
			if test.again.resent {
				require.Equal(t, w.provider.sent[0], sent[0], "the same words, date and id")
			}
			require.NoError(t, w.redeliver(t.Context(), ended.ID), "done again")
			require.Len(t, w.provider.sent, before+1)
		})
	}
}

func TestARedeliveryWaitsAndExpires(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.accepted()
	page := pageOf(1)
	w.provider.answer = answering(rejected)
	_, next := w.broadcast(t.Context(), n, page, false)
	require.Nil(t, next)
	failed := w.recorded(t, n, page.recipients[0])
	w.clock.advance(2 * notify.DefaultExpiry) // that of the notification does not count
	w.reopen(t, failed)

	w.provider.answer = answering(notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later", RetryAfter: time.Minute})
	var waits *temporal.ApplicationError
	require.ErrorAs(t, w.redeliver(t.Context(), failed.ID), &waits)
	require.Equal(t, "451 later", waits.Message())
	require.Equal(t, time.Minute, waits.NextRetryDelay())
	require.Equal(t, temporal.ApplicationErrorCategoryBenign, waits.Category())

	require.NoError(t, w.redeliverUntil(t.Context(), failed.ID, w.clock.Now()))
	d := w.recorded(t, n, page.recipients[0])
	require.Equal(t, notify.StateSkipped, d.State)
	require.Equal(t, notify.ReasonExpired, d.Reason)
	require.Len(t, d.Attempts, 2)

	d.State, d.Address = notify.StateFailed, "" // its recipient has been erased
	w.ledger.deliveries[d.ID] = d
	var gone *temporal.ApplicationError
	require.ErrorAs(t, w.redeliver(t.Context(), d.ID), &gone)
	require.True(t, gone.NonRetryable())
	require.Empty(t, w.provider.sent)
}

// A delivery ended as failed or unknown, in a chunk or not. One who tries it
// again by hand dies before any operation, or stops there and goes on when its successor
// has done it.
func TestACrashAtAnyOperationOfARedelivery(t *testing.T) {
	t.Parallel()
	to := pageOf(1).recipients[0]
	for _, first := range []notify.Outcome{rejected, puzzling} {
		for _, again := range []notify.OutcomeKind{notify.OutcomeSent, notify.OutcomeUnknown, notify.OutcomePermanent} {
			for variant := range 4 {
				dies, chunked := variant%2 == 0, variant < 2
				steps := 0
				for ; ; steps++ {
					w := newWorld()
					n := w.accepted()
					n.OnUnknown = notify.OnUnknownSkip
					w.mortals(func(notify.Message) notify.Outcome { return first })
					for _, again := range []bool{false, true} {
						if chunked {
							w.broadcast(t.Context(), n, pageOf(1), again)
						} else {
							n.To = []notify.Recipient{to}
							_, _ = w.attempt(t.Context(), n, again)
						}
					}
					ended := w.recorded(t, n, to)
					require.Equal(t, chunked, ended.Entry != "")
					n.OnUnknown = notify.OnUnknownResend
					w.ledger.notifications[n.ID] = notify.Record{Notification: *n}
					w.reopen(t, ended)

					tried := false
					w.mortals(func(notify.Message) notify.Outcome {
						if tried {
							return notify.Outcome{Kind: notify.OutcomeSent}
						}
						tried = true
						return notify.Outcome{Kind: again, Reason: notify.ReasonRejected, Detail: string(again)}
					})
					mortal := &process{left: steps, goOn: make(chan struct{})}
					if !dies {
						mortal.stopped = make(chan struct{})
					}
					done := make(chan struct{})
					go func() {
						defer close(done)
						_ = w.redeliver(mortal.in(t.Context()), ended.ID) // what it came to is in the ledger
					}()
					select {
					case <-mortal.stopped:
					case <-done:
					}
					err := errors.New("not yet")
					for range 6 {
						if err = w.redeliver(t.Context(), ended.ID); err == nil {
							break
						}
						w.clock.advance(w.Patience + clockSkew)
					}
					close(mortal.goOn)
					<-done

					when := fmt.Sprintf("%s, then %s, chunked=%v, dies=%v after %d operations", first.Kind, again, chunked, dies, steps)
					require.NoError(t, err, when)
					d := w.recorded(t, n, to)
					sends := len(w.provider.sent)
					switch d.State {
					case notify.StateSent:
						require.Positive(t, sends, when)
					case notify.StateFailed:
						require.Zero(t, sends, "%s: recorded as failed, and it may have gone out", when)
					case notify.StateUnknown:
					default:
						t.Fatalf("%s: ended as %s", when, d.State)
					}
					if sends > 1 {
						require.True(t, d.Resent || d.State == notify.StateUnknown, "%s: %d went out, unmarked", when, sends)
					}
					for _, m := range w.provider.sent {
						require.Equal(t, w.provider.sent[0], m, "%s: a resend has the same words, date and id", when)
					}
					if mortal.left >= 0 {
						break // it does no more operations than that
					}
				}
				require.Greater(t, steps, 5)
			}
		}
	}
}
