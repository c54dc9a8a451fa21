package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
	"github.com/belfry-notify/belfry/internal/schedule"
)

// schedulePrefix begins the ids of Belfry's schedules in Temporal, and those of
// their runs.
const schedulePrefix = "schedule/"

// ScheduleID is the id of a schedule in Temporal, which makes the ids of its
// runs of it: schedule/<name>-<time>.
func ScheduleID(name string) string { return schedulePrefix + name }

// A ScheduleStore has the schedules as they are meant to be.
type ScheduleStore interface {
	// Schedule is notify.CodeNotFound where there is none.
	Schedule(ctx context.Context, name string) (*schedule.Schedule, error)
	ScheduleDeleted(ctx context.Context, name string) (bool, error)
	ListSchedules(ctx context.Context, after string, limit int) ([]schedule.Schedule, error)
}

// Schedules has Temporal's schedules be as the stored ones are. What is stored
// is the truth: it is written first, and all that is done here may be done
// again.
type Schedules struct {
	client client.Client
	data   converter.DataConverter
	store  ScheduleStore
	now    func() time.Time
}

// NewSchedules makes a Schedules; data is the client's own converter.
func NewSchedules(c client.Client, data converter.DataConverter, store ScheduleStore, now func() time.Time) *Schedules {
	return &Schedules{client: c, data: data, store: store, now: now}
}

// Ensure has Temporal know a schedule as it is stored, or no more.
func (s *Schedules) Ensure(ctx context.Context, name string) error {
	for {
		stored, err := s.store.Schedule(ctx, name)
		version := 0
		switch {
		case err == nil:
			version = stored.Version
			err = s.put(ctx, stored)
		case notify.CodeOf(err) == notify.CodeNotFound:
			err = s.remove(ctx, name)
		}
		if err != nil {
			return err
		}
		// Of two who come at the same time, the one with the older version may
		// have written last: whoever writes looks again.
		again, err := s.store.Schedule(ctx, name)
		if notify.CodeOf(err) == notify.CodeNotFound {
			again, err = &schedule.Schedule{}, nil
		}
		if err != nil || again.Version == version {
			return err
		}
	}
}

// put creates the schedule or updates the one there is.
func (s *Schedules) put(ctx context.Context, stored *schedule.Schedule) error {
	now := s.now()
	next, err := stored.NextRuns(now.Add(-stored.Jitter), 1)
	if err != nil {
		return err
	}
	plan, err := stored.Plan(now)
	if err != nil {
		return err
	}
	if len(next) > 0 { // one that is over may stay forgotten
		_, err = s.client.ScheduleClient().Create(ctx, createOptions(stored, plan))
		if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
			return awayUnlessNil("create "+ScheduleID(stored.Name), err)
		}
	}
	err = s.handle(ctx, stored.Name).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			if known, ok := s.runInput(in.Description.Schedule.Action); ok && known.Version >= stored.Version {
				holds, err := stored.Holds(known.Version, known.Until, now)
				if err != nil {
					return nil, err
				}
				if holds && s.hasThisKey(in.Description.Schedule.Action) || known.Version > stored.Version {
					return nil, temporal.ErrSkipScheduleUpdate
				}
			}
			return &client.ScheduleUpdate{Schedule: temporalSchedule(stored, plan)}, nil
		},
	})
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil // it is over, or was deleted meanwhile: whoever wrote looks again
	}
	return awayUnlessNil("update "+ScheduleID(stored.Name), err)
}

// remove deletes what was a schedule of Belfry's; one that was never stored is
// somebody else's.
func (s *Schedules) remove(ctx context.Context, name string) error {
	deleted, err := s.store.ScheduleDeleted(ctx, name)
	if err != nil || !deleted {
		return err
	}
	err = s.handle(ctx, name).Delete(ctx)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return nil
	}
	return awayUnlessNil("delete "+ScheduleID(name), err)
}

func (s *Schedules) handle(ctx context.Context, name string) client.ScheduleHandle {
	return s.client.ScheduleClient().GetHandle(ctx, ScheduleID(name))
}

