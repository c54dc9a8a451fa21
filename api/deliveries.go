package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// deliveryView is a delivery with its content as rendered; content is absent
// where it was never rendered.
type deliveryView struct {
	notify.Delivery
	Content *contentView `json:"content,omitempty"`
}

func (s *Server) deliveryRoutes(api huma.API) {
	huma.Register(api, route(http.MethodGet, "/v1/notifications/{id}/deliveries", "list-deliveries", "List a notification's deliveries", http.StatusOK, http.StatusNotFound),
		s.listDeliveries)
	huma.Register(api, route(http.MethodGet, "/v1/deliveries/{id}", "get-delivery", "Read a delivery with its content", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *struct {
			ID string `path:"id" format:"uuid"`
		}) (*struct{ Body deliveryView }, error) {
			view, err := s.delivery(ctx, in.ID)
			if err != nil {
				return nil, s.fail(err)
			}
			return &struct{ Body deliveryView }{*view}, nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/users/{user_id}/notifications", "list-user-notifications", "List what a user was told, newest first", http.StatusOK),
		func(ctx context.Context, in *struct {
			UserID string `path:"user_id" maxLength:"256"`
			Page
		}) (*listingOutput[deliveryView], error) {
			after, err := in.after()
			if err != nil {
				return nil, s.fail(err)
			}
			deliveries, err := s.Store.Deliveries(ctx, store.DeliveryQuery{UserID: in.UserID, After: after, Limit: in.Limit + 1})
			if err != nil {
				return nil, s.fail(err)
			}
			list := cut(deliveries, in.Limit, deliveryPosition)
			out := &listingOutput[deliveryView]{Body: listing[deliveryView]{Items: []deliveryView{}, NextCursor: list.Body.NextCursor}}
			for i := range list.Body.Items {
				d := &list.Body.Items[i]
				claims, err := s.Store.Claims(ctx, d.ID)
				if err != nil {
					return nil, s.fail(err)
				}
				view, err := s.view(ctx, d, claims)
				if err != nil {
					return nil, s.fail(err)
				}
				out.Body.Items = append(out.Body.Items, *view)
			}
			return out, nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/deliveries", "search-deliveries", "Search the history of deliveries that have ended, newest first", http.StatusOK),
		func(ctx context.Context, in *struct {
			Page
			Address string       `query:"address" maxLength:"320" doc:"In whatever case"`
			State   notify.State `query:"state" enum:"sent,delivered,failed,skipped,unknown"`
			Period
		}) (*listingOutput[notify.Delivery], error) {
			after, err := in.after()
			if err != nil {
				return nil, s.fail(err)
			}
			deliveries, err := s.Store.Deliveries(ctx, store.DeliveryQuery{
				Address: in.Address, State: in.State, From: in.From, To: in.To, After: after, Limit: in.Limit + 1,
			})
			if err != nil {
				return nil, s.fail(err)
			}
			return cut(deliveries, in.Limit, deliveryPosition), nil
		})
	huma.Register(api, route(http.MethodPost, "/v1/deliveries/{id}/retry", "retry-delivery", "Try a failed or unknown delivery again", http.StatusAccepted, http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct {
			ID string `path:"id" format:"uuid"`
		}) (*struct{ Body deliveryView }, error) {
			view, err := s.retry(ctx, in.ID)
			if err != nil {
				return nil, s.fail(err)
			}
			return &struct{ Body deliveryView }{*view}, nil
		})
}

func deliveryPosition(d notify.Delivery) any { return store.Position{CreatedAt: d.CreatedAt, ID: d.ID} }

// delivery reads a delivery that has ended, or one under way as its claims show
// it. While one waits in a chunk with others its id does not lead to it:
// notify.CodeNotFound.
func (s *Server) delivery(ctx context.Context, id string) (*deliveryView, error) {
	claims, err := s.Store.Claims(ctx, id)
	if err != nil {
		return nil, err
	}
	ended, err := s.Store.Delivery(ctx, id)
	if notify.CodeOf(err) == notify.CodeNotFound && len(claims) > 0 {
		ended, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.view(ctx, ended, claims)
}

// view shows a delivery by its own claims, with what was rendered last. Ended is
// nil where it has not.
func (s *Server) view(ctx context.Context, ended *notify.Delivery, claims []notify.Claim) (*deliveryView, error) {
	view := &deliveryView{}
	if last := len(claims) - 1; ended == nil || last >= 0 && ended.Claim < claims[last].Reopened {
		view.Delivery = underWay(&claims[last])
	} else {
		view.Delivery = *ended
	}
	rendered, err := s.rendered(ctx, &view.Delivery, claims)
	view.Content = viewContent(rendered)
	return view, err
}

// rendered is what was rendered last for a delivery: in a claim of its own, or
// else in its chunk. It is nil where that never was.
func (s *Server) rendered(ctx context.Context, d *notify.Delivery, claims []notify.Claim) (*notify.Bodies, error) {
	for _, claim := range slices.Backward(claims) {
		if claim.Content != nil {
			return claim.Content, nil
		}
	}
	if d.Entry == "" {
		return nil, nil
	}
	id, entry, err := d.Entry.First(d.NotificationID)
	if err != nil {
		return nil, err
	}
	chunk, err := s.Store.Chunk(ctx, id)
	if err != nil || len(chunk.Entries) == 0 { // closed before anything was rendered
		return nil, err
	}
	return chunk.Entries[entry].Content, nil
}

// underWay is a delivery whose last claim has not ended it.
func underWay(last *notify.Claim) notify.Delivery {
	d := notify.Delivery{
		ID: last.DeliveryID, NotificationID: last.NotificationID, UserID: last.UserID,
		Channel: last.Channel, Provider: last.Provider, Address: last.Address,
		State: notify.StateQueued, Attempts: append([]notify.Attempt{}, last.Attempts...), CreatedAt: last.CreatedAt.UTC(),
		Entry: last.Entry,
	}
	if last.Outcome != nil && !last.Reopens() {
		d.Attempts = append(d.Attempts, notify.Attempt{At: last.At, Provider: last.Provider, Error: last.Outcome.Error})
	}
	return d
}

// listDeliveries lists the deliveries of a notification in the order of their
// ids. Of one that still runs, those without an end are queued; an audience may
// be long, and only those are listed that have ended.
func (s *Server) listDeliveries(ctx context.Context, in *struct {
	NotificationID
	Page
	State notify.State `query:"state" enum:"queued,sent,delivered,failed,skipped,unknown"`
},
) (*listingOutput[notify.Delivery], error) {
	after, err := in.afterKey()
	if err != nil {
		return nil, s.fail(err)
	}
	record, err := s.Store.Notification(ctx, in.ID)
	if err != nil {
		return nil, s.fail(err)
	}
	var deliveries []notify.Delivery
	if record.Audience != nil && in.State == notify.StateQueued {
		return cut(deliveries, in.Limit, func(d notify.Delivery) any { return d.ID }), nil
	}
	if record.Status.Ended() || record.Audience != nil {
		deliveries, err = s.Store.DeliveriesOf(ctx, in.ID, after, in.State, in.Limit+1)
	} else {
		deliveries, err = s.runningDeliveries(ctx, &record.Notification, after, in.State)
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return cut(deliveries, in.Limit, func(d notify.Delivery) any { return d.ID }), nil
}

// runningDeliveries are those after an id, ended or not.
func (s *Server) runningDeliveries(ctx context.Context, n *notify.Notification, after string, state notify.State) ([]notify.Delivery, error) {
	ended, err := s.Store.DeliveriesOf(ctx, n.ID, after, "", 0)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(ended))
	for _, d := range ended {
		known[d.ID] = true
	}
	all := ended
	for _, to := range n.To {
		for _, channel := range n.Channels {
			id := notify.DeliveryID(n.ID, channel, to)
			if known[id] || id <= after {
				continue
			}
			all = append(all, notify.Delivery{
				ID: id, NotificationID: n.ID, UserID: to.UserID, Channel: channel, Address: to.Email,
				State: notify.StateQueued, Attempts: []notify.Attempt{}, CreatedAt: n.CreatedAt.UTC(),
			})
		}
	}
	if state != "" {
		all = slices.DeleteFunc(all, func(d notify.Delivery) bool { return d.State != state })
	}
	slices.SortFunc(all, func(a, b notify.Delivery) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}
