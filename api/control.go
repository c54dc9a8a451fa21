package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A Controller has the workflow of a notification carry something out. It
// answers notify.CodeNotFound when none runs, and notify.CodeTooLate when there
// is nothing left to decide.
type Controller interface {
	Cancel(ctx context.Context, id string) (activities.Result, error)
	Reschedule(ctx context.Context, id string, at time.Time) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

type rescheduleInput struct {
	NotificationID
	Body struct {
		SendAt time.Time `json:"send_at" doc:"When it is to go out, within two years; a moment already past means now"`
	}
}

func (s *Server) controlRoutes(api huma.API) {
	control := func(name, summary string, how func(ctx context.Context, id string) error) {
		huma.Register(api, route(http.MethodPost, "/v1/notifications/{id}/"+name, name+"-notification", summary, http.StatusOK, http.StatusNotFound, http.StatusConflict),
			func(ctx context.Context, in *NotificationID) (*notificationOutput, error) {
				return s.control(ctx, in.ID, func(ctx context.Context) error { return how(ctx, in.ID) })
			})
	}
	control("pause", "Hold back what is not begun", s.Starter.Pause)
	control("resume", "Go on after a pause", s.Starter.Resume)
	huma.Register(api, route(http.MethodPost, "/v1/notifications/{id}/cancel", "cancel-notification", "Stop what is unsent", http.StatusOK, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *NotificationID) (*notificationOutput, error) {
			return s.cancel(ctx, in.ID)
		})
	huma.Register(api, route(http.MethodPost, "/v1/notifications/{id}/reschedule", "reschedule-notification", "Move the time at which it is to go out, while it waits", http.StatusOK, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *rescheduleInput) (*notificationOutput, error) {
			at, now := intake.Moment(in.Body.SendAt), s.now()
			if at.After(now.Add(notify.Horizon)) {
				return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{{
					Location: "body.send_at", Message: "must be within two years (17520h)", Value: at.Format(time.RFC3339),
				}}})
			}
			if at.Before(now) {
				at = intake.Moment(now)
			}
			return s.control(ctx, in.ID, func(ctx context.Context) error { return s.Starter.Reschedule(ctx, in.ID, at) })
		})
}

// control changes a notification that has not ended.
func (s *Server) control(ctx context.Context, id string, how func(context.Context) error) (*notificationOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	record, done, err := s.decided(ctx, id, how)
	if err == nil && !done {
		err = tooLate(record.Counts)
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return s.show(ctx, record)
}

// cancel stops what is unsent. A notification that has ended answers as it
// would have before: whether a cancel had stopped something.
func (s *Server) cancel(ctx context.Context, id string) (*notificationOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	var stopped activities.Result
	record, _, err := s.decided(ctx, id, func(ctx context.Context) (err error) {
		stopped, err = s.Starter.Cancel(ctx, id)
		return err
	})
	if err != nil {
		return nil, s.fail(err)
	}
	if stopped.Cancelled > 0 && stopped.Counts.Total > 0 && stopped.Counts.Queued == 0 { // the record says so soon, if not yet
		record.Status, record.Counts = notify.StatusCancelled, stopped.Counts
	}
	switch {
	case record.Status == notify.StatusCancelled, stopped.Cancelled > 0:
		return s.show(ctx, record)
	case record.Status.Ended():
		return nil, s.fail(tooLate(record.Counts))
	case stopped.Counts.Total == 0: // of a notification to many, the parts know
		views, err := s.views(ctx, []notify.Record{*record})
		if err != nil {
			return nil, s.fail(err)
		}
		return nil, s.fail(tooLate(views[0].Counts))
	default:
		return nil, s.fail(tooLate(stopped.Counts))
	}
}

func tooLate(counts notify.Counts) error {
	return &notify.Error{
		Code: notify.CodeTooLate, Counts: &counts,
		Detail: "it is too late: what was to be sent has been, is under way, or has come to another end",
	}
}

// decided has a notification's workflow carry something out and reads what it
// is then. One that has ended is not asked. A notification that is stored and
// was never started is started first.
func (s *Server) decided(ctx context.Context, id string, how func(context.Context) error) (record *notify.Record, done bool, err error) {
	if record, err = s.Store.Notification(ctx, id); err != nil || record.Status.Ended() {
		return record, false, err
	}
	err = how(ctx)
	if notify.CodeOf(err) == notify.CodeNotFound {
		if record, err = s.Store.Notification(ctx, id); err != nil || record.Status.Ended() {
			return record, false, err
		}
		if err = s.Starter.Start(ctx, &record.Notification); err != nil {
			return nil, false, err
		}
		if err = how(ctx); notify.CodeOf(err) == notify.CodeNotFound {
			err = &notify.Error{Code: notify.CodeUnavailable, Detail: "no workflow runs for the notification", Err: err}
		}
	}
	late := notify.CodeOf(err) == notify.CodeTooLate
	if err != nil && !late {
		return nil, false, err
	}
	if record, err = s.Store.Notification(ctx, id); err != nil || !late {
		return record, err == nil, err
	}
	views, err := s.views(ctx, []notify.Record{*record})
	if err != nil {
		return nil, false, err
	}
	return nil, false, tooLate(views[0].Counts)
}
