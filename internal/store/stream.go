package store

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// insertStamped inserts items, each with the moment. A write has no more than
// patience, so an item can be seen at most that long after its moment, on the
// clock of who stored it. Its id says less: a claim fixes it, and where that
// claim's holder died, or MongoDB was away, the item is stored much later.
func (s *Store) insertStamped(ctx context.Context, documents []any) []result[struct{}] {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := time.Now().UTC().Truncate(time.Millisecond)
	for _, d := range documents {
		d.(*itemDocument).StoredAt = now
	}
	return s.insertItem.insertAll(ctx, documents)
}

// A Stored is an item that was stored, and when.
type Stored struct {
	ID     string    `json:"id" bson:"_id"`
	UserID string    `json:"user_id"`
	At     time.Time `json:"stored_at"`
}

// StoredSince finds which items of users were stored at or after a moment, up to
// limit of them, in no order. An item can be seen here some seconds after the
// moment at which it was stored: who asks again has to begin so much earlier.
func (s *Store) StoredSince(ctx context.Context, userIDs []string, since time.Time, limit int) ([]Stored, error) {
	return list[Stored](ctx, s.inbox,
		bson.D{
			{Key: "user_id", Value: bson.D{{Key: "$in", Value: userIDs}}},
			{Key: "stored_at", Value: bson.D{{Key: "$gte", Value: since}}},
		},
		options.Find().SetLimit(int64(limit)).SetProjection(bson.D{{Key: "user_id", Value: 1}, {Key: "stored_at", Value: 1}}))
}

// Items reads the items with the ids, oldest first. Those that are not there are
// left out.
func (s *Store) Items(ctx context.Context, ids []string) ([]notify.Item, error) {
	return list[notify.Item](ctx, s.inbox, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
}
