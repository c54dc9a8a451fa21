package store

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/schedule"
)

// CreateSchedule stores a schedule that does not exist or was deleted, and sets
// its version. It fails with CodeConflict when the name is taken.
func (s *Store) CreateSchedule(ctx context.Context, created *schedule.Schedule) error {
	return s.schedules.create(ctx, created.Name, func(version int) *schedule.Schedule {
		created.Version = version
		return created
	})
}

// ChangeSchedule stores the next version of a schedule, as change leaves a copy
// of the one before, and gives it. Where change says that nothing changes, it
// gives the one before. CodeNotFound when there is no such schedule.
func (s *Store) ChangeSchedule(ctx context.Context, name string, change func(*schedule.Schedule) bool) (*schedule.Schedule, error) {
	return s.schedules.change(ctx, name, func(before *schedule.Schedule, version int) *schedule.Schedule {
		next := *before
		if !change(&next) {
			return nil
		}
		next.Version = version
		return &next
	})
}

// DeleteSchedule hides a schedule; one that is made again under its name goes
// on counting versions. CodeNotFound when there is no such schedule.
func (s *Store) DeleteSchedule(ctx context.Context, name string, at time.Time) error {
	return s.schedules.hide(ctx, name, at)
}

// Schedule reads the newest version of a schedule; CodeNotFound when there is
// none or it was deleted.
func (s *Store) Schedule(ctx context.Context, name string) (*schedule.Schedule, error) {
	return s.schedules.visible(ctx, name, 0)
}

// ScheduleDeleted says whether there was a schedule that was deleted.
func (s *Store) ScheduleDeleted(ctx context.Context, name string) (bool, error) {
	newest, err := s.schedules.newest(ctx, name)
	return newest.hidden, err
}

// ListSchedules reads the newest versions of up to limit schedules whose names
// come after the given one, in the order of their names.
func (s *Store) ListSchedules(ctx context.Context, after string, limit int) ([]schedule.Schedule, error) {
	return s.schedules.list(ctx, after, limit)
}

// InsertRun stores what became of a run; CodeConflict when it is there already.
func (s *Store) InsertRun(ctx context.Context, r *schedule.Run) error { return insert(ctx, s.runs, r) }

// Run reads a run; CodeNotFound when there is none.
func (s *Store) Run(ctx context.Context, id string) (*schedule.Run, error) {
	return find[schedule.Run](ctx, s.runs, id)
}

// LastRuns reads up to limit runs of a schedule, newest first. Of one that was
// left out first and made by a backfill later it gives the latter.
func (s *Store) LastRuns(ctx context.Context, name string, limit int) ([]schedule.Run, error) {
	// The _id of a run with a notification sorts before the other one's.
	found, err := list[schedule.Run](ctx, s.runs, bson.D{{Key: "schedule", Value: name}}, options.Find().
		SetSort(bson.D{{Key: "scheduled_at", Value: -1}, {Key: "_id", Value: 1}}).SetLimit(int64(2*limit)))
	if err != nil {
		return nil, err
	}
	runs := make([]schedule.Run, 0, limit)
	for _, r := range found {
		if n := len(runs); n > 0 && runs[n-1].ScheduledAt.Equal(r.ScheduledAt) {
			continue
		}
		if len(runs) < limit {
			runs = append(runs, r)
		}
	}
	return runs, nil
}

// LastStartedRun reads the newest run of a schedule that has a notification and
// was scheduled before a moment; nil when there is none.
func (s *Store) LastStartedRun(ctx context.Context, name string, before time.Time) (*schedule.Run, error) {
	found, err := list[schedule.Run](ctx, s.runs, bson.D{
		{Key: "schedule", Value: name},
		{Key: "status", Value: schedule.RunStarted},
		{Key: "scheduled_at", Value: bson.D{{Key: "$lt", Value: before}}},
	}, options.Find().SetSort(bson.D{{Key: "scheduled_at", Value: -1}}).SetLimit(1))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}
