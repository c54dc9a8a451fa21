package idp

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

const (
	// portionSize is how many users are asked for at a time.
	portionSize = 1000

	// listTimeouts is how many times the timeout an answer of a listing may
	// take: a server may have to gather its users first.
	listTimeouts = 12
)

// ListUsers lists the ids of all users that sort after afterID, each once, in
// the order of their bytes. A server with after_id and limit is asked for
// portions. Any other is asked for every user, whose ids are sorted on disk
// before the first is answered, in the same memory however many they are.
//
// It ends with the first error, and a later call can go on after the last id.
// Errors are as those of Lookup, without CodeUserNotFound; CodeInternal also
// when the idp cannot list its users, or begins in order and does not keep to it.
func (c *Client) ListUsers(ctx context.Context, afterID string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		last := afterID
		portions, err := c.hasPortions(ctx)
		for portions && err == nil {
			var ids []string
			if ids, err = c.portion(ctx, last, portionSize); err == nil && len(ids) == 0 {
				return
			}
			for _, id := range ids {
				if last = id; isID(id) && !yield(id, nil) {
					return
				}
			}
		}
		if err != nil && !errors.Is(err, errNoPortions) {
			yield("", err)
			return
		}
		c.listSorted(ctx, last, yield)
	}
}

// How an answer is no portion of users.
var (
	errNoPortions = &notify.Error{Code: notify.CodeInternal, Detail: "the idp does not know after_id and limit"}
	errDisorder   = &notify.Error{Code: notify.CodeInternal, Detail: "the idp does not list its users by after_id and limit, sorted by the bytes of their ids"}
)

// hasPortions says whether the idp knows after_id and limit: then it answers the
// first user alone, and after that the second. One that does not has an error to
// answer, nobody, or everybody. The question is the same wherever a listing goes
// on, so that disorder there is not taken for a server without portions.
func (c *Client) hasPortions(ctx context.Context) (bool, error) {
	last := ""
	for range 2 {
		ids, err := c.portion(ctx, last, 1)
		switch {
		case errors.Is(err, errNoPortions) || errors.Is(err, errDisorder):
			return false, nil
		case err != nil:
			return false, err
		case len(ids) == 0:
			return last != "", nil
		}
		last = ids[0]
	}
	return true, nil
}

// portion asks for users after an id. It may hold fewer than the limit although
// there are more.
func (c *Client) portion(ctx context.Context, afterID string, limit uint32) ([]string, error) {
	s, err := c.open(ctx, listTimeouts*c.timeout, &idppb.GetUserRequest{AfterId: &afterID, Limit: &limit})
	if err != nil {
		return nil, errorOf(err)
	}
	defer s.close()
	var ids []string
	for last := afterID; ; last = ids[len(ids)-1] {
		info, err := s.receive()
		switch code := status.Code(err); {
		case errors.Is(err, io.EOF):
			return ids, nil
		case isRefusal(code):
			return nil, errNoPortions
		case err != nil:
			return nil, errorOf(err)
		case info.GetId() <= last, len(ids) == int(limit):
			return nil, errDisorder
		}
		ids = append(ids, info.GetId())
	}
}

// listSorted asks for every user, and sorts those after an id.
func (c *Client) listSorted(ctx context.Context, afterID string, yield func(string, error) bool) {
	var ids audience.IDs
	defer ids.Close()
	if err := c.readAll(ctx, afterID, &ids); err != nil {
		yield("", err)
		return
	}
	for id, err := range ids.Sorted() {
		if !yield(id, err) {
			return
		}
	}
}

func (c *Client) readAll(ctx context.Context, afterID string, into *audience.IDs) error {
	s, err := c.open(ctx, listTimeouts*c.timeout)
	if err != nil {
		return errorOf(err)
	}
	defer s.close()
	for {
		info, err := s.receive()
		switch code := status.Code(err); {
		case errors.Is(err, io.EOF):
			return nil
		case isRefusal(code):
			return &notify.Error{Code: notify.CodeInternal, Detail: "the idp cannot list its users", Err: err}
		case err != nil:
			return errorOf(err)
		}
		if id := info.GetId(); id > afterID && isID(id) {
			if err := into.Add(id); err != nil {
				return err
			}
		}
	}
}

// isRefusal says whether a server that has no such listing may answer so.
func isRefusal(code codes.Code) bool {
	return code == codes.NotFound || code == codes.InvalidArgument || code == codes.Unimplemented
}
