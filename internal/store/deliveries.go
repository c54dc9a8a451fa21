package store

import (
	"context"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// InsertClaim stores a claim; CodeConflict when somebody else holds it.
func (s *Store) InsertClaim(ctx context.Context, c *notify.Claim) error {
	return s.insertClaim.insert(ctx, c)
}

// Claim reads a claim; CodeNotFound when there is none.
func (s *Store) Claim(ctx context.Context, id string) (*notify.Claim, error) {
	return find[notify.Claim](ctx, s.claims, id)
}

// Claims reads a delivery's own claims in their order; none for one that ended
// in its chunk.
func (s *Store) Claims(ctx context.Context, deliveryID string) ([]notify.Claim, error) {
	var claims []notify.Claim
	for {
		claim, err := s.Claim(ctx, notify.ClaimID(deliveryID, len(claims)+1))
		if notify.CodeOf(err) == notify.CodeNotFound {
			return claims, nil
		}
		if err != nil {
			return nil, err
		}
		claims = append(claims, *claim)
	}
}

// RecordOutcome writes what came of a claim; only its inserter calls this.
func (s *Store) RecordOutcome(ctx context.Context, claimID string, o notify.ClaimOutcome) error {
	_, err := s.claims.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: claimID}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "outcome", Value: o}}}})
	return unavailable("update claims", err)
}

// A deliveryDocument is a delivery as it is kept. There are more of them than of
// anything else, and what one costs the embedded engine goes by its fields: so
// the address is left out where its key says it, and a single attempt that
// succeeded is a time.
type deliveryDocument struct {
	notify.Delivery `bson:",inline"`
	AddressKey      string     `bson:"address_key,omitempty"` // what a search finds the address by
	TriedAt         *time.Time `bson:"tried_at,omitempty"`    // the attempt, by Provider
}

func documentOf(d *notify.Delivery) *deliveryDocument {
	document := &deliveryDocument{Delivery: *d, AddressKey: addressKey(d.Address)}
	if document.AddressKey == d.Address {
		document.Address = ""
	}
	if len(d.Attempts) == 1 && d.Attempts[0].Provider == d.Provider && d.Attempts[0].Error == "" {
		document.TriedAt, document.Attempts = &d.Attempts[0].At, nil
	}
	return document
}

// delivery is what documentOf was given.
func (d *deliveryDocument) delivery() *notify.Delivery {
	if d.Address == "" {
		d.Address = d.AddressKey
	}
	switch {
	case d.TriedAt != nil:
		d.Attempts = []notify.Attempt{{At: *d.TriedAt, Provider: d.Provider}}
	case d.Attempts == nil:
		d.Attempts = []notify.Attempt{}
	}
	return &d.Delivery
}

// addressKey is the same for an address in whatever case.
func addressKey(address string) string { return strings.ToLower(address) }

// InsertDelivery stores how a delivery ended; CodeConflict when that is
// stored already.
func (s *Store) InsertDelivery(ctx context.Context, d *notify.Delivery) error {
	return s.insertDelivery.insert(ctx, documentOf(d))
}

// Delivery reads a delivery that has ended; CodeNotFound when there is none.
func (s *Store) Delivery(ctx context.Context, id string) (*notify.Delivery, error) {
	document, err := find[deliveryDocument](ctx, s.deliveries, id)
	if err != nil {
		return nil, err
	}
	return document.delivery(), nil
}

// ReplaceDelivery writes a delivery anew, after what more was learnt of it.
func (s *Store) ReplaceDelivery(ctx context.Context, d *notify.Delivery) error {
	_, err := s.deliveries.ReplaceOne(ctx, bson.D{{Key: "_id", Value: d.ID}}, documentOf(d))
	return unavailable("replace in deliveries", err)
}

// DeliveriesOf lists deliveries of a notification that have ended, by id, from
// after the given id on; a limit of 0 lists all.
func (s *Store) DeliveriesOf(ctx context.Context, notificationID, afterID string, state notify.State, limit int) ([]notify.Delivery, error) {
	filter := bson.D{{Key: "notification_id", Value: notificationID}}
	if afterID != "" {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: afterID}}})
	}
	if state != "" {
		filter = append(filter, bson.E{Key: "state", Value: state})
	}
	return s.listDeliveries(ctx, filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

// A DeliveryQuery selects ended deliveries; zero fields select all.
type DeliveryQuery struct {
	UserID   string
	Address  string // in whatever case
	State    notify.State
	From, To time.Time // created at or after From and before To
	After    *Position
	Limit    int
}

// Deliveries lists deliveries that have ended, newest first.
func (s *Store) Deliveries(ctx context.Context, q DeliveryQuery) ([]notify.Delivery, error) {
	filter := bson.D{}
	if q.UserID != "" {
		filter = append(filter, bson.E{Key: "user_id", Value: q.UserID})
	}
	if q.Address != "" {
		filter = append(filter, bson.E{Key: "address_key", Value: addressKey(q.Address)})
	}
	if q.State != "" {
		filter = append(filter, bson.E{Key: "state", Value: q.State})
	}
	filter = append(filter, between(q.From, q.To)...)
	filter = append(filter, after(q.After)...)
	return s.listDeliveries(ctx, filter, newestFirst(q.Limit))
}

func (s *Store) listDeliveries(ctx context.Context, filter bson.D, opts *options.FindOptionsBuilder) ([]notify.Delivery, error) {
	documents, err := list[deliveryDocument](ctx, s.deliveries, filter, opts)
	deliveries := make([]notify.Delivery, len(documents))
	for i := range documents {
		deliveries[i] = *documents[i].delivery()
	}
	return deliveries, err
}

// CountEnded counts the deliveries of a notification that have ended.
func (s *Store) CountEnded(ctx context.Context, notificationID string) (notify.Counts, error) {
	counts, err := s.CountEndedOf(ctx, []string{notificationID})
	return counts[notificationID], err
}

// CountEndedOf counts the deliveries that have ended of each notification, by
// its id; one of which none has ended may be missing.
func (s *Store) CountEndedOf(ctx context.Context, notificationIDs []string) (map[string]notify.Counts, error) {
	cursor, err := s.deliveries.Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: bson.D{{Key: "notification_id", Value: bson.D{{Key: "$in", Value: notificationIDs}}}}}},
		bson.D{{Key: "$group", Value: bson.D{
			{Key: "_id", Value: bson.D{{Key: "notification", Value: "$notification_id"}, {Key: "state", Value: "$state"}}},
			{Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
		}}},
	})
	if err != nil {
		return nil, unavailable("count deliveries", err)
	}
	var groups []struct {
		Of struct {
			Notification string       `bson:"notification"`
			State        notify.State `bson:"state"`
		} `bson:"_id"`
		N int `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return nil, unavailable("count deliveries", err)
	}
	counts := make(map[string]notify.Counts, len(notificationIDs))
	for _, g := range groups {
		of := counts[g.Of.Notification]
		of.Add(g.Of.State, g.N)
		counts[g.Of.Notification] = of
	}
	return counts, nil
}
