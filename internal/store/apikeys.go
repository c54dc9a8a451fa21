package store

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

// An apiKeyUse says when an API key was used last. It is a document apart from
// the key's, which is so never written again: no late record of a use brings a
// revoked key back. Several processes may write it, each all of it.
type apiKeyUse struct {
	ID string     `json:"id" bson:"_id"` // of the key
	At *time.Time `json:"at"`
}

// InsertAPIKey stores a new API key.
func (s *Store) InsertAPIKey(ctx context.Context, k *access.Key) error {
	if err := insert(ctx, s.apiKeyUses, apiKeyUse{ID: k.ID}); err != nil {
		return err
	}
	return insert(ctx, s.apiKeys, k)
}

// APIKey reads an API key; CodeNotFound when there is none.
func (s *Store) APIKey(ctx context.Context, id string) (*access.Key, error) {
	return find[access.Key](ctx, s.apiKeys, id)
}

// A ListedAPIKey is an API key with when it was used last.
type ListedAPIKey struct {
	access.Key
	LastUsedAt *time.Time
}

// APIKeys reads up to limit API keys whose ids come after the given one, the
// oldest first.
func (s *Store) APIKeys(ctx context.Context, after string, limit int) ([]ListedAPIKey, error) {
	order := options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit))
	keys, err := list[access.Key](ctx, s.apiKeys, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}, order)
	if err != nil {
		return nil, err
	}
	ids := make(bson.A, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	uses, err := list[apiKeyUse](ctx, s.apiKeyUses, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, options.Find())
	if err != nil {
		return nil, err
	}
	used := make(map[string]*time.Time, len(uses))
	for _, u := range uses {
		used[u.ID] = u.At
	}
	listed := make([]ListedAPIKey, len(keys))
	for i, k := range keys {
		listed[i] = ListedAPIKey{Key: k, LastUsedAt: used[k.ID]}
	}
	return listed, nil
}

// DeleteAPIKey revokes an API key; CodeNotFound when there is none.
func (s *Store) DeleteAPIKey(ctx context.Context, id string) error {
	deleted, err := s.apiKeys.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	if err != nil {
		return unavailable("delete from "+s.apiKeys.Name(), err)
	}
	if deleted.DeletedCount == 0 {
		return &notify.Error{Code: notify.CodeNotFound, Detail: fmt.Sprintf("there is no API key %q", id)}
	}
	_, err = s.apiKeyUses.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	return unavailable("delete from "+s.apiKeyUses.Name(), err)
}

// APIKeyUsed records when an API key was used last. Of one that was revoked
// nothing is recorded.
func (s *Store) APIKeyUsed(ctx context.Context, id string, at time.Time) error {
	_, err := s.apiKeyUses.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "at", Value: at}}}})
	return unavailable("update in "+s.apiKeyUses.Name(), err)
}
