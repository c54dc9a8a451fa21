package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// Claims are a delivery's own, in their order.
	Claims(ctx context.Context, deliveryID string) ([]notify.Claim, error)
	RecordOutcome(ctx context.Context, claimID string, o notify.ClaimOutcome) error
	InsertDelivery(ctx context.Context, d *notify.Delivery) error
	Delivery(ctx context.Context, id string) (*notify.Delivery, error)
	ReplaceDelivery(ctx context.Context, d *notify.Delivery) error
	ChunkLedger
}

// clockSkew is how far the clocks of two workers may be apart: a successor
// waits this much longer than a claim's deadline.
const clockSkew = 2 * time.Second

// deliver takes one delivery as far as it gets now: to its end, or to an error
// that says why it has to wait. One that was in a chunk has that as its base.
func (a *Activities) deliver(ctx context.Context, j job, to notify.Recipient, channel notify.Channel, from *base) (*notify.Delivery, error) {
	delivery := &notify.Delivery{
		ID:             notify.DeliveryID(j.notification.ID, channel, to),
		NotificationID: j.notification.ID,
		UserID:         to.UserID,
		Channel:        channel,
		Address:        to.Email,
		CreatedAt:      j.notification.CreatedAt,
	}
	if from != nil {
		delivery.Entry = from.last.Entry
	}
	var first, last *notify.Claim
	var err error
	if j.again || from != nil {
		if first, last, err = a.claims(ctx, delivery.ID, from); err != nil {
			return nil, err
		}
	}
	token := a.NewToken()
	for {
		if j.again || last != nil {
			// Read after the claims: a claim without an outcome whose sender
			// ended the delivery is then never taken for one in doubt.
			ended, err := a.ended(ctx, delivery.ID, last)
			if ended != nil || err != nil {
				return ended, err
			}
		}
		claim, err := a.nextClaim(ctx, j, delivery, to, first, last)
		if err != nil {
			return a.endedWithout(ctx, delivery, last, err)
		}
		claim.Token = token
		err = a.Store.InsertClaim(ctx, claim)
		if notify.CodeOf(err) == notify.CodeConflict {
			if first, last, err = a.claims(ctx, delivery.ID, from); err != nil {
				return nil, err
			}
			if last == nil || last.ID != claim.ID || last.Token != token {
				continue // somebody else's: what may follow it?
			}
		} else if err != nil {
			return nil, err
		}
		if claim.Content != nil {
			first = claim
		}
		return a.act(ctx, j, delivery, first, claim)
	}
}

// claims reads a delivery's last claim, and the first one that holds the
// content to send; nil when there is none. Its own claims follow the base.
func (a *Activities) claims(ctx context.Context, deliveryID string, from *base) (first, last *notify.Claim, err error) {
	if from != nil {
		first, last = from.first, from.last
	}
	own, err := a.Store.Claims(ctx, deliveryID)
	for i := range own {
		claim := &own[i]
		if claim.Reopens() && claim.Doubts == 0 {
			first = nil // nothing of before may have gone out: all is made anew
		}
		if first == nil && claim.Content != nil {
			first = claim
		}
		last = claim
	}
	return first, last, err
}

// nextClaim is the claim that may follow the last one: to send, or to end the
// delivery without. It fails with a laterError while none may, and with an
// endError when the delivery ends under the last one.
func (a *Activities) nextClaim(ctx context.Context, j job, d *notify.Delivery, to notify.Recipient, first, last *notify.Claim) (*notify.Claim, error) {
	now := a.Now()
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
		Address:        to.Email,
		Name:           to.Name,
		Closed:         j.stoppedAt(now),
	}
	before := ""
	if last != nil {
		if err := follow(j, claim, first, last); err != nil {
			return nil, err
		}
		before = last.Provider
	}
	if claim.Closed != "" {
		return claim, nil
	}
	if first != nil {
		claim.Address, claim.Name = first.Address, first.Name
		return claim, a.choose(ctx, j, claim, before)
	}
	err := a.compose(ctx, j, to, claim)
	var unsendable *unsendableError
	if errors.As(err, &unsendable) {
		claim.Closed, claim.Attempts = unsendable.reason, appendAttempt(claim.Attempts, unsendable.attempt)
		return claim, nil
	}
	if err != nil {
		return nil, err
	}
	return claim, a.choose(ctx, j, claim, before)
}

