package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/belfry-notify/belfry/internal/notify"
)

// The rule that makes retries, crashes and zombies exact: an insert decides.
//
// Before a provider is called for a delivery, a claim is inserted under the
// id <delivery>#<n>. Whoever inserts it may send; everybody else reads. What
// came of it is recorded by its inserter alone: an outcome that ends the
// delivery as the delivery's document (an insert again), any other one on the
// claim. Claim n+1 may be inserted once claim n ended as transient or unknown,
// or once its deadline has passed without an outcome: its sender is dead, and
// whether the message went out is in doubt. The message goes out again then,
// from the first claim's own content, and the delivery says so.

// A Ledger keeps claims and the ends of deliveries.
type Ledger interface {
	InsertClaim(ctx context.Context, c *notify.Claim) error
	Claim(ctx context.Context, id string) (*notify.Claim, error)
	RecordOutcome(ctx context.Context, claimID string, o notify.ClaimOutcome) error
	InsertDelivery(ctx context.Context, d *notify.Delivery) error
	Delivery(ctx context.Context, id string) (*notify.Delivery, error)
	ReplaceDelivery(ctx context.Context, d *notify.Delivery) error
}

// clockSkew is how far the clocks of two workers may be apart: a successor
// waits this much longer than a claim's deadline.
const clockSkew = 2 * time.Second

// deliver takes one delivery as far as it gets now: to its end, or to an error
// that says why it has to wait.
func (a *Activities) deliver(ctx context.Context, j job, to notify.Recipient, channel notify.Channel) (*notify.Delivery, error) {
	delivery := &notify.Delivery{
		ID:             notify.DeliveryID(j.notification.ID, channel, to),
		NotificationID: j.notification.ID,
		UserID:         to.UserID,
		Channel:        channel,
		Address:        to.Email,
		CreatedAt:      j.notification.CreatedAt,
	}
	var first, last *notify.Claim
	var err error
	if j.again {
		if first, last, err = a.claims(ctx, delivery.ID); err != nil {
			return nil, err
		}
	}
	token := a.NewToken()
	for {
		if j.again || last != nil {
			// Read after the claims: a claim without an outcome whose sender
			// ended the delivery is then never taken for one in doubt.
			ended, err := a.Store.Delivery(ctx, delivery.ID)
			if err == nil && addDoubts(ended, last) {
				err = a.Store.ReplaceDelivery(ctx, ended)
			}
			if notify.CodeOf(err) != notify.CodeNotFound {
				return ended, err
			}
		}
		claim, err := a.nextClaim(ctx, j, delivery, to, first, last)
		if err != nil {
			return a.endedWithout(ctx, delivery, err)
		}
		claim.Token = token
		err = a.Store.InsertClaim(ctx, claim)
		if notify.CodeOf(err) == notify.CodeConflict {
			if first, last, err = a.claims(ctx, delivery.ID); err != nil {
				return nil, err
			}
			if last == nil || last.ID != claim.ID || last.Token != token {
				continue // somebody else's: what may follow it?
			}
		} else if err != nil {
			return nil, err
		}
		if first == nil {
			first = claim
		}
		return a.act(ctx, delivery, first, claim)
	}
}

// addDoubts adds to a delivery that has ended under one claim that the sender
// with a later one may have sent it too and never came to say so. It says
// whether there is such a doubt that was not known.
func addDoubts(ended *notify.Delivery, last *notify.Claim) bool {
	if last == nil || last.Number <= ended.Claim {
		return false
	}
	doubts := last.Doubts - 1 // those after it count the claim it ended under
	if last.InDoubt() {
		doubts++
	}
	if doubts == 0 {
		return false
	}
	ended.Claim = last.Number
	if ended.State == notify.StateFailed {
		ended.State, ended.Reason = notify.StateUnknown, ""
	} else {
		ended.Resent = true
	}
	return true
}

