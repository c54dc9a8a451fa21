package api

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/workflows"
)

// retry has a delivery that failed, or that nobody knows the end of, tried
// again for another notify.DefaultExpiry. Asked for twice at once it is tried
// again once.
func (s *Server) retry(ctx context.Context, deliveryID string) (*deliveryView, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	ended, err := s.Store.Delivery(ctx, deliveryID)
	if notify.CodeOf(err) == notify.CodeNotFound {
		if _, claimErr := s.Store.Claim(ctx, notify.ClaimID(deliveryID, 1)); claimErr == nil {
			return nil, notToRetry(notify.StateQueued)
		}
	}
	if err != nil {
		return nil, err
	}
	if ended.State != notify.StateFailed && ended.State != notify.StateUnknown {
		return nil, notToRetry(ended.State)
	}
	rendered, last, err := s.claims(ctx, deliveryID)
	if err != nil {
		return nil, err
	}
	number := 1
	if last != nil {
		number = last.Number + 1
		if last.Reopened > ended.Claim { // it is being tried: if that was cut off, it goes on
			number = last.Reopened
		}
	}
	at, err := s.recipientOf(ctx, ended)
	if err != nil {
		return nil, err
	}
	err = s.Starter.Redeliver(ctx, workflows.RedeliveryInput{
		NotificationID: ended.NotificationID, DeliveryID: deliveryID, Claim: number,
		Recipient: at, ExpiresAt: s.now().Add(notify.DefaultExpiry),
	})
	if err != nil {
		return nil, err
	}
	// The workflow does this too: done here, whoever looks next sees it queued.
	reopening := notify.Reopen(ended, number, uuid.NewString(), s.now())
	if err := s.Store.InsertClaim(ctx, reopening); err != nil && notify.CodeOf(err) != notify.CodeConflict {
		s.log.WarnContext(ctx, "delivery to be tried again, it shows soon", "delivery", deliveryID, "error", err)
	}
	view := withContent(underWay(reopening), rendered)
	return &view, nil
}

func notToRetry(state notify.State) error {
	return &notify.Error{
		Code:   notify.CodeConflict,
		Detail: fmt.Sprintf("the delivery is %s: only one that failed or is unknown can be tried again", state),
	}
}

// recipientOf finds the place of a delivery's recipient in its notification.
func (s *Server) recipientOf(ctx context.Context, d *notify.Delivery) (int, error) {
	record, err := s.Store.Notification(ctx, d.NotificationID)
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(record.To, func(to notify.Recipient) bool {
		return notify.DeliveryID(record.ID, d.Channel, to) == d.ID
	})
	if at < 0 {
		return 0, fmt.Errorf("notification %s has no recipient for delivery %s", record.ID, d.ID)
	}
	return at, nil
}