// awayUnlessNil words an error of Temporal's: trying again can help, unless it
// refuses what it was asked.
func awayUnlessNil(doing string, err error) error {
	if err == nil {
		return nil
	}
	code := notify.CodeUnavailable
	var refused *serviceerror.InvalidArgument
	if errors.As(err, &refused) {
		code = notify.CodeInternal
	}
	return &notify.Error{Code: code, Detail: doing, Err: err}
}

// hasThisKey says whether what a schedule starts its runs with is encrypted as it
// would be now: with the same key, or not at all.
func (s *Schedules) hasThisKey(action client.ScheduleAction) bool {
	start := action.(*client.ScheduleWorkflowAction) // runInput has looked
	fresh, err := s.data.ToPayload(nil)
	return err == nil && codec.KeyOf(fresh) == codec.KeyOf(start.Args[0].(*common.Payload))
}

// runInput is what a schedule in Temporal starts its runs with.
func (s *Schedules) runInput(action client.ScheduleAction) (in ScheduledRunInput, ok bool) {
	start, ok := action.(*client.ScheduleWorkflowAction)
	if !ok || len(start.Args) != 1 {
		return in, false
	}
	payload, ok := start.Args[0].(*common.Payload)
	if !ok {
		return in, false
	}
	return in, s.data.FromPayload(payload, &in) == nil
}

// createOptions are those of a schedule that Temporal does not know.
func createOptions(stored *schedule.Schedule, plan *schedule.Plan) client.ScheduleOptions {
	whole := temporalSchedule(stored, plan)
	return client.ScheduleOptions{
		ID: ScheduleID(stored.Name), Spec: *whole.Spec, Action: whole.Action,
		Overlap: whole.Policy.Overlap, CatchupWindow: whole.Policy.CatchupWindow,
		Note: whole.State.Note, Paused: whole.State.Paused,
	}
}

// temporalSchedule is a schedule as Temporal is to know it.
func temporalSchedule(stored *schedule.Schedule, plan *schedule.Plan) *client.Schedule {
	overlap := enums.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
	if stored.Overlap == schedule.OverlapSkip {
		// A run is over when its notification is accepted. One after the other,
		// each sees what became of the one before.
		overlap = enums.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL
	}
	return &client.Schedule{
		Action: &client.ScheduleWorkflowAction{
			ID:            ScheduleID(stored.Name),
			Workflow:      ScheduledRun,
			Args:          []any{ScheduledRunInput{Schedule: stored.Name, Version: plan.Version, Until: plan.Until}},
			TaskQueue:     TaskQueue,
			StaticSummary: fmt.Sprintf("a run of %s: %s", stored.Name, stored.When()),
		},
		Spec:   spec(stored, plan),
		Policy: &client.SchedulePolicies{Overlap: overlap, CatchupWindow: stored.CatchupWindow},
		State:  &client.ScheduleState{Note: stored.Note(plan.Until), Paused: stored.Paused},
	}
}

func spec(stored *schedule.Schedule, plan *schedule.Plan) *client.ScheduleSpec {
	spec := &client.ScheduleSpec{Jitter: stored.Jitter}
	if stored.StartAt != nil {
		spec.StartAt = *stored.StartAt
	}
	if stored.EndAt != nil {
		spec.EndAt = *stored.EndAt
	}
	if plan.Every != 0 {
		spec.Intervals = []client.ScheduleIntervalSpec{{Every: plan.Every, Offset: plan.Offset}}
	}
	for _, c := range plan.Calendars {
		spec.Calendars = append(spec.Calendars, client.ScheduleCalendarSpec{
			Year:  []client.ScheduleRange{{Start: c.Year}},
			Month: ranges(c.Months), DayOfMonth: ranges(c.Days), Hour: ranges(c.Hours), Minute: ranges(c.Minutes),
		})
	}
	return spec
}

func ranges(of []recurrence.Range) []client.ScheduleRange {
	all := make([]client.ScheduleRange, len(of))
	for i, r := range of {
		all[i] = client.ScheduleRange{Start: r.Start, End: r.End}
	}
	return all
}
