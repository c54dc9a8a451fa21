package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
	"github.com/belfry-notify/belfry/internal/schedule"
)

// Schedules keeps Temporal's schedules as they are stored, and has runs made by
// hand.
type Schedules interface {
	Ensure(ctx context.Context, name string) error
	// Trigger answers nil where the run is accepted but not made yet.
	Trigger(ctx context.Context, name string, at time.Time) (*schedule.Run, error)
	Backfill(ctx context.Context, of *schedule.Schedule, times []time.Time) error
}

// maxBackfill is how many runs one backfill may make.
const maxBackfill = 1000

// ScheduleName is the schedule that a path names.
type ScheduleName struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" example:"weekly-report"`
}

type scheduleOutput struct{ Body scheduleView }

type createdSchedule struct {
	Location string `header:"Location"`
	Body     scheduleView
}

type triggerOutput struct {
	Body struct {
		NotificationID string `json:"notification_id" format:"uuid"`
	}
}

type backfillInput struct {
	ScheduleName
	Body struct {
		From time.Time `json:"from" doc:"The first time that is made up for"`
		To   time.Time `json:"to" doc:"Up to, but without; not in the future"`
	}
}

type backfillOutput struct {
	Body struct {
		Runs int `json:"runs" doc:"How many runs there are in that time; those that have a notification stay as they are"`
	}
}

func (s *Server) scheduleRoutes(api huma.API) {
	schemas := api.OpenAPI().Components.Schemas // what is shown is what was sent
	schemas.RegisterTypeAlias(reflect.TypeFor[recurrence.Calendar](), reflect.TypeFor[calendar]())
	schemas.RegisterTypeAlias(reflect.TypeFor[scheduledRequest](), reflect.TypeFor[notificationRequest]())
	schemas.RegisterTypeAlias(reflect.TypeFor[scheduledNotification](), reflect.TypeFor[notificationRequest]())
	one := func(method, action, id, summary string, do func(ctx context.Context, name string) (*schedule.Schedule, error)) {
		huma.Register(api, route(method, "/v1/schedules/{name}"+action, id, summary, http.StatusOK, http.StatusNotFound),
			func(ctx context.Context, in *ScheduleName) (*scheduleOutput, error) {
				return s.showSchedule(ctx, func(ctx context.Context) (*schedule.Schedule, error) { return do(ctx, in.Name) })
			})
	}
	huma.Register(api, route(http.MethodPost, "/v1/schedules", "create-schedule", "Tell somebody something again and again", http.StatusCreated, http.StatusNotFound, http.StatusConflict),
		s.createSchedule)
	huma.Register(api, route(http.MethodGet, "/v1/schedules", "list-schedules", "List schedules", http.StatusOK), s.listSchedules)
	one(http.MethodGet, "", "get-schedule", "See when a schedule runs, and what became of its last runs", s.Store.Schedule)
	huma.Register(api, route(http.MethodPut, "/v1/schedules/{name}", "update-schedule", "Define a schedule anew", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *struct {
			ScheduleName
			Body ScheduleBody
		}) (*scheduleOutput, error) {
			return s.showSchedule(ctx, func(ctx context.Context) (*schedule.Schedule, error) { return s.redefine(ctx, in.Name, &in.Body) })
		})
	huma.Register(api, route(http.MethodDelete, "/v1/schedules/{name}", "delete-schedule", "Delete a schedule", http.StatusNoContent, http.StatusNotFound),
		s.deleteSchedule)
	one(http.MethodPost, "/pause", "pause-schedule", "Leave out the runs of a schedule until it is unpaused", func(ctx context.Context, name string) (*schedule.Schedule, error) {
		return s.setPaused(ctx, name, true)
	})
	one(http.MethodPost, "/unpause", "unpause-schedule", "Go on with a schedule", func(ctx context.Context, name string) (*schedule.Schedule, error) {
		return s.setPaused(ctx, name, false)
	})
	huma.Register(api, route(http.MethodPost, "/v1/schedules/{name}/trigger", "trigger-schedule", "Run a schedule now", http.StatusAccepted, http.StatusNotFound), s.trigger)
	huma.Register(api, route(http.MethodPost, "/v1/schedules/{name}/backfill", "backfill-schedule", "Make up for the runs of a time that is past, whatever overlap says", http.StatusAccepted, http.StatusNotFound), s.backfill)
}

