package activities

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/belfry-notify/belfry/internal/notify"
)

// ended reads a delivery that has ended; it is nil when it has not, or was
// reopened after that.
func (a *Activities) ended(ctx context.Context, deliveryID string, last *notify.Claim) (*notify.Delivery, error) {
	ended, err := a.Store.Delivery(ctx, deliveryID)
	switch {
	case notify.CodeOf(err) == notify.CodeNotFound:
		return nil, nil
	case err != nil:
		return nil, err
	case last != nil && ended.Claim < last.Reopened:
		return nil, nil
	case last != nil && ended.AddDoubts(last):
		err = a.Store.ReplaceDelivery(ctx, ended)
	}
	return ended, err
}

// An endError ends a delivery under its last claim.
type endError struct {
	state    notify.State
	reason   notify.Reason
	attempts []notify.Attempt
}

func (e *endError) Error() string { return string(e.reason) }

// endedWithout records a delivery that ends without another claim; other errors
// it passes on.
func (a *Activities) endedWithout(ctx context.Context, d *notify.Delivery, last *notify.Claim, err error) (*notify.Delivery, error) {
	var end *endError
	if !errors.As(err, &end) {
		return nil, err
	}
	d.State, d.Reason, d.Attempts = end.state, end.reason, end.attempts
	d.Provider, d.Address, d.Claim = last.Provider, last.Address, last.Number
	return a.end(ctx, d, last.Reopened)
}

// end records how a delivery ended. Where somebody has recorded an end before
// (a sender past its deadline that lived on after all), what each of the two
// knows is joined; an end from before it was reopened is replaced. Two may do
// that at once, and the one who wrote last finds the other one among the claims.
func (a *Activities) end(ctx context.Context, d *notify.Delivery, reopened int) (*notify.Delivery, error) {
	if d.State == notify.StateUnknown {
		d.Reason = "" // why it was given up says nothing about what became of it
	}
	err := a.persist(ctx, func(ctx context.Context) error {
		err := a.Store.InsertDelivery(ctx, d)
		if notify.CodeOf(err) != notify.CodeConflict {
			return err
		}
		recorded, err := a.Store.Delivery(ctx, d.ID)
		if err != nil {
			return err
		}
		if recorded.Claim < reopened {
			err = a.Store.ReplaceDelivery(ctx, d)
		} else {
			if join(recorded, d) {
				err = a.Store.ReplaceDelivery(ctx, recorded)
			}
			*d = *recorded
		}
		if err != nil || reopened == 0 {
			return err
		}
		own, err := a.Store.Claims(ctx, d.ID)
		if err == nil && d.AddDoubts(&own[len(own)-1]) {
			err = a.Store.ReplaceDelivery(ctx, d)
		}
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
