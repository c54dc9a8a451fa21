package channel

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// carrier is a provider that is up or down.
type carrier struct {
	mu   sync.Mutex
	down bool
	seen int
	hold chan struct{} // closed to let messages through; nil: at once
}

func (c *carrier) Name() string { return "carrier" }
func (c *carrier) Close() error { return nil }

func (c *carrier) Send(context.Context, notify.Message) notify.Outcome {
	if c.hold != nil {
		<-c.hold
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen++
	if c.down {
		return notify.Outcome{Kind: notify.OutcomeTransient, Down: true, Detail: "connection refused"}
	}
	return notify.Outcome{Kind: notify.OutcomeSent}
}

func TestAGuardSparesAProviderThatIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &carrier{down: true}
		var changes []string
		g := NewGuard(c, GuardConfig{}, func(_, from, to string) { changes = append(changes, from+" to "+to) })
		for range DefaultFailures {
			ready, _ := g.Ready(t.Context(), false)
			require.True(t, ready)
			require.True(t, g.Send(t.Context(), notify.Message{}).Down)
		}
		ready, _ := g.Ready(t.Context(), true)
		require.False(t, ready, "it is taken for down")
		require.Equal(t, notify.OutcomeTransient, g.Send(t.Context(), notify.Message{}).Kind)
		require.Equal(t, DefaultFailures, c.seen, "refused without a try")

		<-time.After(DefaultPause + time.Millisecond) // of the bubble's own clock
		ready, _ = g.Ready(t.Context(), false)
		require.True(t, ready, "one may probe")
		c.down, c.hold = false, make(chan struct{})
		probe := make(chan notify.Outcome)
		go func() { probe <- g.Send(t.Context(), notify.Message{}) }()
		synctest.Wait()
		require.Equal(t, notify.OutcomeTransient, g.Send(t.Context(), notify.Message{}).Kind, "and only one")
		waiting := make(chan notify.Outcome)
		go func() { waiting <- g.Send(t.Context(), notify.Message{}) }()
		synctest.Wait()
		close(c.hold)
		require.Equal(t, notify.OutcomeSent, (<-probe).Kind)
		require.Equal(t, notify.OutcomeSent, (<-waiting).Kind, "who comes soon after waits for the probe")
		require.Equal(t, notify.OutcomeSent, g.Send(t.Context(), notify.Message{}).Kind)
		require.Equal(t, []string{"closed to open", "open to half-open", "half-open to closed"}, changes)
	})
}
