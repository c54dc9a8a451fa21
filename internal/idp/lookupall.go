package idp

import (
	"context"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

// LookupAll says who a page of users are, in the order of their ids, and for
// each as Lookup does: one answer an id, an error being about that one alone.
// Those that are not in the cache are asked about together, by one call while
// all are known, and answers are received as they are taken, each within the
// timeout. When the idp fails on the way, all that it has not answered get that
// error.
func (c *Client) LookupAll(ctx context.Context, userIDs []string) iter.Seq2[notify.User, error] {
	return func(yield func(notify.User, error) bool) {
		users := make([]notify.User, len(userIDs)) // from the cache; without an id: to be asked about
		b := &batch{client: c}
		defer b.close()
		for i, id := range userIDs {
			var cached bool
			if users[i], cached = c.cache.get(id); !cached && isID(id) {
				b.ids = append(b.ids, id)
			}
		}
		for i, id := range userIDs {
			user, err := users[i], error(nil)
			switch {
			case !isID(id):
				err = errNoID
			case user.ID == "":
				user, err = b.next(ctx)
			}
			if !yield(user, err) {
				return
			}
		}
	}
}

// A batch is users who are asked about together.
type batch struct {
	client   *Client
	ids      []string
	answered int     // of ids
	stream   *stream // answers about those that follow; nil: to be opened
	oneByOne bool    // instead of by a stream
	failed   error   // what the rest gets
}

// next answers about the next one.
func (b *batch) next(ctx context.Context) (notify.User, error) {
	if b.failed != nil {
		return notify.User{}, b.failed
	}
	id := b.ids[b.answered]
	if !b.oneByOne {
		info, err := b.receive(ctx)
		switch status.Code(err) {
		case codes.OK:
			b.answered++
			return b.client.keep(id, info)
		case codes.NotFound, codes.InvalidArgument: // about this one, or any other of them
			b.close()
		case codes.Unimplemented:
			b.close()
			b.oneByOne = true
		default:
			b.failed = errorOf(err)
			return notify.User{}, b.failed
		}
	}
	b.answered++
	user, err := b.client.Lookup(ctx, id)
	code := notify.CodeOf(err)
	if code == notify.CodeUnavailable {
		b.failed = err
	}
	if code != notify.CodeUserNotFound {
		b.oneByOne = true // the stream ended for another one
	}
	return user, err
}

func (b *batch) receive(ctx context.Context) (_ *idppb.Info, err error) {
	if b.stream == nil {
		requests := make([]*idppb.GetUserRequest, 0, len(b.ids)-b.answered)
		for _, id := range b.ids[b.answered:] {
			requests = append(requests, &idppb.GetUserRequest{Id: id})
		}
		if b.stream, err = b.client.open(ctx, b.client.timeout, requests...); err != nil {
			return nil, err
		}
	}
	return b.stream.receive()
}

func (b *batch) close() {
	if b.stream != nil {
		b.stream.close()
		b.stream = nil
	}
}
