package store

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// InsertEvent stores what was learnt of a delivery; CodeConflict when it is
// stored already.
func (s *Store) InsertEvent(ctx context.Context, e *notify.Event) error {
	return s.insertEvent.insert(ctx, e)
}

// EventsOf lists what was learnt of a delivery.
func (s *Store) EventsOf(ctx context.Context, deliveryID string) ([]notify.Event, error) {
	return list[notify.Event](ctx, s.events, bson.D{{Key: "delivery_id", Value: deliveryID}}, options.Find())
}

// eventsOf is the same for a delivery whose channel is known: of an item there is
// the acknowledgement, which is found by its id.
func (s *Store) eventsOf(ctx context.Context, d *notify.Delivery) ([]notify.Event, error) {
	if d.Channel != notify.ChannelInbox {
		return s.EventsOf(ctx, d.ID)
	}
	ack, err := find[notify.Event](ctx, s.events, notify.EventID(d.ID, ackEvent))
	if notify.CodeOf(err) == notify.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []notify.Event{*ack}, nil
}

// Learn brings a delivery's document up to date with its events, and answers
// with it. CodeNotFound while the delivery has no end: none yet, or none since
// it was reopened.
//
// Whatever order events come in and however many do this at once, the last one
// to look finds nothing left to change: events are only ever added, and the
// same events make the same delivery.
func (s *Store) Learn(ctx context.Context, deliveryID string) (*notify.Delivery, error) {
	for {
		d, err := s.Delivery(ctx, deliveryID)
		if err != nil {
			return nil, err
		}
		since, err := s.reopenedAt(ctx, d)
		if err != nil {
			return nil, err
		}
		events, err := s.eventsOf(ctx, d)
		if err != nil {
			return nil, err
		}
		learnt, changed := d.Learn(from(since, events))
		if !changed {
			return d, nil
		}
		if err := s.tellDelivery(ctx, &learnt); err != nil {
			return nil, err
		}
		if err := s.ReplaceDelivery(ctx, &learnt); err != nil {
			return nil, err
		}
	}
}

// from leaves out the events that tell of a time before the delivery was
// reopened: a bounce of the first message says nothing of the second. Providers
// tell the time in seconds.
func from(since time.Time, events []notify.Event) []notify.Event {
	var current []notify.Event
	for _, e := range events {
		if !e.At.Before(since.Truncate(time.Second)) {
			current = append(current, e)
		}
	}
	return current
}

// reopenedAt is when the delivery was last reopened, zero when it never was. It
// is CodeNotFound when it has not ended since.
func (s *Store) reopenedAt(ctx context.Context, d *notify.Delivery) (time.Time, error) {
	var since time.Time
	mayBeTried := d.State == notify.StateFailed || d.State == notify.StateUnknown
	if d.Claim < 2 && !mayBeTried { // the claim that reopens is not the one that sends
		return since, nil
	}
	claims, err := s.Claims(ctx, d.ID)
	if err != nil {
		return since, err
	}
	for _, c := range claims {
		if c.Reopened > d.Claim {
			return since, &notify.Error{Code: notify.CodeNotFound, Detail: "delivery " + d.ID + " is being tried again"}
		}
		if c.Reopens() {
			since = c.At
		}
	}
	return since, nil
}

// countFew is up to how many deliveries are counted one by one, by their ids.
const countFew = 10

// countEnded counts the deliveries of a notification that has ended.
func (s *Store) countEnded(ctx context.Context, n *notify.Notification) (counts notify.Counts, err error) {
	if few := n.Deliveries(); n.Audience == nil && few > 0 && few <= countFew {
		for _, to := range n.To {
			for _, channel := range n.Channels {
				d, err := s.Delivery(ctx, notify.DeliveryID(n.ID, channel, to))
				switch notify.CodeOf(err) {
				case "":
					counts.Add(d.State, 1)
				case notify.CodeNotFound:
				default:
					return counts, err
				}
			}
		}
		if counts.Total == n.Deliveries() { // else a recipient was erased
			return counts, nil
		}
	}
	return s.CountEnded(ctx, n.ID)
}

// Recount brings the document of a notification that has ended up to date after
// a delivery of it has changed. It is CodeConflict while the notification runs:
// its workflow counts then, and only when that is over is the document free.
//
// It counts twice. Where there are many deliveries, a server without the index
// reads every one there is for that: ctx is to have a deadline that allows for it.
func (s *Store) Recount(ctx context.Context, notificationID string) error {
	for {
		record, err := s.Notification(ctx, notificationID)
		if err != nil {
			return err
		}
		if !record.Status.Ended() {
			return &notify.Error{Code: notify.CodeConflict, Detail: "the notification still runs"}
		}
		counts, err := s.countEnded(ctx, &record.Notification)
		if err != nil {
			return err
		}
		// Two of these at once may each write what they read: the one who writes
		// last finds the counts changed or right.
		if counts == record.Counts {
			return nil
		}
		before := record.Status
		record.Counts = counts
		if before != notify.StatusCancelled {
			record.Status = counts.Status(before == notify.StatusExpired)
		}
		if record.Status != before {
			if err := s.tellNotification(ctx, record); err != nil {
				return err
			}
		}
		if err := s.UpdateProgress(ctx, notificationID, record.Progress); err != nil {
			return err
		}
	}
}
