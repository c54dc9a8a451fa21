package store

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// InsertNotification stores a notification as accepted; CodeConflict when it
// is there already.
func (s *Store) InsertNotification(ctx context.Context, r *notify.Record) error {
	err := s.insertNotification.insert(ctx, r)
	if err == nil && r.Status == notify.StatusSending && !r.Bulk && len(r.To) <= maxRecentRecipients && r.Content == nil {
		s.recent.Add(r.ID, &r.Notification)
	}
	return err
}

// DeleteNotification takes back a notification whose workflow was not started.
func (s *Store) DeleteNotification(ctx context.Context, id string) error {
	s.recent.Remove(id)
	_, err := s.notifications.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	return unavailable("delete from notifications", err)
}

// Accepted reads a notification as it was accepted, which never changes once it
// is being sent. The last small ones that were sent at once are in the memory
// of the process that stored them.
func (s *Store) Accepted(ctx context.Context, id string) (*notify.Notification, error) {
	if n, ok := s.recent.Get(id); ok {
		return n, nil
	}
	r, err := s.Notification(ctx, id)
	if err != nil {
		return nil, err
	}
	return &r.Notification, nil
}

// Notification reads a notification; CodeNotFound when there is none.
func (s *Store) Notification(ctx context.Context, id string) (*notify.Record, error) {
	return find[notify.Record](ctx, s.notifications, id)
}

// UpdateProgress writes how far a notification has come; only its workflow
// calls this. CodeNotFound when the notification was never stored.
func (s *Store) UpdateProgress(ctx context.Context, id string, p notify.Progress) error {
	_, err := s.updates.do(ctx, notificationUpdate{id, p})
	return err
}

// UpdateStatus writes where a notification stands that has not ended; only its
// workflow calls this.
func (s *Store) UpdateStatus(ctx context.Context, id string, status notify.Status) error {
	_, err := s.updates.do(ctx, notificationUpdate{id, bson.D{{Key: "status", Value: status}}})
	return err
}

// UpdateTimes writes when a notification is to go out and when it expires; only
// its workflow calls this.
func (s *Store) UpdateTimes(ctx context.Context, id string, sendAt, expiresAt time.Time) error {
	_, err := s.updates.do(ctx, notificationUpdate{id, bson.D{{Key: "send_at", Value: sendAt}, {Key: "expires_at", Value: expiresAt}}})
	return err
}

// UpdateAudience writes who is told, and how the deliveries stand now that this
// is known; only its workflow calls this.
func (s *Store) UpdateAudience(ctx context.Context, id string, audience notify.AudienceRef, counts notify.Counts) error {
	_, err := s.updates.do(ctx, notificationUpdate{id, bson.D{{Key: "audience", Value: audience}, {Key: "counts", Value: counts}}})
	return err
}

// TellsAudience is the id of a notification that has not ended and is to tell an
// audience, empty when there is none.
func (s *Store) TellsAudience(ctx context.Context, audienceID string) (string, error) {
	ids, err := s.unfinished(ctx, bson.D{{Key: "audience.id", Value: audienceID}}, 1)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	return ids[0], nil
}

type notificationUpdate struct {
	id  string
	set any
}

func (u notificationUpdate) filter() bson.D { return bson.D{{Key: "_id", Value: u.id}} }
func (u notificationUpdate) change() bson.D { return bson.D{{Key: "$set", Value: u.set}} }

// updateAll writes to notifications. If some of several are not
// there, the server does not say which: then each is asked for alone.
func (s *Store) updateAll(ctx context.Context, updates []notificationUpdate) []result[struct{}] {
	results := make([]result[struct{}], len(updates))
	if len(updates) > 1 {
		models := make([]mongo.WriteModel, len(updates))
		for i, u := range updates {
			models[i] = mongo.NewUpdateOneModel().SetFilter(u.filter()).SetUpdate(u.change())
		}
		done, err := s.notifications.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
		if err == nil && done.MatchedCount == int64(len(updates)) {
			return results
		}
	}
	for i, u := range updates {
		done, err := s.notifications.UpdateOne(ctx, u.filter(), u.change())
		switch {
		case err != nil:
			results[i].err = unavailable("update notifications", err)
		case done.MatchedCount == 0:
			results[i].err = &notify.Error{Code: notify.CodeNotFound, Detail: "no notification " + u.id}
		}
	}
	return results
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

// Unfinished lists the ids of notifications without an end that were to go out
// before a moment, in their order, after the given one.
func (s *Store) Unfinished(ctx context.Context, before time.Time, afterID string, limit int) ([]string, error) {
	return s.unfinished(ctx, bson.D{
		{Key: "send_at", Value: bson.D{{Key: "$lt", Value: before}}},
		{Key: "_id", Value: bson.D{{Key: "$gt", Value: afterID}}},
	}, limit)
}

// unfinished lists the ids of notifications without an end, in their order.
func (s *Store) unfinished(ctx context.Context, which bson.D, limit int) ([]string, error) {
	running := bson.E{Key: "status", Value: bson.D{{Key: "$in", Value: bson.A{notify.StatusScheduled, notify.StatusSending, notify.StatusPaused}}}}
	found, err := list[struct {
		ID string `bson:"_id"`
	}](ctx, s.notifications, append(bson.D{running}, which...), options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	return ids, err
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
