package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What users do with an item is kept as a log of changes, each inserted under
// the next number: an insert decides which of several at once comes first, and
// none of them is lost. The times of the item's own document follow the log.
// Several who bring them up to date may undo each other's work; each looks again
// after it has written, and the last one to look finds nothing left to do.

// An ItemChange is what a user does with an item.
type ItemChange string

// The changes.
const (
	ItemSeen    ItemChange = "seen"
	ItemRead    ItemChange = "read" // and so seen
	ItemUnread  ItemChange = "unread"
	ItemArchive ItemChange = "archive"
)

// A changeDocument is one change of an item.
type changeDocument struct {
	ID     string     `json:"id" bson:"_id"` // <item>/<number>, from 1
	Change ItemChange `json:"change"`
	At     time.Time  `json:"at"`
}

func changeID(itemID string, number int) string { return fmt.Sprintf("%s/%d", itemID, number) }

// apply makes a change, and says whether it is one. A time that is set stays.
func (d *itemDocument) apply(change ItemChange, at time.Time) bool {
	before := *d
	set := func(t **time.Time) {
		if *t == nil {
			*t = &at
		}
	}
	switch change {
	case ItemSeen:
		set(&d.SeenAt)
	case ItemRead:
		set(&d.SeenAt)
		set(&d.ReadAt)
	case ItemUnread:
		d.ReadAt = nil
	case ItemArchive:
		set(&d.ArchivedAt)
	}
	return d.SeenAt != before.SeenAt || d.ReadAt != before.ReadAt || d.ArchivedAt != before.ArchivedAt
}

// ChangeItem changes an item of a user's inbox, and answers with it as it stands
// then; CodeNotFound when there is none. Made again, a change is none.
func (s *Store) ChangeItem(ctx context.Context, userID, itemID string, change ItemChange, at time.Time) (*notify.Item, error) {
	d, err := s.item(ctx, userID, itemID)
	if err != nil {
		return nil, err
	}
	for {
		known := d.Changes
		if err := s.followChanges(ctx, d); err != nil {
			return nil, err
		}
		changed := d.apply(change, at)
		if changed {
			err := s.insertChange.insert(ctx, changeDocument{ID: changeID(itemID, d.Changes+1), Change: change, At: at})
			if notify.CodeOf(err) == notify.CodeConflict { // somebody else's comes first
				if d, err = s.item(ctx, userID, itemID); err != nil {
					return nil, err
				}
				continue
			}
			if err != nil {
				return nil, err
			}
			d.Changes++
		}
		if d.Changes == known {
			return &d.Item, nil
		}
		return s.settleItem(ctx, d)
	}
}

// followChanges makes the changes that are in the log and not in the item.
func (s *Store) followChanges(ctx context.Context, d *itemDocument) error {
	for {
		next, err := find[changeDocument](ctx, s.inboxChanges, changeID(d.ID, d.Changes+1))
		if notify.CodeOf(err) == notify.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		d.apply(next.Change, next.At)
		d.Changes++
	}
}

// settleItem writes an item's times until they are those of the log.
func (s *Store) settleItem(ctx context.Context, d *itemDocument) (*notify.Item, error) {
	for {
		if _, err := s.updateItem.do(ctx, d); err != nil {
			return nil, err
		}
		stored, err := s.item(ctx, d.UserID, d.ID)
		if err != nil {
			return nil, err
		}
		known := stored.Changes
		if err := s.followChanges(ctx, stored); err != nil {
			return nil, err
		}
		if stored.Changes == known {
			return &stored.Item, nil
		}
		d = stored
	}
}

// updateItems writes the times of items.
func (s *Store) updateItems(ctx context.Context, items []*itemDocument) []result[struct{}] {
	models := make([]mongo.WriteModel, len(items))
	for i, d := range items {
		set, unset := bson.D{{Key: "changes", Value: d.Changes}}, bson.D{}
		for field, value := range map[string]*time.Time{"seen_at": d.SeenAt, "read_at": d.ReadAt, "archived_at": d.ArchivedAt} {
			if value == nil {
				unset = append(unset, bson.E{Key: field, Value: ""})
			} else {
				set = append(set, bson.E{Key: field, Value: value})
			}
		}
		update := bson.D{{Key: "$set", Value: set}}
		if len(unset) > 0 {
			update = append(update, bson.E{Key: "$unset", Value: unset})
		}
		models[i] = mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: d.ID}}).SetUpdate(update)
	}
	_, err := s.inbox.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	results := make([]result[struct{}], len(items))
	for i := range results {
		results[i].err = unavailable("update in "+s.inbox.Name(), err)
	}
	return results
}

// Of the items that are read together: how many are listed, and how many are
// under way at a time.
const (
	readAllBatch       = 200
	readAllConcurrency = 50
)

// ReadAll marks a user's items as read that are neither read nor archived, and
// answers with them. One that comes meanwhile may be among them. When it fails,
// some may have been changed.
func (s *Store) ReadAll(ctx context.Context, userID string, at time.Time) (changed []notify.Item, err error) {
	for last := ""; ; {
		filter := append(unreadOf(userID), bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: last}}})
		unread, err := list[notify.Item](ctx, s.inbox, filter,
			options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(readAllBatch))
		if err != nil {
			return changed, err
		}
		var mu sync.Mutex
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(readAllConcurrency)
		for _, item := range unread {
			group.Go(func() error {
				read, err := s.ChangeItem(groupCtx, userID, item.ID, ItemRead, at)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				changed = append(changed, *read)
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return changed, err
		}
		if len(unread) < readAllBatch {
			return changed, nil
		}
		last = unread[len(unread)-1].ID
	}
}
