package store

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/outcome"
)

// Outcomes tells other programs what the store learns of deliveries and
// notifications after they ended. It is told before that is written: whoever
// finds it written need not tell it.
type Outcomes interface {
	Deliveries(ctx context.Context, deliveries []*notify.Delivery) error
	Notification(ctx context.Context, r *notify.Record) error
}

// TellOutcomes has a store tell them. It is for its beginning.
func (s *Store) TellOutcomes(to Outcomes) { s.outcomes = to }

func (s *Store) tellDelivery(ctx context.Context, d *notify.Delivery) error {
	if s.outcomes == nil {
		return nil
	}
	return s.outcomes.Deliveries(ctx, []*notify.Delivery{d})
}

func (s *Store) tellNotification(ctx context.Context, r *notify.Record) error {
	if s.outcomes == nil {
		return nil
	}
	return s.outcomes.Notification(ctx, r)
}

// An untoldDocument is what could not be published as it is kept: its events as
// one blob, since those of a chunk have most of their words in common.
type untoldDocument struct {
	outcome.Untold `bson:",inline"`
	Blob           []byte `json:"blob"` // zstd of a JSON array
}

// InsertUntold stores events that are to be published later.
func (s *Store) InsertUntold(ctx context.Context, u *outcome.Untold) error {
	blob, err := s.packer.pack(u.Events)
	if err != nil {
		return fmt.Errorf("pack outcomes: %w", err)
	}
	return insert(ctx, s.untold, untoldDocument{Untold: *u, Blob: blob})
}

// ListUntold lists what a process is to publish, or, with mine false, what all
// others are to, oldest first.
func (s *Store) ListUntold(ctx context.Context, owner string, mine bool, limit int) ([]outcome.Untold, error) {
	whose := bson.E{Key: "owner", Value: owner}
	if !mine {
		whose.Value = bson.D{{Key: "$ne", Value: owner}}
	}
	documents, err := list[untoldDocument](ctx, s.untold, bson.D{whose},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
	waiting := make([]outcome.Untold, len(documents))
	for i, d := range documents {
		waiting[i] = d.Untold
		if err == nil {
			err = s.packer.unpack(d.Blob, &waiting[i].Events)
		}
	}
	return waiting, err
}

// DeleteUntold forgets events that were published.
func (s *Store) DeleteUntold(ctx context.Context, id string) error {
	_, err := s.untold.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	return unavailable("delete from untold", err)
}
