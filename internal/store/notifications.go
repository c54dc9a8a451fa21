package store

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// InsertNotification stores a notification as accepted; CodeConflict when it
// is there already.
func (s *Store) InsertNotification(ctx context.Context, r *notify.Record) error {
	return insert(ctx, s.notifications, r)
}

// Notification reads a notification; CodeNotFound when there is none.
func (s *Store) Notification(ctx context.Context, id string) (*notify.Record, error) {
	return find[notify.Record](ctx, s.notifications, id)
}

// UpdateProgress writes how far a notification has come; only its workflow
// calls this. CodeNotFound when the notification was never stored.
func (s *Store) UpdateProgress(ctx context.Context, id string, p notify.Progress) error {
	result, err := s.notifications.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: id}},
		bson.D{{Key: "$set", Value: p}})
	if err != nil {
		return unavailable("update notifications", err)
	}
	if result.MatchedCount == 0 {
		return &notify.Error{Code: notify.CodeNotFound, Detail: "no notification " + id}
	}
	return nil
}

// A Position is a place in a listing that is ordered newest first.
type Position struct {
	CreatedAt time.Time `json:"t"`
	ID        string    `json:"i"`
}

// A NotificationQuery selects notifications; zero fields select all.
type NotificationQuery struct {
	Status   notify.Status
	Template string // a name
	Tag      string
	From, To time.Time // accepted at or after From and before To
	After    *Position
	Limit    int
}

// Notifications lists notifications, newest first, without their recipients,
// content and data.
func (s *Store) Notifications(ctx context.Context, q NotificationQuery) ([]notify.Record, error) {
	filter := bson.D{}
	if q.Status != "" {
		filter = append(filter, bson.E{Key: "status", Value: q.Status})
	}
	if q.Template != "" {
		filter = append(filter, bson.E{Key: "template.name", Value: q.Template})
	}
	if q.Tag != "" {
		filter = append(filter, bson.E{Key: "tags", Value: q.Tag})
	}
	filter = append(filter, between(q.From, q.To)...)
	filter = append(filter, after(q.After)...)
	return list[notify.Record](ctx, s.notifications, filter,
		newestFirst(q.Limit).SetProjection(bson.D{
			{Key: "to", Value: 0}, {Key: "content", Value: 0}, {Key: "data", Value: 0},
		}))
}

// Unfinished lists notifications without an end that were accepted before a
// moment, by id, after the given one.
func (s *Store) Unfinished(ctx context.Context, before time.Time, afterID string, limit int) ([]notify.Record, error) {
	return list[notify.Record](ctx, s.notifications, bson.D{
		{Key: "status", Value: bson.D{{Key: "$in", Value: bson.A{notify.StatusScheduled, notify.StatusSending, notify.StatusPaused}}}},
		{Key: "created_at", Value: bson.D{{Key: "$lt", Value: before}}},
		{Key: "_id", Value: bson.D{{Key: "$gt", Value: afterID}}},
	}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

func newestFirst(limit int) *options.FindOptionsBuilder {
	return options.Find().
		SetSort(bson.D{{Key: "created_at", Value: -1}, {Key: "_id", Value: -1}}).
		SetLimit(int64(limit))
}

func between(from, to time.Time) bson.D {
	var bounds bson.D
	if !from.IsZero() {
		bounds = append(bounds, bson.E{Key: "$gte", Value: from})
	}
	if !to.IsZero() {
		bounds = append(bounds, bson.E{Key: "$lt", Value: to})
	}
	if bounds == nil {
		return nil
	}
	return bson.D{{Key: "created_at", Value: bounds}}
}

func after(p *Position) bson.D {
	if p == nil {
		return nil
	}
	return bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "created_at", Value: bson.D{{Key: "$lt", Value: p.CreatedAt}}}},
		bson.D{{Key: "created_at", Value: p.CreatedAt}, {Key: "_id", Value: bson.D{{Key: "$lt", Value: p.ID}}}},
	}}}
}
