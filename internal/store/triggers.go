package store

import (
	"context"
	"time"

	"github.com/belfry-notify/belfry/internal/trigger"
)

// CreateTrigger stores a trigger that does not exist or was deleted, and sets
// its version. It fails with CodeConflict when the name is taken.
func (s *Store) CreateTrigger(ctx context.Context, d *trigger.Definition) error {
	return s.triggers.create(ctx, d.Name, func(version int) *trigger.Definition {
		d.Version = version
		return d
	})
}

// UpdateTrigger stores the next version of a trigger and sets it in d. It fails
// with CodeNotFound when there is no such trigger.
func (s *Store) UpdateTrigger(ctx context.Context, d *trigger.Definition) error {
	_, err := s.triggers.change(ctx, d.Name, func(_ *trigger.Definition, version int) *trigger.Definition {
		d.Version = version
		return d
	})
	return err
}

// DeleteTrigger hides a trigger; one that is made again under its name goes on
// counting versions. CodeNotFound when there is no such trigger.
func (s *Store) DeleteTrigger(ctx context.Context, name string, at time.Time) error {
	return s.triggers.hide(ctx, name, at)
}

// Trigger reads the newest version of a trigger; CodeNotFound when there is none
// or it was deleted.
func (s *Store) Trigger(ctx context.Context, name string) (*trigger.Definition, error) {
	return s.triggers.visible(ctx, name, 0)
}

// ListTriggers reads the newest versions of up to limit triggers whose names
// come after the given one, in the order of their names. It asks the server once
// where it has read these versions before.
func (s *Store) ListTriggers(ctx context.Context, after string, limit int) ([]trigger.Definition, error) {
	return s.triggers.list(ctx, after, limit)
}
