package worker

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
	"github.com/belfry-notify/belfry/workflows"
)

// A ScheduleSweep compares the schedules with Temporal's, now and then. One
// that Temporal does not know as it is stored, since a crash or an outage came
// between, is made so, and one whose planned runs are half used up gets more.
type ScheduleSweep struct {
	Temporal client.Client
	Store    workflows.ScheduleStore
	Ensure   func(ctx context.Context, name string) error
	Log      *slog.Logger
	Now      func() time.Time
	Every    time.Duration

	// Closely has the first sweep look at each schedule itself, whatever is noted
	// on it: it may be encrypted with a key that is to go.
	Closely bool
}

// Run sweeps until ctx ends. Several workers may sweep at once: all they do may
// be done twice.
func (s *ScheduleSweep) Run(ctx context.Context) error {
	return every(ctx, s.Every, s.Log.With("sweep", "schedules"), func(time.Time) error { return s.sweep(ctx) })
}

func (s *ScheduleSweep) sweep(ctx context.Context) error {
	known, err := s.known(ctx)
	if err != nil {
		return err
	}
	for after := ""; ; {
		stored, err := s.Store.ListSchedules(ctx, after, sweepBatch)
		if err != nil {
			return err
		}
		for i := range stored {
			note, there := known[stored[i].Name]
			delete(known, stored[i].Name)
			if s.Closely && there || !s.isUpToDate(&stored[i], note, there) {
				if err := s.ensure(ctx, stored[i].Name); err != nil {
					return err
				}
			}
		}
		if len(stored) < sweepBatch {
			break
		}
		after = stored[len(stored)-1].Name
	}
	for name := range known { // deleted, or not Belfry's
		if err := s.ensure(ctx, name); err != nil {
			return err
		}
	}
	s.Closely = false
	return nil
}

// known are the notes on the schedules that Temporal knows, by their names. The
// listing may lag behind, which costs no more than a closer look.
func (s *ScheduleSweep) known(ctx context.Context) (map[string]string, error) {
	listed, err := s.Temporal.ScheduleClient().List(ctx, client.ScheduleListOptions{})
	if err != nil {
		return nil, err
	}
	notes := map[string]string{}
	for listed.HasNext() {
		entry, err := listed.Next()
		if err != nil {
			return nil, err
		}
		if name, ours := strings.CutPrefix(entry.ID, workflows.ScheduleID("")); ours {
			notes[name] = entry.Note
		}
	}
	return notes, nil
}

func (s *ScheduleSweep) isUpToDate(stored *schedule.Schedule, note string, there bool) bool {
	now := s.Now()
	if !there { // Temporal forgets one that is over
		next, err := stored.NextRuns(now, 1)
		return err == nil && len(next) == 0
	}
	version, until, ok := schedule.ParseNote(note)
	if !ok {
		return false
	}
	holds, err := stored.Holds(version, until, now)
	return err == nil && holds
}

// ensure goes on where one schedule alone cannot be brought up to date.
func (s *ScheduleSweep) ensure(ctx context.Context, name string) error {
	err := s.Ensure(ctx, name)
	if notify.CodeOf(err) == notify.CodeUnavailable || ctx.Err() != nil {
		return err
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "a schedule could not be brought up to date", "schedule", name, "error", err)
	}
	return nil
}
