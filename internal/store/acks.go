package store

import (
	"context"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What acknowledgements lead to is brought up to date a little later, since a
// client acknowledges often: first their deliveries, which may not be recorded
// yet when a client that is connected has the item already, then the counts of
// their notifications, of which one is the same for many.
const (
	learnPause   = 100 * time.Millisecond
	learnMost    = 10 * time.Second
	learnGiveUp  = 5 * time.Minute // the delivery is recorded by then, whoever died over it
	learnAtOnce  = 16
	recountPause = time.Second
	recountMost  = time.Minute
	recountShare = 10 // of the time, a tenth is spent counting the same
)

func (s *Store) newChores() {
	s.learning = &chores{
		do: s.learnOf, pause: learnPause, most: learnMost, giveUp: learnGiveUp, atOnce: learnAtOnce,
	}
	s.recounting = &chores{
		do: s.recountOf, pause: recountPause, most: recountMost, giveUp: notify.DefaultExpiry, share: recountShare, atOnce: 1,
	}
}

// AckItems notes that a client of the user's has these items: that makes their
// deliveries delivered, and soon after their notifications count them so.
// Acknowledged again, nothing changes.
func (s *Store) AckItems(ctx context.Context, items []notify.Item, at time.Time) error {
	if len(items) == 0 {
		return nil
	}
	events := make([]any, len(items))
	for i, item := range items {
		events[i] = &notify.Event{
			ID: notify.EventID(item.DeliveryID, ackEvent), DeliveryID: item.DeliveryID, NotificationID: item.NotificationID,
			Provider: string(notify.ChannelInbox), Kind: notify.EventDelivered, At: at,
		}
	}
	var failed error
	for i, r := range s.insertEvent.insertAll(ctx, events) {
		if r.err != nil && notify.CodeOf(r.err) != notify.CodeConflict {
			failed = r.err
			continue
		}
		s.learning.ask(ctx, items[i].DeliveryID)
	}
	return failed
}

// ackEvent is under which id a delivery's acknowledgement is known.
const ackEvent = "ack"

// learnOf brings a delivery up to date with its acknowledgement.
func (s *Store) learnOf(ctx context.Context, deliveryID string) error {
	before, err := s.Delivery(ctx, deliveryID)
	if err != nil {
		return err
	}
	if before.State == notify.StateDelivered {
		return nil
	}
	learnt, err := s.Learn(ctx, deliveryID)
	if err == nil && learnt.State != before.State {
		s.RecountSoon(ctx, learnt.NotificationID)
	}
	return err
}

// RecountSoon has the document of a notification brought up to date after a
// delivery of it has changed: once it has ended.
func (s *Store) RecountSoon(ctx context.Context, notificationID string) {
	s.recounting.ask(ctx, notificationID)
}

func (s *Store) recountOf(ctx context.Context, notificationID string) error {
	err := s.Recount(ctx, notificationID)
	if notify.CodeOf(err) == notify.CodeNotFound { // its document may have been lost with the API that had accepted it
		return nil
	}
	return err
}
