package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// A Pusher shows a user's clients that are connected what has become of an item,
// and how many are unread now. It does not keep its caller waiting.
type Pusher interface {
	PushState(item *notify.Item, unread int)
}

// InboxOwner is the user that a path names.
type InboxOwner struct {
	UserID string `path:"user_id" maxLength:"256"`
}

type inboxOutput struct {
	Body struct {
		Items      []notify.Item `json:"items" nullable:"false"`
		NextCursor string        `json:"next_cursor,omitempty" doc:"Absent on the last page"`
		Unread     int           `json:"unread" doc:"How many in the whole inbox are neither read nor archived"`
	}
}

type itemOutput struct{ Body *notify.Item }

type unreadOutput struct {
	Body struct {
		Unread int `json:"unread"`
	}
}

func (s *Server) inboxRoutes(api huma.API) {
	const inbox = "/v1/users/{user_id}/inbox"
	huma.Register(api, route(http.MethodGet, inbox, "list-inbox", "List a user's inbox, newest first", http.StatusOK),
		func(ctx context.Context, in *struct {
			InboxOwner
			Page
			Unread   bool `query:"unread" doc:"Only those that were not read"`
			Archived bool `query:"archived" doc:"Archived ones too"`
		}) (*inboxOutput, error) {
			before, err := in.afterKey()
			if err != nil {
				return nil, s.fail(err)
			}
			items, err := s.Store.Inbox(ctx, store.InboxQuery{
				UserID: in.UserID, Before: before, Unread: in.Unread, Archived: in.Archived, Limit: in.Limit + 1,
			})
			if err != nil {
				return nil, s.fail(err)
			}
			unread, err := s.Store.Unread(ctx, in.UserID)
			if err != nil {
				return nil, s.fail(err)
			}
			page := cut(items, in.Limit, func(i notify.Item) any { return i.ID })
			out := &inboxOutput{}
			out.Body.Items, out.Body.NextCursor, out.Body.Unread = page.Body.Items, page.Body.NextCursor, unread
			return out, nil
		})
	for _, change := range []struct {
		change  store.ItemChange
		summary string
	}{
		{store.ItemRead, "Mark an item as read, and so as seen"},
		{store.ItemUnread, "Mark an item as not read"},
		{store.ItemArchive, "Archive an item"},
	} {
		name := string(change.change)
		huma.Register(api, route(http.MethodPost, inbox+"/{item_id}/"+name, name+"-item", change.summary, http.StatusOK, http.StatusNotFound),
			func(ctx context.Context, in *struct {
				InboxOwner
				ItemID string `path:"item_id" format:"uuid"`
			}) (*itemOutput, error) {
				item, err := s.Store.ChangeItem(ctx, in.UserID, in.ItemID, change.change, s.now())
				if err != nil {
					return nil, s.fail(err)
				}
				s.pushStates(ctx, in.UserID, *item)
				return &itemOutput{Body: item}, nil
			})
	}
	huma.Register(api, route(http.MethodPost, inbox+"/read-all", "read-inbox", "Mark all items as read", http.StatusOK),
		func(ctx context.Context, in *InboxOwner) (*unreadOutput, error) {
			ctx, cancel := context.WithTimeout(ctx, readAllTimeout)
			defer cancel()
			changed, err := s.Store.ReadAll(ctx, in.UserID, s.now())
			s.pushStates(ctx, in.UserID, changed...)
			if err != nil {
				return nil, s.fail(err)
			}
			out := &unreadOutput{}
			if out.Body.Unread, err = s.Store.Unread(ctx, in.UserID); err != nil {
				return nil, s.fail(err)
			}
			return out, nil
		})
}

// readAllTimeout bounds how long it may take to mark all items of an inbox.
const readAllTimeout = 50 * time.Second

// pushStates shows the user's other clients what has become of items.
func (s *Server) pushStates(ctx context.Context, userID string, changed ...notify.Item) {
	if s.Pusher == nil || len(changed) == 0 {
		return
	}
	unread, err := s.Store.Unread(ctx, userID)
	if err != nil {
		s.log.WarnContext(ctx, "changes of an inbox are not pushed", "error", err)
		return
	}
	for i := range changed {
		s.Pusher.PushState(&changed[i], unread)
	}
}
