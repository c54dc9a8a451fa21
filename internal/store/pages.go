package store

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// PutPageCounts writes how the deliveries of a page stand. Where two senders
// take themselves for the page's only one, the last to write is believed: what
// counts in the end is what each of them answers to the workflow.
func (s *Store) PutPageCounts(ctx context.Context, c notify.PageCounts) error {
	err := insert(ctx, s.pages, c)
	if notify.CodeOf(err) != notify.CodeConflict {
		return err
	}
	_, err = s.pages.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: c.ID}}, bson.D{{Key: "$set", Value: bson.D{{Key: "counts", Value: c.Counts}}}})
	return unavailable("update pages", err)
}

// CountPages adds up, for each notification by its id, the deliveries that have
// ended as its pages say.
func (s *Store) CountPages(ctx context.Context, notificationIDs []string) (map[string]notify.Counts, error) {
	pages, err := list[notify.PageCounts](ctx, s.pages,
		bson.D{{Key: "notification_id", Value: bson.D{{Key: "$in", Value: notificationIDs}}}}, options.Find())
	if err != nil {
		return nil, err
	}
	counts := make(map[string]notify.Counts, len(notificationIDs))
	for _, p := range pages {
		of := counts[p.NotificationID]
		of.Sum(p.Counts)
		counts[p.NotificationID] = of
	}
	return counts, nil
}

// DeletePageCounts forgets the counts of a notification's pages.
func (s *Store) DeletePageCounts(ctx context.Context, notificationID string) error {
	_, err := s.pages.DeleteMany(ctx, bson.D{{Key: "notification_id", Value: notificationID}})
	return unavailable("delete from pages", err)
}