// showSchedule answers with a schedule as do leaves it.
func (s *Server) showSchedule(ctx context.Context, do func(context.Context) (*schedule.Schedule, error)) (*scheduleOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	shown, err := do(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	view, err := s.viewSchedule(ctx, shown)
	if err != nil {
		return nil, s.fail(err)
	}
	return &scheduleOutput{Body: *view}, nil
}

// createSchedule stores a schedule and has Temporal know it. Asked for again
// with the same definition, as after a time-out, it does what was left undone.
func (s *Server) createSchedule(ctx context.Context, in *createScheduleInput) (*createdSchedule, error) {
	out, err := s.showSchedule(ctx, func(ctx context.Context) (*schedule.Schedule, error) {
		definition, err := s.definition(ctx, &in.Body.ScheduleBody)
		if err != nil {
			return nil, err
		}
		created := &schedule.Schedule{Name: in.Body.Name, CreatedAt: s.now(), Definition: *definition}
		err = s.Store.CreateSchedule(ctx, created)
		if notify.CodeOf(err) == notify.CodeConflict {
			known, knownErr := s.Store.Schedule(ctx, created.Name)
			if knownErr != nil || !known.Same(*definition) {
				return nil, errors.Join(knownErr, err)
			}
			created, err = known, nil
		}
		if err != nil {
			return nil, err
		}
		return created, s.Schedules.Ensure(ctx, created.Name)
	})
	if err != nil {
		return nil, err
	}
	return &createdSchedule{Location: "/v1/schedules/" + out.Body.Name, Body: out.Body}, nil
}

// redefine stores another definition of a schedule and has Temporal know it.
func (s *Server) redefine(ctx context.Context, name string, body *ScheduleBody) (*schedule.Schedule, error) {
	if _, err := s.Store.Schedule(ctx, name); err != nil {
		return nil, err
	}
	definition, err := s.definition(ctx, body)
	if err != nil {
		return nil, err
	}
	return s.changeSchedule(ctx, name, func(changed *schedule.Schedule) bool {
		if changed.Same(*definition) {
			return false
		}
		changed.Definition = *definition
		return true
	})
}

func (s *Server) setPaused(ctx context.Context, name string, paused bool) (*schedule.Schedule, error) {
	return s.changeSchedule(ctx, name, func(changed *schedule.Schedule) bool {
		differs := changed.Paused != paused
		changed.Paused = paused
		return differs
	})
}

// changeSchedule stores a change and has Temporal know it, also where it was
// stored before: the answer may have been that Temporal is away.
func (s *Server) changeSchedule(ctx context.Context, name string, change func(*schedule.Schedule) bool) (*schedule.Schedule, error) {
	changed, err := s.Store.ChangeSchedule(ctx, name, change)
	if err != nil {
		return nil, err
	}
	return changed, s.Schedules.Ensure(ctx, name)
}

// deleteSchedule is done when that is stored: no run is made of a schedule that
// is deleted. While Temporal is away, the sweep deletes it there.
func (s *Server) deleteSchedule(ctx context.Context, in *ScheduleName) (*struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if err := s.Store.DeleteSchedule(ctx, in.Name, s.now()); err != nil {
		return nil, s.fail(err)
	}
	if err := s.Schedules.Ensure(ctx, in.Name); err != nil {
		s.log.WarnContext(ctx, "schedule deleted, in Temporal it will be soon", "schedule", in.Name, "error", err)
	}
	return nil, nil
}

// viewsAtOnce is how many schedules of a listing are read at a time.
const viewsAtOnce = 8

func (s *Server) listSchedules(ctx context.Context, in *struct{ Page }) (*listingOutput[scheduleView], error) {
	after, err := in.afterKey()
	if err != nil {
		return nil, s.fail(err)
	}
	found, err := s.Store.ListSchedules(ctx, after, in.Limit+1)
	if err != nil {
		return nil, s.fail(err)
	}
	views := make([]scheduleView, len(found))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(viewsAtOnce)
	for i := range found {
		group.Go(func() error {
			view, err := s.viewSchedule(ctx, &found[i])
			if err == nil {
				views[i] = *view
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, s.fail(err)
	}
	return cut(views, in.Limit, func(v scheduleView) any { return v.Name }), nil
}

// trigger runs a schedule at a moment of its own. What its notification is
// refused for is said at once where a worker is there.
func (s *Server) trigger(ctx context.Context, in *ScheduleName) (*triggerOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if _, err := s.Store.Schedule(ctx, in.Name); err != nil {
		return nil, s.fail(err)
	}
	at := s.now()
	run, err := s.Schedules.Trigger(ctx, in.Name, at)
	if err != nil {
		return nil, s.fail(err)
	}
	if run != nil && run.Status != schedule.RunStarted {
		refusal := &notify.Error{Code: notify.Code(run.Reason), Detail: run.Detail}
		if run.Status == schedule.RunSkipped {
			refusal = &notify.Error{Code: notify.CodeNotFound, Detail: fmt.Sprintf("schedule %q was deleted meanwhile", in.Name)}
		}
		return nil, s.fail(refusal)
	}
	out := &triggerOutput{}
	out.Body.NotificationID = schedule.NotificationID(in.Name, at)
	return out, nil
}

func (s *Server) backfill(ctx context.Context, in *backfillInput) (*backfillOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	of, err := s.Store.Schedule(ctx, in.Name)
	if err != nil {
		return nil, s.fail(err)
	}
	if fields := s.checkPeriod(in.Body.From, in.Body.To); fields != nil {
		return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Fields: fields})
	}
	times, err := of.RunsBetween(in.Body.From, in.Body.To, maxBackfill+1)
	if err != nil {
		return nil, s.fail(err)
	}
	if len(times) > maxBackfill {
		return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{{
			Location: "body.to", Value: in.Body.To.Format(time.RFC3339),
			Message: fmt.Sprintf("there are more than %d runs in that time, which are the most that a backfill makes: the last of them is at %s",
				maxBackfill, times[maxBackfill-1].Format(time.RFC3339)),
		}}})
	}
	if len(times) > 0 {
		if err := s.Schedules.Backfill(ctx, of, times); err != nil {
			return nil, s.fail(err)
		}
	}
	out := &backfillOutput{}
	out.Body.Runs = len(times)
	return out, nil
}

func (s *Server) checkPeriod(from, to time.Time) (fields []notify.FieldError) {
	if !from.Before(to) {
		fields = append(fields, notify.FieldError{Location: "body.from", Message: "must be before to", Value: from.Format(time.RFC3339)})
	}
	if to.After(s.now()) {
		fields = append(fields, notify.FieldError{Location: "body.to", Message: "must not be in the future", Value: to.Format(time.RFC3339)})
	}
	return fields
}
