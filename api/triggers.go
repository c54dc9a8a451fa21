package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/trigger"
)

type shownTrigger struct{ Body triggerView }

type createdTrigger struct {
	Location string `header:"Location"`
	Body     triggerView
}

type testTriggerInput struct {
	TriggerName
	Body eventBody
}

// eventBody is an event as CloudEvents has it in JSON. Its other attributes are
// allowed, and no trigger sees them.
type eventBody struct {
	_       struct{}   `additionalProperties:"true"`
	ID      string     `json:"id,omitempty"`
	Source  string     `json:"source,omitempty" example:"/shop"`
	Type    string     `json:"type,omitempty" doc:"That of the trigger by default"`
	Subject string     `json:"subject,omitempty"`
	Time    *time.Time `json:"time,omitempty" doc:"Now by default"`
	Data    anyJSON    `json:"data,omitempty" doc:"JSON of any kind"`
}

// anyJSON is JSON of any kind that is passed on as it is.
type anyJSON struct{ json.RawMessage }

// Schema is that of anything.
func (anyJSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

type testTriggerOutput struct {
	Body struct {
		Matched      bool                   `json:"matched"`
		Notification *scheduledNotification `json:"notification,omitempty" doc:"As POST /v1/notifications would have it; more than 1,000 recipients become an audience"`
	}
}

func (s *Server) triggerRoutes(api huma.API) {
	huma.Register(api, route(http.MethodPost, "/v1/triggers", "create-trigger", "Have events tell somebody something", http.StatusCreated, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *createTriggerInput) (*createdTrigger, error) {
			view, err := s.keepTrigger(ctx, in.Body.Name, &in.Body.TriggerBody, s.Store.CreateTrigger)
			if err != nil {
				return nil, s.fail(err)
			}
			return &createdTrigger{Location: "/v1/triggers/" + view.Name, Body: *view}, nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/triggers", "list-triggers", "List triggers", http.StatusOK),
		func(ctx context.Context, in *struct{ Page }) (*listingOutput[triggerView], error) {
			after, err := in.afterKey()
			if err != nil {
				return nil, s.fail(err)
			}
			found, err := s.Store.ListTriggers(ctx, after, in.Limit+1)
			if err != nil {
				return nil, s.fail(err)
			}
			views := make([]triggerView, len(found))
			for i := range found {
				views[i] = viewTrigger(&found[i])
			}
			return cut(views, in.Limit, func(v triggerView) any { return v.Name }), nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/triggers/{name}", "get-trigger", "Read a trigger", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *TriggerName) (*shownTrigger, error) {
			d, err := s.Store.Trigger(ctx, in.Name)
			if err != nil {
				return nil, s.fail(err)
			}
			return &shownTrigger{Body: viewTrigger(d)}, nil
		})
	huma.Register(api, route(http.MethodPut, "/v1/triggers/{name}", "update-trigger", "Define a trigger anew; within 5 s events meet it", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *struct {
			TriggerName
			Body TriggerBody
		}) (*shownTrigger, error) {
			view, err := s.keepTrigger(ctx, in.Name, &in.Body, s.Store.UpdateTrigger)
			if err != nil {
				return nil, s.fail(err)
			}
			return &shownTrigger{Body: *view}, nil
		})
	huma.Register(api, route(http.MethodDelete, "/v1/triggers/{name}", "delete-trigger", "Delete a trigger", http.StatusNoContent, http.StatusNotFound),
		func(ctx context.Context, in *TriggerName) (*struct{}, error) {
			if err := s.Store.DeleteTrigger(ctx, in.Name, s.now()); err != nil {
				return nil, s.fail(err)
			}
			return nil, nil
		})
	huma.Register(api, route(http.MethodPost, "/v1/triggers/{name}/test", "test-trigger", "See what an event would lead to, and send nothing", http.StatusOK, http.StatusNotFound),
		s.testTrigger)
}

// keepTrigger stores a version of a trigger, if its events could be told of now.
func (s *Server) keepTrigger(ctx context.Context, name string, body *TriggerBody, store func(context.Context, *trigger.Definition) error) (*triggerView, error) {
	asked, now := body.notification(), s.now()
	if err := s.checkNow(asked); err != nil {
		return nil, err
	}
	request, err := asked.request(now)
	if err != nil {
		return nil, err
	}
	if err := s.wouldAccept(ctx, request, now); err != nil {
		return nil, err
	}
	d := body.definition(name, now)
	if err := store(ctx, d); err != nil {
		return nil, err
	}
	view := viewTrigger(d)
	return &view, nil
}

// wouldAccept says whether a request could be accepted: its template must be
// there, and have content for the channels.
func (s *Server) wouldAccept(ctx context.Context, request *notify.Request, now time.Time) error {
	template, err := s.intake.Pin(ctx, request.Template)
	if err != nil {
		return err
	}
	_, err = s.intake.Record(ctx, request, newID(), template, now)
	return err
}

// testTrigger has a trigger meet an event, also one that is not enabled.
func (s *Server) testTrigger(ctx context.Context, in *testTriggerInput) (*testTriggerOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	d, err := s.Store.Trigger(ctx, in.Name)
	if err != nil {
		return nil, s.fail(err)
	}
	program, err := trigger.Compile(d)
	if err != nil {
		return nil, s.fail(err)
	}
	now := s.now()
	request, matched, err := program.Evaluate(ctx, in.Body.event(d.EventType), now)
	if matched {
		err = s.wouldAccept(ctx, request, now)
	}
	if err != nil {
		return nil, s.fail(err)
	}
	out := &testTriggerOutput{}
	out.Body.Matched = matched
	out.Body.Notification = (*scheduledNotification)(request)
	return out, nil
}

func (b *eventBody) event(defaultType string) *event.Event {
	e := &event.Event{ID: b.ID, Source: b.Source, Type: b.Type, Subject: b.Subject, Data: b.Data.RawMessage}
	if e.Type == "" {
		e.Type = defaultType
	}
	if b.Time != nil {
		e.Time = *b.Time
	}
	return e
}
