package activities

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A ListUsersInput says as which audience all users are stored. The id is the
// same for all attempts at one listing, and no other's.
type ListUsersInput struct {
	AudienceID string    `json:"audience_id"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// A ListUsersResult says how many users are in the audience, in how many pages.
type ListUsersResult struct {
	Total int `json:"total"`
	Pages int `json:"pages"`
}

// ListUsers stores all users of the idp as an audience, each once. An attempt
// goes on where those before it ended, also while one of them lives.
//
// An insert decides what a page holds. Pages follow each other in the order of
// their users' ids, so whoever finds a page stored reads it and goes on after
// its last user: whatever is listed differently the next time, nobody is stored
// twice, and who is a user all the while is stored. The audience's own document
// comes last, and says that it is complete.
func (a *Activities) ListUsers(ctx context.Context, in ListUsersInput) (ListUsersResult, error) {
	_, stop := heartbeat(ctx)
	defer stop()
	going, cancel := untilStopped(ctx)
	defer cancel()
	result, err := a.listUsers(going, in)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return ListUsersResult{}, ctx.Err()
	case going.Err() != nil:
		return ListUsersResult{}, temporal.NewApplicationErrorWithOptions("the worker is stopping", "waiting",
			temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign})
	}
	return ListUsersResult{}, retryable(err)
}

func (a *Activities) listUsers(ctx context.Context, in ListUsersInput) (ListUsersResult, error) {
	all, err := a.Store.Audience(ctx, in.AudienceID, a.Now())
	if notify.CodeOf(err) == notify.CodeNotFound {
		all, err = a.storeUsers(ctx, in)
	}
	if err != nil {
		return ListUsersResult{}, err
	}
	return ListUsersResult{Total: all.Total, Pages: all.Pages}, nil
}

// storeUsers is the audience as it is stored in the end, by whomever.
func (a *Activities) storeUsers(ctx context.Context, in ListUsersInput) (*audience.Audience, error) {
	l := &listing{store: a.Store, in: in}
	if err := l.list(ctx, a.Directory); err != nil {
		return nil, err
	}
	all := &audience.Audience{ID: in.AudienceID, Total: l.total, Pages: l.pages, CreatedAt: a.Now(), ExpiresAt: in.ExpiresAt}
	err := a.Store.InsertAudienceDocument(ctx, all)
	if notify.CodeOf(err) == notify.CodeConflict {
		return a.Store.Audience(ctx, in.AudienceID, a.Now())
	}
	return all, err
}

// A listing is the pages that are stored so far.
type listing struct {
	store  Store
	in     ListUsersInput
	pages  int
	total  int
	last   string // the greatest user id
	closed bool   // by a page that is not full, after which there is none
}

// usersAtOnce is how many users are stored by one write, in full pages.
const usersAtOnce = 8 * audience.PageSize

// list stores all users who are not stored yet.
func (l *listing) list(ctx context.Context, from Directory) error {
	if err := l.catchUp(ctx); err != nil || l.closed {
		return err
	}
	previous := l.last
	var users []notify.Recipient
	for id, err := range from.ListUsers(ctx, l.last) {
		if err == nil && id <= previous {
			err = &notify.Error{Code: notify.CodeInternal, Detail: "the idp lists users out of order"}
		}
		if err != nil {
			return err
		}
		previous = id
		if id > l.last {
			users = append(users, notify.Recipient{UserID: id})
		}
		for len(users) == usersAtOnce {
			if users, err = l.put(ctx, users); err != nil || l.closed {
				return err
			}
		}
	}
	for len(users) > 0 && !l.closed {
		var err error
		if users, err = l.put(ctx, users); err != nil {
			return err
		}
	}
	return nil
}

// put stores users as the next pages, unless somebody else does; then it says
// which of them are still to be stored.
func (l *listing) put(ctx context.Context, users []notify.Recipient) ([]notify.Recipient, error) {
	pages := slices.Collect(slices.Chunk(users, audience.PageSize))
	err := l.store.InsertAudiencePages(ctx, l.in.AudienceID, l.pages, pages, l.in.ExpiresAt)
	if notify.CodeOf(err) == notify.CodeConflict {
		err = l.catchUp(ctx)
		stored := func(r notify.Recipient) bool { return r.UserID <= l.last }
		return slices.DeleteFunc(users, stored), err
	}
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		if err := l.add(page); err != nil {
			return nil, err
		}
	}
	return users[:0], nil
}

// catchUp reads the pages after those known of.
func (l *listing) catchUp(ctx context.Context) error {
	for !l.closed {
		page, err := l.store.AudiencePage(ctx, l.in.AudienceID, l.pages)
		if notify.CodeOf(err) == notify.CodeNotFound {
			return nil
		}
		if err == nil {
			err = l.add(page)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add takes in the next page that is stored.
func (l *listing) add(page []notify.Recipient) error {
	for _, r := range page {
		if r.UserID <= l.last {
			return &notify.Error{Code: notify.CodeInternal, Detail: fmt.Sprintf("page %d of the audience %s is out of order", l.pages, l.in.AudienceID)}
		}
		l.last = r.UserID
	}
	l.pages++
	l.total += len(page)
	l.closed = len(page) < audience.PageSize
	return nil
}
