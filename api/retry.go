package api

import (
	"context"
	"fmt"

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
	if _, ok := ended.Recipient(); !ok {
		return nil, &notify.Error{Code: notify.CodeConflict, Detail: "the recipient of the delivery was erased"}
	}
	own, err := s.Store.Claims(ctx, deliveryID)
	if err != nil {
		return nil, err
	}
	number, err := s.reopening(ctx, ended, own)
	if err != nil {
		return nil, err
	}
	err = s.Starter.Redeliver(ctx, workflows.RedeliveryInput{
		NotificationID: ended.NotificationID, DeliveryID: deliveryID, Claim: number, ExpiresAt: s.now().Add(notify.DefaultExpiry),
	})
	if err != nil {
		return nil, err
	}
	// The workflow does this too: done here, whoever looks next sees it queued.
	reopening := notify.Reopen(ended, own, number, uuid.NewString(), s.now())
	if err := s.Store.InsertClaim(ctx, reopening); err != nil && notify.CodeOf(err) != notify.CodeConflict {
		s.log.WarnContext(ctx, "delivery to be tried again, it shows soon", "delivery", deliveryID, "error", err)
	}
	return s.view(ctx, ended, append(own, *reopening))
}

// reopening is the number of the claim that is to reopen a delivery with these
// claims of its own. Those of its chunk come before them. While somebody may
// still add to the chunk's, because its sender died over it, it is
// notify.CodeConflict.
func (s *Server) reopening(ctx context.Context, ended *notify.Delivery, own []notify.Claim) (int, error) {
	if len(own) > 0 {
		last := own[len(own)-1]
		if last.Reopened > ended.Claim { // it is being tried: if that was cut off, it goes on
			return last.Reopened, nil
		}
		return last.Number + 1, nil
	}
	if ended.Entry == "" {
		return 1, nil
	}
	for number := ended.Claim + 1; ; number++ {
		id, _, err := ended.Entry.In(ended.NotificationID, number)
		if err != nil {
			return 0, err
		}
		chunk, err := s.Store.Chunk(ctx, id)
		if notify.CodeOf(err) == notify.CodeNotFound {
			return 0, &notify.Error{
				Code:   notify.CodeConflict,
				Detail: "other deliveries that go out together with this one have not ended: try again in a minute or two",
			}
		}
		if err != nil {
			return 0, err
		}
		if chunk.End != nil { // no claim to send
			return number, nil
		}
	}
}

func notToRetry(state notify.State) error {
	return &notify.Error{
		Code:   notify.CodeConflict,
		Detail: fmt.Sprintf("the delivery is %s: only one that failed or is unknown can be tried again", state),
	}
}