// stoppedAt is why nothing more of a notification is to be sent at a moment,
// empty when it is.
func (j job) stoppedAt(now time.Time) notify.Reason {
	if j.stopped == "" && !now.Before(j.notification.ExpiresAt) {
		return notify.ReasonExpired
	}
	return j.stopped
}

// follow makes a claim the one after the last, if there may be one now.
func follow(j job, claim, first, last *notify.Claim) error {
	claim.Number, claim.Base, claim.Entry = last.Number+1, last.Base, last.Entry
	claim.ID = notify.ClaimID(last.DeliveryID, claim.Number-claim.Base)
	claim.Reopened, claim.Doubts = last.Reopened, last.Doubts
	claim.Address, claim.Attempts = last.Address, last.Attempts
	if last.InDoubt() {
		claim.Doubts++
	}
	attempt := notify.Attempt{At: last.At, Provider: last.Provider}
	switch {
	case last.Closed != "":
		return &endError{state: closedState(last), reason: last.Closed, attempts: last.Attempts}
	case last.Outcome == nil:
		if over := last.Deadline.Add(clockSkew); claim.At.Before(over) {
			return inDoubt(over.Sub(claim.At))
		}
		attempt.Error = senderStopped
	default:
		attempt.Error = last.Outcome.Error
	}
	if last.Tried() {
		claim.Attempts = appendAttempt(last.Attempts, attempt)
	}
	notAgain := last.InDoubt() && j.notification.OnUnknown == notify.OnUnknownSkip
	erased := claim.Doubts > 0 && first == nil // what may have gone out is not there any more
	if claim.Closed == "" && (notAgain || erased) {
		return &endError{state: notify.StateUnknown, attempts: claim.Attempts}
	}
	return nil
}

// maxAttempts bounds the attempts that a delivery shows: the first ones are
// left out.
const maxAttempts = 50

func appendAttempt(attempts []notify.Attempt, a notify.Attempt) []notify.Attempt {
	attempts = append(attempts[:len(attempts):len(attempts)], a)
	return attempts[max(0, len(attempts)-maxAttempts):]
}

// act does what a claim gives the right to do, and records it.
func (a *Activities) act(ctx context.Context, j job, d *notify.Delivery, first, claim *notify.Claim) (*notify.Delivery, error) {
	d.Address, d.Attempts, d.Claim = claim.Address, claim.Attempts, claim.Number
	if claim.Closed != "" {
		d.State, d.Reason = closedState(claim), claim.Closed
		return a.end(ctx, d, claim.Reopened)
	}
	sending, cancel := context.WithDeadline(ctx, claim.Deadline)
	outcome := a.provider(claim.Channel, claim.Provider).Send(sending, j.message(first))
	cancel()

	now := a.Now()
	if conclude(d, claim, outcome, now) {
		return a.end(ctx, d, claim.Reopened)
	}
	switch outcome.Kind {
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

// conclude says in a delivery what an attempt at it came to, and whether that
// ends it.
func conclude(d *notify.Delivery, claim *notify.Claim, outcome notify.Outcome, now time.Time) bool {
	d.Provider = claim.Provider
	d.Attempts = appendAttempt(claim.Attempts, notify.Attempt{At: claim.At, Provider: claim.Provider, Error: outcome.Detail})
	switch outcome.Kind {
	case notify.OutcomeSent:
		d.State, d.SentAt, d.ProviderID, d.Resent = notify.StateSent, &now, outcome.ProviderID, claim.Doubts > 0
		return true
	case notify.OutcomePermanent:
		d.State, d.Reason = notify.StateFailed, outcome.Reason
		if claim.Doubts > 0 { // an earlier attempt may have gone out all the same
			d.State = notify.StateUnknown
		}
		return true
	default:
		return false
	}
}

// closedState is the state of a delivery that a claim has closed.
func closedState(c *notify.Claim) notify.State {
	switch {
	case c.Doubts > 0:
		return notify.StateUnknown
	case c.Closed == notify.ReasonExpired, c.Closed == notify.ReasonCancelled, c.Closed == notify.ReasonUnsubscribed:
		return notify.StateSkipped
	default:
		return notify.StateFailed
	}
}
