package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// An itemDocument is an item as it is kept.
type itemDocument struct {
	notify.Item `bson:",inline"`
	Changes     int       `json:"changes"`   // how many of its changes are in its times
	StoredAt    time.Time `json:"stored_at"` // just before it could be seen, see StoredSince
}

// InsertItem stores an item of an inbox; CodeConflict when it is there already.
// It is the same one then: the id is fixed by the delivery's claim.
func (s *Store) InsertItem(ctx context.Context, item *notify.Item) error {
	return s.insertItem.insert(ctx, &itemDocument{Item: *item})
}

// InsertItems stores items; those that are there already are fine.
func (s *Store) InsertItems(ctx context.Context, items []*notify.Item) error {
	var failures []error
	for batch := range slices.Chunk(items, maxGathered) {
		documents := make([]any, len(batch))
		for i, item := range batch {
			documents[i] = &itemDocument{Item: *item}
		}
		for _, r := range s.insertStamped(ctx, documents) {
			if r.err != nil && notify.CodeOf(r.err) != notify.CodeConflict {
				failures = append(failures, r.err)
			}
		}
	}
	return errors.Join(failures...)
}

// Item reads an item of a user's inbox; CodeNotFound when there is none.
func (s *Store) Item(ctx context.Context, userID, itemID string) (*notify.Item, error) {
	d, err := s.item(ctx, userID, itemID)
	if err != nil {
		return nil, err
	}
	return &d.Item, nil
}

func (s *Store) item(ctx context.Context, userID, itemID string) (*itemDocument, error) {
	d, err := find[itemDocument](ctx, s.inbox, itemID)
	if err == nil && d.UserID != userID {
		return nil, &notify.Error{Code: notify.CodeNotFound, Detail: "no item " + itemID + " in this inbox"}
	}
	return d, err
}

// An InboxQuery selects items of a user's inbox.
type InboxQuery struct {
	UserID   string
	Before   string // the id of an item: only those that came before it; empty: all
	Unread   bool   // only those that were not read
	Archived bool   // archived ones too
	Limit    int
}

// Inbox lists items, newest first.
func (s *Store) Inbox(ctx context.Context, q InboxQuery) ([]notify.Item, error) {
	filter := bson.D{{Key: "user_id", Value: q.UserID}}
	if q.Before != "" {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$lt", Value: q.Before}}})
	}
	if q.Unread {
		filter = append(filter, isUnset("read_at"))
	}
	if !q.Archived {
		filter = append(filter, isUnset("archived_at"))
	}
	return list[notify.Item](ctx, s.inbox, filter,
		options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(int64(q.Limit)))
}

// InboxSince lists items of a user, archived ones too, oldest first, from the
// one with the id on: what a client has missed.
func (s *Store) InboxSince(ctx context.Context, userID, fromID string, limit int) ([]notify.Item, error) {
	return list[notify.Item](ctx, s.inbox,
		bson.D{{Key: "user_id", Value: userID}, {Key: "_id", Value: bson.D{{Key: "$gte", Value: fromID}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

// Unread counts a user's items that are neither read nor archived.
func (s *Store) Unread(ctx context.Context, userID string) (int, error) {
	n, err := s.inbox.CountDocuments(ctx, unreadOf(userID))
	return int(n), unavailable("count in "+s.inbox.Name(), err)
}

func unreadOf(userID string) bson.D {
	return bson.D{{Key: "user_id", Value: userID}, isUnset("read_at"), isUnset("archived_at")}
}

// isUnset selects documents without a field.
func isUnset(field string) bson.E { return bson.E{Key: field, Value: nil} }