// claims reads a delivery's first and last claim, nil when there is none.
func (a *Activities) claims(ctx context.Context, deliveryID string) (first, last *notify.Claim, err error) {
	for n := 1; ; n++ {
		claim, err := a.Store.Claim(ctx, notify.ClaimID(deliveryID, n))
		if notify.CodeOf(err) == notify.CodeNotFound {
			return first, last, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if first == nil {
			first = claim
		}
		last = claim
	}
}

// nextClaim is the claim that may follow the last one. It fails with a
// laterError while none may, and with an endError when the delivery ends
// without one.
func (a *Activities) nextClaim(ctx context.Context, j job, d *notify.Delivery, to notify.Recipient, first, last *notify.Claim) (*notify.Claim, error) {
	now := a.Now()
	expired := !now.Before(j.notification.ExpiresAt)
	claim := &notify.Claim{
		ID:             notify.ClaimID(d.ID, 1),
		Number:         1,
		At:             now,
		Deadline:       now.Add(a.Patience),
		DeliveryID:     d.ID,
		NotificationID: d.NotificationID,
		UserID:         d.UserID,
		Channel:        d.Channel,
		CreatedAt:      d.CreatedAt,
		Provider:       a.Email.Name(),
	}
	if expired {
		claim.Closed = notify.ReasonExpired
	}
	if last == nil {
		if expired {
			claim.Address = to.Email
			return claim, nil
		}
		return claim, a.compose(ctx, j, to, claim)
	}

	if first.Content == nil && last.Closed == "" {
		return nil, &endError{state: notify.StateUnknown, attempts: last.Attempts} // erased meanwhile
	}
	claim.Number = last.Number + 1
	claim.ID = notify.ClaimID(d.ID, claim.Number)
	claim.Address, claim.Name = first.Address, first.Name
	claim.Doubts = last.Doubts
	if last.InDoubt() {
		claim.Doubts++
	}
	attempt := notify.Attempt{At: last.At, Provider: last.Provider}
	switch {
	case last.Closed != "":
		return nil, &endError{state: closedState(last), reason: last.Closed, attempts: last.Attempts}
	case last.Outcome == nil:
		if over := last.Deadline.Add(clockSkew); now.Before(over) {
			return nil, &laterError{after: over.Sub(now), cause: "an earlier attempt is in doubt until its deadline"}
		}
		attempt.Error = "the sender stopped before it recorded an outcome"
	default:
		attempt.Error = last.Outcome.Error
	}
	claim.Attempts = appendAttempt(last.Attempts, attempt)
	return claim, nil
}

// maxAttempts bounds the attempts that a delivery shows: the first ones are
// left out.
const maxAttempts = 50

func appendAttempt(attempts []notify.Attempt, a notify.Attempt) []notify.Attempt {
	attempts = append(attempts[:len(attempts):len(attempts)], a)
	return attempts[max(0, len(attempts)-maxAttempts):]
}

// act does what a claim gives the right to do, and records it.
func (a *Activities) act(ctx context.Context, d *notify.Delivery, first, claim *notify.Claim) (*notify.Delivery, error) {
	d.Address, d.Attempts, d.Claim = claim.Address, claim.Attempts, claim.Number
	if claim.Closed != "" {
		d.State, d.Reason = closedState(claim), claim.Closed
		if d.State == notify.StateUnknown {
			d.Reason = ""
		}
		return a.end(ctx, d)
	}
	sending, cancel := context.WithDeadline(ctx, claim.Deadline)
	outcome := a.Email.Send(sending, notify.Message{
		DeliveryID: d.ID,
		Address:    first.Address,
		Name:       first.Name,
		Email:      *first.Content.Email,
		Date:       first.At,
	})
	cancel()

	now := a.Now()
	d.Provider = claim.Provider
	d.Attempts = appendAttempt(d.Attempts, notify.Attempt{At: claim.At, Provider: claim.Provider, Error: outcome.Detail})
	switch outcome.Kind {
	case notify.OutcomeSent:
		d.State, d.SentAt, d.ProviderID, d.Resent = notify.StateSent, &now, outcome.ProviderID, claim.Doubts > 0
		return a.end(ctx, d)
	case notify.OutcomePermanent:
		d.State, d.Reason = notify.StateFailed, outcome.Reason
		if claim.Doubts > 0 { // an earlier attempt may have gone out all the same
			d.State, d.Reason = notify.StateUnknown, ""
		}
		return a.end(ctx, d)
	case notify.OutcomeTransient, notify.OutcomeUnknown:
		err := a.persist(ctx, func(ctx context.Context) error {
			return a.Store.RecordOutcome(ctx, claim.ID, notify.ClaimOutcome{
				Kind: outcome.Kind, At: now, Error: outcome.Detail,
			})
		})
		if err != nil {
			return nil, err
		}
		return nil, &laterError{after: outcome.RetryAfter, cause: outcome.Detail}
	default:
		return nil, fmt.Errorf("provider %s answered with outcome %q", claim.Provider, outcome.Kind)
	}
}

// closedState is the state of a delivery that a claim has closed.
func closedState(c *notify.Claim) notify.State {
	if c.Doubts > 0 {
		return notify.StateUnknown
	}
	return notify.StateSkipped
}

// An endError ends a delivery before there is a claim to send it.
type endError struct {
	state    notify.State
	reason   notify.Reason
	attempts []notify.Attempt
}

func (e *endError) Error() string { return string(e.reason) }

// endedWithout records a delivery that ends without a claim; other errors it
// passes on.
func (a *Activities) endedWithout(ctx context.Context, d *notify.Delivery, err error) (*notify.Delivery, error) {
	var end *endError
	if !errors.As(err, &end) {
		return nil, err
	}
	d.State, d.Reason, d.Attempts = end.state, end.reason, end.attempts
	return a.end(ctx, d)
}

// end records how a delivery ended. Where somebody has recorded an end before
// (a sender past its deadline that lived on after all), what each of the two
// knows is joined.
func (a *Activities) end(ctx context.Context, d *notify.Delivery) (*notify.Delivery, error) {
	err := a.persist(ctx, func(ctx context.Context) error {
		err := a.Store.InsertDelivery(ctx, d)
		if notify.CodeOf(err) != notify.CodeConflict {
			return err
		}
		recorded, err := a.Store.Delivery(ctx, d.ID)
		if err != nil {
			return err
		}
		if join(recorded, d) {
			err = a.Store.ReplaceDelivery(ctx, recorded)
		}
		*d = *recorded
		return err
	})
	if err != nil {
		return nil, err
	}
	a.Log.DebugContext(ctx, "delivery ended", "notification", d.NotificationID, "delivery", d.ID,
		"channel", d.Channel, "state", d.State, "reason", d.Reason, "resent", d.Resent)
	return d, nil
}

// certainty orders the ends of a delivery: what is known to have gone out
// stands above what may have, and that above what did not.
func certainty(s notify.State) int {
	switch s {
	case notify.StateDelivered:
		return 4
	case notify.StateSent:
		return 3
	case notify.StateUnknown:
		return 2
	case notify.StateFailed:
		return 1
	case notify.StateQueued, notify.StateSkipped:
	}
	return 0
}

// join adds to a recorded end what another one knows, and says whether that
// changed it.
func join(recorded, other *notify.Delivery) bool {
	before := *recorded
	if certainty(other.State) > certainty(recorded.State) {
		*recorded = *other
	}
	recorded.Resent = before.Resent || other.Resent
	recorded.Claim = max(before.Claim, other.Claim)
	return recorded.State != before.State || recorded.Resent != before.Resent || recorded.Claim != before.Claim
}

// persistTimeout bounds how long an activity tries to record what a provider
// has answered, also after its own time is over.
const persistTimeout = 60 * time.Second

// persist writes down what must not be lost, trying again while the store is
// away: a message that went out and is not recorded goes out twice.
func (a *Activities) persist(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), persistTimeout)
	defer cancel()
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, write(ctx) },
		backoff.WithMaxElapsedTime(persistTimeout))
	return err
}
