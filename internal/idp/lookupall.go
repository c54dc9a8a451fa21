package idp

import (
	"context"
	"iter"

	"github.com/belfry-notify/belfry/internal/notify"
)

// LookupAll looks them up.
func (c *Client) LookupAll(ctx context.Context, userIDs []string) iter.Seq2[notify.User, error] {
	return func(yield func(notify.User, error) bool) {
		for _, id := range userIDs {
			if !yield(c.Lookup(ctx, id)) {
				return
			}
		}
	}
}
