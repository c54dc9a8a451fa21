package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestAGathererServesWhoWaitsWithACallThatBeganAfterItCame(t *testing.T) {
	t.Parallel()
	calls := make(chan []int)
	answers := make(chan error)
	g := &gatherer[int, int]{most: 3, pace: direct, call: func(_ context.Context, in []int) []result[int] {
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
	for n := range direct.atOnce {
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
	g := &gatherer[int, int]{most: 1, pace: direct, call: func(_ context.Context, in []int) []result[int] {
		<-release
		return make([]result[int], len(in))
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.do(ctx, 1)
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err))
	close(release)
}

func TestAGathererWaitsForCompanyOnlyUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []string // when, and how many
		began := time.Now()
		g := &gatherer[int, int]{most: 3, pace: direct, call: func(_ context.Context, in []int) []result[int] {
			mu.Lock()
			calls = append(calls, fmt.Sprint(time.Since(began), " ", len(in)))
			mu.Unlock()
			<-time.After(2 * time.Millisecond)
			return make([]result[int], len(in))
		}}
		for _, at := range []time.Duration{
			0, 10_000, 20_000, // alone each
			100_000, 101_000, // two on their way, as many as may be
			101_500, 101_600, // go together once the first is there
			110_000, 111_000, // wait for each other, since the call before had company
			300_000, 310_000, // alone again
		} {
			go func() {
				<-time.After(at * time.Microsecond)
				if _, err := g.do(t.Context(), 1); err != nil {
					t.Error(err)
				}
			}()
		}
		<-time.After(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"0s 1", "10ms 1", "20ms 1", "100ms 1", "101ms 1", "102ms 2", "142ms 2", "300ms 1", "310ms 1"}, calls)
	})
}
