package store

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestAGathererServesWhoWaitsWithACallThatBeganAfterItCame(t *testing.T) {
	t.Parallel()
	calls := make(chan []int)
	answers := make(chan error)
	g := &gatherer[int, int]{most: 3, call: func(_ context.Context, in []int) []result[int] {
		calls <- in
		err := <-answers
		out := make([]result[int], len(in))
		for i, n := range in {
			out[i] = result[int]{out: 10 * n, err: err}
		}
		return out
	}}
	served := make(chan result[int])
	ask := func(n int) {
		go func() {
			out, err := g.do(t.Context(), n)
			served <- result[int]{out, err}
		}()
	}
	// As many calls as may be under way, one input each: nobody waits for company.
	for n := range maxFlying {
		ask(n)
		require.Equal(t, []int{n}, <-calls)
	}
	// Those who come now wait, and go together, no more than most at a time.
	for n := 10; n < 14; n++ {
		ask(n)
	}
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting) == 4
	}, patience, patience/1000)
	answers <- nil
	answers <- errors.New("lost")
	first := []result[int]{<-served, <-served}
	require.ElementsMatch(t, []error{nil, errors.New("lost")}, []error{first[0].err, first[1].err})
	together := append(<-calls, <-calls...)
	require.ElementsMatch(t, []int{10, 11, 12, 13}, together)
	answers <- nil
	answers <- nil
	for range 4 {
		r := <-served
		require.NoError(t, r.err)
		require.Contains(t, []int{100, 110, 120, 130}, r.out)
	}
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.flying == 0
	}, patience, patience/1000, "nothing is left running")
}

func TestAGathererLetsGoOfWhoGivesUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	g := &gatherer[int, int]{most: 1, call: func(_ context.Context, in []int) []result[int] {
		<-release
		return make([]result[int], len(in))
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.do(ctx, 1)
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err))
	close(release)
}
