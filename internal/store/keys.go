package store

import (
	"context"

	"github.com/belfry-notify/belfry/internal/notify"
)

// InsertKey stores an idempotency key; CodeConflict when it is taken.
func (s *Store) InsertKey(ctx context.Context, k *notify.IdempotencyKey) error {
	return insert(ctx, s.keys, k)
}

// Key reads an idempotency key; CodeNotFound when there is none.
func (s *Store) Key(ctx context.Context, id string) (*notify.IdempotencyKey, error) {
	return find[notify.IdempotencyKey](ctx, s.keys, id)
}
