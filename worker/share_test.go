package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/store"
)

// A sharer is a worker with a clock of its own, which may lose MongoDB.
type sharer struct {
	*Share
	clock  time.Time
	has    float64 // the share it was given last
	away   bool
	looked func() // between a look and what comes of it; may be nil
	Leases
}

func (s *sharer) Beat(ctx context.Context, own *store.Lease) error {
	if s.away {
		return errors.New("MongoDB is away")
	}
	return s.Leases.Beat(ctx, own)
}

func (s *sharer) Alive(ctx context.Context) ([]store.Lease, error) {
	if s.away {
		return nil, errors.New("MongoDB is away")
	}
	alive, err := s.Leases.Alive(ctx)
	if s.looked != nil {
		s.looked()
	}
	return alive, err
}

// newSharer gives a worker whose clock shows another time than all others.
func newSharer(t *testing.T, s *store.Store, n int) *sharer {
	t.Helper()
	w := &sharer{clock: time.Now().Add(time.Duration(n) * 24 * time.Hour)}
	w.Leases = s.Leases("worker", func() time.Time { return w.clock })
	w.Share = &Share{
		Leases: w, Lease: store.Lease{ID: fmt.Sprint(n)}, Set: func(share float64) { w.has = share },
		Log: slog.New(slog.DiscardHandler), Every: store.LeaseBeat,
	}
	return w
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(mongotest.NewURI(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(t.Context())) })
	return s
}

// tick lets the time between two beats pass for each of the workers.
func tick(t *testing.T, workers ...*sharer) {
	t.Helper()
	for _, w := range workers {
		w.clock = w.clock.Add(store.LeaseBeat)
		if err := w.round(t.Context()); err != nil {
			require.True(t, w.away, err)
		}
	}
	requireKept(t, workers)
}

// requireKept wants the workers to have no more than the whole rate together.
func requireKept(t *testing.T, workers []*sharer) {
	t.Helper()
	var total float64
	for _, w := range workers {
		total += w.has
	}
	require.LessOrEqual(t, total, 1.0001)
}

func TestTheRateIsDividedAmongTheWorkersThatLive(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	first, second := newSharer(t, s, 1), newSharer(t, s, 2)
	tick(t, first)
	require.Zero(t, first.has, "nobody can have seen it")
	tick(t, first)
	require.InDelta(t, 1, first.has, 0)

	first.looked = func() { // and did not see the second one
		first.looked = nil
		tick(t, second, second)
	}
	tick(t, first)
	tick(t, second)
	require.Zero(t, second.has, "though the first one has beaten")
	tick(t, first, second)
	require.InDelta(t, 0.5, first.has, 0)
	require.InDelta(t, 0.5, second.has, 0)

	for range 4 { // the first one dies without a word
		tick(t, second)
		require.InDelta(t, 0.5, second.has, 0)
	}
	tick(t, second)
	require.InDelta(t, 1, second.has, 0, "10 s after the last beat that it saw")

	third := newSharer(t, s, 3)
	tick(t, third)
	for range 3 {
		tick(t, second, third)
	}
	require.InDelta(t, 0.5, second.has, 0)
	require.Zero(t, third.has, "the dead one may live, as far as the third can know")
	tick(t, second, third)
	tick(t, second, third)
	require.InDelta(t, 0.5, third.has, 0)

	require.NoError(t, third.End(t.Context(), third.Lease.ID))
	tick(t, second)
	require.InDelta(t, 1, second.has, 0, "at once where a worker stops in an orderly way")
}

func TestWithoutMongoDBTheShareStays(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	first, second := newSharer(t, s, 1), newSharer(t, s, 2)
	first.away = true
	tick(t, first)
	require.Zero(t, first.has)
	first.away = false
	for range 5 {
		tick(t, first, second)
	}
	require.InDelta(t, 0.5, first.has, 0)
	first.away, second.away = true, true
	for range 20 {
		tick(t, first, second)
		require.InDelta(t, 1, first.has+second.has, 0)
	}
	first.away, second.away = false, false
	for range 10 {
		tick(t, first, second)
		require.InDelta(t, 0.5, first.has, 0, "nobody has died")
		require.InDelta(t, 0.5, second.has, 0)
	}
	// The server has deleted all leases while the workers could not beat.
	require.NoError(t, first.End(t.Context(), first.Lease.ID))
	require.NoError(t, first.End(t.Context(), second.Lease.ID))
	for range 10 {
		tick(t, first, second)
		require.InDelta(t, 0.5, first.has, 0)
		require.InDelta(t, 0.5, second.has, 0)
	}
}

// Workers join and stop while others are at any point of a round.
func TestTheRateIsKeptWhoeverJoinsWhenever(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	next := 0
	for range 20 {
		var workers []*sharer
		busy := map[*sharer]bool{}
		var act func()
		act = func() {
			if len(workers) < 4 && random.IntN(4) == 0 {
				next++
				w := newSharer(t, s, next)
				w.looked = func() {
					for random.IntN(4) > 0 {
						act()
					}
				}
				workers = append(workers, w)
			}
			if len(workers) == 0 {
				return
			}
			w := workers[random.IntN(len(workers))]
			if busy[w] {
				return
			}
			busy[w] = true
			require.NoError(t, w.round(t.Context()))
			busy[w] = false
			requireKept(t, workers)
		}
		for range 30 {
			act()
		}
		for range 4 {
			for _, w := range workers {
				w.looked = nil
				require.NoError(t, w.round(t.Context()))
			}
			requireKept(t, workers)
		}
		for _, w := range workers {
			require.InDelta(t, 1/float64(len(workers)), w.has, 1e-9)
			require.NoError(t, w.End(t.Context(), w.Lease.ID))
		}
	}
}

func TestALeaseLastsAsLongAsTheWork(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	shares := make(chan float64, 10)
	share := &Share{
		Leases: s.Leases("worker", time.Now), Lease: store.Lease{ID: "1"}, Set: func(share float64) { shares <- share },
		Log: slog.New(slog.DiscardHandler), Every: 10 * time.Millisecond,
	}
	reader := s.Leases("worker", time.Now)
	beats := func() int64 {
		alive, err := reader.Alive(t.Context())
		require.NoError(t, err)
		if len(alive) == 0 {
			return 0
		}
		return alive[0].Beats
	}
	ctx, stop := context.WithCancel(t.Context())
	failed := errors.New("work failed")
	require.ErrorIs(t, share.While(ctx, func(working context.Context) error {
		require.Zero(t, <-shares, "before the work begins")
		require.InDelta(t, 1, <-shares, 0)
		stop()
		<-working.Done()
		before := beats()
		require.Positive(t, before)
		require.Eventually(t, func() bool { return beats() > before }, 10*time.Second, time.Millisecond,
			"what is under way is finished with its share")
		return failed
	}), failed)
	require.Zero(t, beats())
}
