package channel

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// guards are a direct and a bulk one over the same limiter.
func guards(l *Limiter) (direct, bulk *Guard) {
	return NewGuard(&carrier{}, GuardConfig{Limiter: l}, nil), NewGuard(&carrier{}, GuardConfig{Limiter: l, Bulk: true}, nil)
}

// untilReady asks as Temporal has an activity ask, and says how long it took.
func untilReady(ctx context.Context, g *Guard, high bool) time.Duration {
	began := time.Now()
	for {
		ready, after := g.Ready(ctx, high)
		if ready || ctx.Err() != nil {
			return time.Since(began)
		}
		select {
		case <-time.After(after):
		case <-ctx.Done():
		}
	}
}

func TestGuardsKeepTheRateTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		direct, bulk := guards(NewLimiter(10))
		began := time.Now()
		for range 11 {
			for _, g := range []*Guard{direct, bulk} {
				ready, _ := g.Ready(t.Context(), false)
				require.True(t, ready)
			}
		}
		require.Equal(t, 2100*time.Millisecond, time.Since(began), "the first at once, then one in 100 ms")
	})
}

func TestALimiterKeepsToItsShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(100)
		g, _ := guards(l)
		sent := func(during time.Duration) (n int) {
			ctx, cancel := context.WithTimeout(t.Context(), during)
			defer cancel()
			for {
				if ready, _ := g.Ready(ctx, false); ready {
					n++
				} else if ctx.Err() != nil {
					return n
				}
			}
		}
		l.SetShare(0)
		began := time.Now()
		ready, after := g.Ready(t.Context(), true)
		require.False(t, ready)
		require.Equal(t, maxTokenWait, after)
		require.Equal(t, maxTokenWait, time.Since(began), "no longer")
		require.Zero(t, sent(10*time.Second))
		time.AfterFunc(time.Second, func() { l.SetShare(0.5) })
		require.InDelta(t, 5+50, sent(2*time.Second), 1, "who waits gets a share that comes")
		require.InDelta(t, 500, sent(10*time.Second), 1)
		l.SetShare(0.001)
		require.InDelta(t, 10, sent(100*time.Second), 1)
		l.SetShare(1)
		require.InDelta(t, 1000, sent(10*time.Second), 1)
	})
}

func TestDirectMessagesAndHighPriorityGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		direct, bulk := guards(NewLimiter(2))
		ready, _ := direct.Ready(t.Context(), false)
		require.True(t, ready)
		turns := make(chan string, 5)
		for _, asks := range []struct {
			who  string
			g    *Guard
			high bool
		}{
			{"bulk, the first one", bulk, false}, {"bulk", bulk, false}, {"bulk of high priority", bulk, true},
			{"direct", direct, false}, {"direct of high priority", direct, true},
		} {
			go func() {
				if ready, _ := asks.g.Ready(t.Context(), asks.high); ready {
					turns <- asks.who
				}
			}()
			synctest.Wait()
		}
		var order []string
		for range 5 {
			order = append(order, <-turns)
		}
		require.Equal(t, []string{
			"bulk, the first one", // it had the next token before the others came
			"direct of high priority", "direct", "bulk of high priority", "bulk",
		}, order)
	})
}

func TestABroadcastTakesNoTurnOfDirectMessages(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]rate.Limit{
		"100/s": 100, "10/s": 10, "1/s": 1,
		"15/m": 0.25, "6/m": 0.1, // tokens so rare that messages come and go between memory and Temporal
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				direct, bulk := guards(NewLimiter(limit))
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				taken := make(chan struct{}, 1e6)
				for range 40 { // four pages, ten at a time
					go func() {
						for ctx.Err() == nil {
							untilReady(ctx, bulk, false)
							taken <- struct{}{}
						}
					}()
				}
				interval := time.Duration(float64(time.Second) / float64(limit))
				var longest, longestHigh time.Duration
				waits := func(high bool) time.Duration {
					patient, cancel := context.WithTimeout(ctx, 20*interval)
					defer cancel()
					return untilReady(patient, direct, high)
				}
				for i := range 25 {
					<-time.After(5*interval + time.Duration(i)*interval/25) // at any time of the broadcast's
					longest = max(longest, waits(false))
					<-time.After(5*interval + time.Duration(i)*interval/25)
					longestHigh = max(longestHigh, waits(true))
				}
				t.Logf("the longest wait is %s, with high priority %s; a token comes in %s", longest, longestHigh, interval)
				require.LessOrEqual(t, max(longest, longestHigh), 2*interval+time.Millisecond)
				require.Greater(t, len(taken), 200, "and the broadcast goes on with the rest")
			})
		})
	}
}
