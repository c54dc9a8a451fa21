package api

import (
	"context"
	"time"

	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/notify"
)

// acceptTimeout bounds how long a caller waits while a neighbour is away.
const acceptTimeout = 4500 * time.Millisecond

// accept makes a notification durable, once under an idempotency key: a replay
// says so, and has done what was left undone.
func (s *Server) accept(ctx context.Context, key string, r *notificationRequest) (record *notify.Record, replayed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if key == "" {
		record, err = s.acceptNew(ctx, r)
		return record, false, err
	}
	decided, replayed, err := s.decide(ctx, key, r, &notify.IdempotencyKey{NotificationID: newID(), CreatedAt: s.now()})
	if err != nil {
		return nil, false, err
	}
	if replayed {
		known, err := s.Store.Notification(ctx, decided.NotificationID)
		switch {
		case err == nil && known.Status.Ended():
			return known, true, nil
		case err == nil:
			return known, true, s.Starter.Start(ctx, &known.Notification)
		case notify.CodeOf(err) != notify.CodeNotFound:
			return nil, false, err
		}
	}
	request, err := r.request(intake.Moment(decided.CreatedAt))
	if err != nil {
		return nil, false, err
	}
	record, err = s.intake.Record(ctx, request, decided.NotificationID, decided.Template, decided.CreatedAt)
	if err != nil {
		return nil, false, err
	}
	return record, replayed, s.intake.Accept(ctx, record)
}

// acceptNew accepts a request that nobody can repeat.
func (s *Server) acceptNew(ctx context.Context, r *notificationRequest) (*notify.Record, error) {
	if err := s.checkNow(r); err != nil {
		return nil, err
	}
	now := s.now()
	request, err := r.request(now)
	if err != nil {
		return nil, err
	}
	return s.intake.AcceptNew(ctx, s.Store, request, newID(), now)
}
