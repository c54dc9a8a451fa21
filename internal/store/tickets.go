package store

import (
	"context"
	"time"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A Ticket lets its holder open one socket for a user, in place of who asked
// for it.
type Ticket struct {
	ID        string        `json:"id" bson:"_id"` // a hash of what the holder has
	UserID    string        `json:"user_id"`
	Caller    access.Caller `json:"caller"`
	ExpiresAt time.Time     `json:"expires_at"`
}

// A ticketUse says that a ticket has been used.
type ticketUse struct {
	ID        string    `json:"id" bson:"_id"` // <ticket>/used
	ExpiresAt time.Time `json:"expires_at"`
}

// ticketRetention is how long tickets are kept after they have expired, so that
// a server whose clock is ahead does not delete one that has not, nor its use
// before it.
const ticketRetention = time.Hour

// InsertTicket stores a ticket.
func (s *Store) InsertTicket(ctx context.Context, t *Ticket) error {
	return insert(ctx, s.tickets, t)
}

// UseTicket takes a ticket, once: CodeNotFound where there is none, it has
// expired, or it was used. An insert decides who uses it.
func (s *Store) UseTicket(ctx context.Context, id string, now time.Time) (*Ticket, error) {
	t, err := find[Ticket](ctx, s.tickets, id)
	if err != nil {
		return nil, err
	}
	if !now.Before(t.ExpiresAt) {
		return nil, &notify.Error{Code: notify.CodeNotFound, Detail: "the ticket has expired"}
	}
	err = insert(ctx, s.tickets, ticketUse{ID: id + "/used", ExpiresAt: t.ExpiresAt})
	if notify.CodeOf(err) == notify.CodeConflict {
		return nil, &notify.Error{Code: notify.CodeNotFound, Detail: "the ticket was used", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}
