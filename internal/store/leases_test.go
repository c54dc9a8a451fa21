package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/store"
)

// A leaseholder is a process with a lease and a clock of its own.
type leaseholder struct {
	*store.Leases
	own   store.Lease
	clock time.Time
}

func newLeaseholder(s *store.Store, id, kind string, clock time.Time) *leaseholder {
	h := &leaseholder{own: store.Lease{ID: id, Address: "host-of-" + id}, clock: clock}
	h.Leases = s.Leases(kind, func() time.Time { return h.clock })
	return h
}

func (h *leaseholder) beat(t *testing.T) {
	t.Helper()
	require.NoError(t, h.Beat(t.Context(), &h.own))
}

// sees are the ids of those that live after so much time has passed.
func (h *leaseholder) sees(t *testing.T, after time.Duration) []string {
	t.Helper()
	h.clock = h.clock.Add(after)
	alive, err := h.Alive(t.Context())
	require.NoError(t, err)
	ids := []string{}
	for _, lease := range alive {
		require.Equal(t, "host-of-"+lease.ID, lease.Address)
		ids = append(ids, lease.ID)
	}
	return ids
}

func TestALeaseLivesWhileItBeats(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	a := newLeaseholder(reopen(t, uri), "a", "worker", now())
	b := newLeaseholder(reopen(t, uri), "b", "worker", now().Add(-72*time.Hour)) // nobody compares clocks
	other := newLeaseholder(reopen(t, uri), "other", "gateway", now())
	require.Empty(t, a.sees(t, 0))
	a.beat(t)
	b.beat(t)
	other.beat(t)
	require.ElementsMatch(t, []string{"a", "b"}, a.sees(t, store.LeaseBeat))
	require.ElementsMatch(t, []string{"a", "b"}, b.sees(t, store.LeaseBeat))
	require.Equal(t, []string{"other"}, other.sees(t, 0))

	for range 10 {
		a.beat(t)
		require.ElementsMatch(t, []string{"a", "b"}, b.sees(t, store.LeaseBeat))
		b.beat(t)
	}
	require.EqualValues(t, 11, b.own.Beats)

	for range 4 { // a dies without a word
		b.beat(t)
		require.ElementsMatch(t, []string{"a", "b"}, b.sees(t, store.LeaseBeat))
	}
	b.beat(t)
	require.Equal(t, []string{"b"}, b.sees(t, store.LeaseBeat), "10 s after its last beat was seen")

	a.beat(t)
	b.beat(t)
	require.ElementsMatch(t, []string{"a", "b"}, b.sees(t, store.LeaseBeat), "it was not dead after all")
	require.NoError(t, a.End(t.Context(), "a"))
	require.Equal(t, []string{"b"}, b.sees(t, 0))
}

func TestWhoCouldNotLookTakesNobodyForDead(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	a, b := newLeaseholder(reopen(t, uri), "a", "worker", now()), newLeaseholder(reopen(t, uri), "b", "worker", now())
	a.beat(t)
	b.beat(t)
	require.Len(t, b.sees(t, 0), 2)
	require.Len(t, b.sees(t, time.Minute), 2, "neither could beat, nor look")
	require.Len(t, b.sees(t, store.LeaseBeat), 2)
}

func TestALeaseThatIsDeadForLongIsDeleted(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	dead, reader := newLeaseholder(reopen(t, uri), "dead", "worker", now()), newLeaseholder(s, "reader", "worker", now())
	dead.beat(t)
	dead.beat(t)
	fresh := func() []string { return newLeaseholder(s, "fresh", "worker", now()).sees(t, 0) } // who knows of no silence
	for began := reader.clock; reader.clock.Sub(began) < 10*time.Minute; {
		require.Equal(t, []string{"dead"}, fresh())
		reader.sees(t, 2*store.LeaseBeat)
	}
	reader.sees(t, 2*store.LeaseBeat)
	require.Empty(t, fresh())
	dead.beat(t)
	require.Equal(t, []string{"dead"}, fresh(), "its owner was only away")
	require.EqualValues(t, 3, dead.own.Beats)
}
