package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// links lead on from a notification.
func (s *Server) links(id string) notify.Links { return notify.LinksOf(id, s.UILink) }

type sendInput struct {
	Key  string `header:"Idempotency-Key" minLength:"1" maxLength:"255" pattern:"^[ -~]*$" patternDescription:"printable characters" doc:"Sending again under the same key sends once"`
	Body notificationRequest
}

// Resolve refuses a key that is there and empty, which huma takes for none.
func (in *sendInput) Resolve(ctx huma.Context) (errs []error) {
	ctx.EachHeader(func(name, value string) {
		if name == "Idempotency-Key" && value == "" {
			errs = append(errs, fieldError("header."+name, "must not be empty: leave it out to send without a key", value))
		}
	})
	return errs
}

var _ huma.Resolver = (*sendInput)(nil)

type acceptedOutput struct {
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed" doc:"true where the request had come before under its key"`
	Body     struct {
		ID     string        `json:"id" format:"uuid"`
		Status notify.Status `json:"status"`
		Links  notify.Links  `json:"links"`
	}
}

type notificationOutput struct{ Body notify.NotificationView }

// NotificationID is the notification that a path names.
type NotificationID struct {
	ID string `path:"id" format:"uuid"`
}

type notificationsInput struct {
	Page
	Status   notify.Status `query:"status" enum:"scheduled,sending,paused,done,cancelled,expired,failed"`
	Template string        `query:"template" maxLength:"64" doc:"A template's name"`
	Tag      string        `query:"tag" maxLength:"64"`
	Period
}

// Period selects what was created in a stretch of time.
type Period struct {
	From time.Time `query:"from" doc:"Created at or after"`
	To   time.Time `query:"to" doc:"Created before"`
}

func (s *Server) notificationRoutes(api huma.API) {
	huma.Register(api, route(http.MethodPost, "/v1/notifications", "send-notification", "Tell somebody something", http.StatusAccepted, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *sendInput) (*acceptedOutput, error) {
			record, replayed, err := s.accept(ctx, in.Key, &in.Body)
			if err != nil {
				return nil, s.fail(err)
			}
			out := &acceptedOutput{Location: "/v1/notifications/" + record.ID}
			out.Body.ID, out.Body.Status, out.Body.Links = record.ID, record.Status, s.links(record.ID)
			if replayed {
				out.Replayed = "true"
			}
			return out, nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/notifications/{id}", "get-notification", "See how a notification stands", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *NotificationID) (*notificationOutput, error) {
			record, err := s.Store.Notification(ctx, in.ID)
			if err != nil {
				return nil, s.fail(err)
			}
			return s.show(ctx, record)
		})
	huma.Register(api, route(http.MethodGet, "/v1/notifications", "list-notifications", "List notifications, newest first", http.StatusOK),
		func(ctx context.Context, in *notificationsInput) (*listingOutput[notify.NotificationView], error) {
			after, err := in.after()
			if err != nil {
				return nil, s.fail(err)
			}
			records, err := s.Store.Notifications(ctx, store.NotificationQuery{
				Status: in.Status, Template: in.Template, Tag: in.Tag,
				From: in.From, To: in.To, After: after, Limit: in.Limit + 1,
			})
			if err != nil {
				return nil, s.fail(err)
			}
			views, err := s.views(ctx, records)
			if err != nil {
				return nil, s.fail(err)
			}
			return cut(views, in.Limit, func(v notify.NotificationView) any {
				return store.Position{CreatedAt: v.CreatedAt, ID: v.ID}
			}), nil
		})
}

// show is the answer that is a notification.
func (s *Server) show(ctx context.Context, record *notify.Record) (*notificationOutput, error) {
	views, err := s.views(ctx, []notify.Record{*record})
	if err != nil {
		return nil, s.fail(err)
	}
	return &notificationOutput{Body: views[0]}, nil
}

// views shows notifications with counts as of now.
func (s *Server) views(ctx context.Context, records []notify.Record) ([]notify.NotificationView, error) {
	running, err := s.running.counts(ctx, s.Store, records)
	if err != nil {
		return nil, err
	}
	views := make([]notify.NotificationView, len(records))
	for i, r := range records {
		if counts, runs := running[r.ID]; runs {
			r.Counts = counts
		}
		views[i] = r.View(s.UILink)
	}
	return views, nil
}
