package activities

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// TestChunksOverAllInterleavings does for the claims of a chunk what
// TestClaimsOverAllInterleavings does for those of a delivery: two who send a
// chunk, or one who sends it and one who cancels it, in every order of their
// operations, the deadline passing at any moment, and the provider putting one
// message off, or answering no more. A last one then takes the chunk to its
// end. All that with a chunk of two, and with a chunk of one where either may
// die before any operation. (Both at once passed too: 490,482 interleavings, 49 s.)
func TestChunksOverAllInterleavings(t *testing.T) {
	t.Parallel()
	runs := 0
	all := func(size int, answers []notify.OutcomeKind, onUnknown notify.OnUnknown, rival rival) {
		explore(func(choose func(n int) int) {
			runs++
			playChunk(t, notify.ChannelEmail, size, answers, onUnknown, rival, choose)
		})
	}
	for _, answers := range [][]notify.OutcomeKind{
		{notify.OutcomeSent},
		{notify.OutcomeTransient, notify.OutcomeSent},
		{notify.OutcomeUnknown, notify.OutcomeSent},
	} {
		for _, size := range []int{1, 2} {
			all(size, answers, notify.OnUnknownResend, aSender)
			all(size, answers, notify.OnUnknownSkip, aSender)
		}
		all(1, answers, notify.OnUnknownResend, aCanceller)
	}
	for _, answers := range [][]notify.OutcomeKind{{notify.OutcomeSent}, {notify.OutcomeUnknown, notify.OutcomeSent}} {
		explore(func(choose func(n int) int) {
			runs++
			playChunk(t, notify.ChannelInbox, 1, answers, notify.OnUnknownResend, aSender, choose)
		})
	}
	t.Logf("%d interleavings", runs)
	require.Greater(t, runs, leastRuns(10_000))
}

// A stepper is one process that does one operation at a time, when it is told
// to. Once it is dead, nothing that it does has an effect.
type stepper struct {
	sender
	dead   atomic.Bool
	before string // the operation before this one
}

type stepperKey struct{}

// stepped waits until the stepper in ctx, if there is one, may do an operation,
// and says whether it lives.
func stepped(ctx context.Context) bool {
	s, _ := ctx.Value(stepperKey{}).(*stepper)
	if s == nil {
		return true
	}
	if s.dead.Load() {
		return false
	}
	s.waiting <- true
	if !<-s.proceed {
		s.dead.Store(true)
	}
	return !s.dead.Load()
}

// playChunk runs one interleaving and checks what it left.
func playChunk(t *testing.T, channel notify.Channel, size int, answers []notify.OutcomeKind, onUnknown notify.OnUnknown, rival rival, choose func(n int) int) {
	t.Helper()
	w := newWorld()
	w.Concurrency = 1
	n := w.notification(notify.Recipient{})
	n.OnUnknown = onUnknown
	page := pageOf(size)
	if channel == notify.ChannelInbox {
		page.over, page.recipients = channel, []notify.Recipient{{UserID: "ann"}}
	}
	items := map[string]bool{}
	var trace []string
	accepted, calls := map[string]int{}, 0
	w.provider.answer = func(ctx context.Context, m notify.Message) notify.Outcome {
		if s, _ := ctx.Value(stepperKey{}).(*stepper); s != nil {
			s.before = "send"
		}
		if !stepped(ctx) {
			return notify.Outcome{Kind: notify.OutcomeTransient}
		}
		kind := answers[min(calls, len(answers)-1)]
		calls++
		items[notify.ItemID(m.DeliveryID, m.Date)] = true
		if kind != notify.OutcomeTransient {
			accepted[m.DeliveryID]++ // in the worst case
		}
		return notify.Outcome{Kind: kind, Detail: string(kind)}
	}
	w.ledger.before = func(ctx context.Context, operation string) error {
		s, _ := ctx.Value(stepperKey{}).(*stepper)
		if s == nil {
			return nil
		}
		// Reads in a row, and the documents of a bulk, count as one operation:
		// that is few enough to go through them all.
		same := operation == s.before && operation != "insert chunk"
		s.before = operation
		if same && s.dead.Load() || !same && !stepped(ctx) {
			return backoff.Permanent(errors.New("dead"))
		}
		return nil
	}
	won := map[string]bool{} // by a cancel that was told so
	processes := make([]*stepper, 2)
	for i := range processes {
		s := &stepper{sender: sender{proceed: make(chan bool), waiting: make(chan bool)}}
		processes[i] = s
		ctx := context.WithValue(t.Context(), stepperKey{}, s)
		go func() {
			defer func() { s.waiting <- false }()
			if i == 1 && rival == aCanceller {
				result, _ := w.stopBroadcast(ctx, n, page)
				if result.Cancelled == len(page.recipients) {
					for _, to := range page.recipients {
						won[notify.DeliveryID(n.ID, notify.ChannelEmail, to)] = true
					}
				}
				return
			}
			w.broadcast(ctx, n, page, i > 0)
		}()
	}
	late, died := interleave(w, processes, size == 1, true, choose, func(what string) { trace = append(trace, what) })

	finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })
	require.LessOrEqual(t, len(items), size, "%v: an item has one id, whoever writes it", trace)
	for _, to := range page.recipients {
		d := w.recordedOver(t, n, channel, to)
		went := accepted[d.ID]
		switch d.State {
		case notify.StateSent:
			require.Positive(t, went, "%v: recorded as sent, and nobody took it", trace)
		case notify.StateUnknown:
		case notify.StateSkipped:
			require.Equal(t, notify.ReasonCancelled, d.Reason, "%v", trace)
			require.Zero(t, went, "%v: recorded as cancelled, and it may have gone out", trace)
		default:
			t.Fatalf("%v: ended as %s", trace, d.State)
		}
		if onUnknown == notify.OnUnknownSkip {
			require.LessOrEqual(t, went, 1, "%v: doubts were not to be resent", trace)
		}
		if went > 1 {
			require.True(t, d.Resent || d.State == notify.StateUnknown, "%v: went out %d times, unmarked", trace, went)
		}
		if won[d.ID] {
			require.Equal(t, notify.StateSkipped, d.State, "%v: a cancel was told that it had stopped it", trace)
		}
		if !late && !died && rival == aSender && answers[0] == notify.OutcomeSent {
			require.Equal(t, 1, went, "%v: nobody died or was late", trace)
		}
	}
}

// interleave lets processes go on one operation at a time as it is chosen, until
// all have ended; one may die, and the deadline may pass once.
func interleave(w *world, processes []*stepper, mayDie, mayBeLate bool, choose func(n int) int, tell func(string)) (late, died bool) {
	alive := []int{}
	for i, s := range processes {
		if <-s.waiting {
			alive = append(alive, i)
		}
	}
	for len(alive) > 0 {
		options := len(alive)
		if mayDie && !died {
			options += len(alive)
		}
		if mayBeLate && !late {
			options++
		}
		choice := choose(options)
		if mayBeLate && !late && choice == options-1 {
			late = true
			w.clock.advance(w.Patience + clockSkew)
			tell("deadline")
			continue
		}
		dies, at := choice >= len(alive), choice%len(alive)
		s := processes[alive[at]]
		tell(fmt.Sprintf("%d dies=%v", alive[at], dies))
		s.proceed <- !dies
		died = died || dies
		if !<-s.waiting {
			alive = append(alive[:at:at], alive[at+1:]...)
		}
	}
	return late, died
}
