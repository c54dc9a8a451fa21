package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/belfry-notify/belfry/internal/store"
)

// Leases are those of the workers.
type Leases interface {
	Beat(ctx context.Context, own *store.Lease) error
	Alive(ctx context.Context) ([]store.Lease, error)
	End(ctx context.Context, id string) error
}

// A Share divides the rates of the providers among the workers that live, so
// that all of them together keep to the rates: each of n has the nth part.
type Share struct {
	Leases Leases
	Lease  store.Lease         // this worker's own, which has an ID
	Set    func(share float64) // from 0 to 1
	Log    *slog.Logger
	Every  time.Duration

	share float64
	there map[string]int64 // by id the beats of those who were there before this worker; nil until it is there itself
	away  bool
}

// endTimeout is how long the end of a lease may take.
const endTimeout = 2 * time.Second

// While runs work, which has no share until that of the others is known. What
// work finishes after ctx has ended still has its share.
func (s *Share) While(ctx context.Context, work func(context.Context) error) error {
	s.Set(0)
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var beats sync.WaitGroup
	beats.Go(func() { s.run(beating) })
	err := work(ctx)
	stop()
	beats.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := s.Leases.End(ending, s.Lease.ID); err != nil {
		s.Log.WarnContext(ctx, "the lease could not be ended: the other workers wait until it is dead", "error", err)
	}
	return err
}

func (s *Share) run(ctx context.Context) {
	ticker := time.NewTicker(s.Every)
	defer ticker.Stop()
	_ = s.round(ctx) // the first one shows this worker to the others, the next ones find its share
	for ctx.Err() == nil {
		err := s.round(ctx)
		if err != nil && !s.away && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "the other workers cannot be seen, going on with the last share of the rates", "error", err)
		}
		s.away = err != nil
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// round looks at the others, then beats: a beat says that this worker keeps to
// what it has seen. So once each of the others has beaten twice since this
// worker was there to be seen, they have made room for it.
func (s *Share) round(ctx context.Context) error {
	alive, err := s.Leases.Alive(ctx)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(alive), func(l store.Lease) bool { return l.ID == s.Lease.ID })
	switch {
	case len(others) == len(alive): // it is new, or its lease was lost
		s.there = nil
	case s.there == nil:
		s.there = make(map[string]int64, len(others))
		for _, other := range others {
			s.there[other.ID] = other.Beats
		}
	}
	workers := len(others) + 1
	share := 1 / float64(workers)
	if !s.hasRoom(others) {
		share = min(share, s.share)
	}
	if share != s.share {
		s.share = share
		s.Set(share)
		s.Log.InfoContext(ctx, "share of the rates", "workers", workers, "share", share)
	}
	return s.Leases.Beat(ctx, &s.Lease)
}

func (s *Share) hasRoom(others []store.Lease) bool {
	for _, other := range others {
		if beats, before := s.there[other.ID]; before && other.Beats < beats+2 {
			return false
		}
	}
	return s.there != nil
}
