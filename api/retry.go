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
	first, last, err := s.claims(ctx, deliveryID)
	if err != nil {
		return nil, err
	}
	if last != nil && last.Reopened > ended.Claim && !last.Reopens() {
		return nil, notToRetry(notify.StateQueued) // it is being tried
	}
	reopening := last
	if last == nil || !last.Reopens() {
		reopening = notify.Reopen(ended, last, uuid.NewString(), s.now())
		if err := s.Store.InsertClaim(ctx, reopening); err != nil && notify.CodeOf(err) != notify.CodeConflict {
			return nil, err
		}
	}
	at, err := s.recipientOf(ctx, ended)
	if err != nil {
		return nil, err
	}
	err = s.Starter.Redeliver(ctx, deliveryID, reopening.Number, workflows.RedeliveryInput{
		NotificationID: ended.NotificationID, Recipient: at, ExpiresAt: s.now().Add(notify.DefaultExpiry),
	})
	if err != nil {
		return nil, err
	}
	view := withContent(underWay(reopening), first)
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
