package activities

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// TestClaimsOverAllInterleavings runs the real protocol with two senders of
// one delivery in every order in which their operations on the ledger and the
// provider can interleave, each of them dying before or after any operation,
// the first claim's deadline passing at any moment (also while its holder
// lives, as one that was stopped does), and the provider answering in every
// way. A last sender then takes the delivery to its end. All that once with
// doubts resent, and once with doubts left as unknown; and also with a second
// sender for whom the content does not render, and with one that cancels
// instead.
// And the same over inbox, where it is one item however often it is sent.
func TestClaimsOverAllInterleavings(t *testing.T) {
	t.Parallel()
	runs := 0
	for _, answers := range [][]notify.OutcomeKind{
		{notify.OutcomeSent, notify.OutcomeSent, notify.OutcomeSent},
		{notify.OutcomeTransient, notify.OutcomeSent, notify.OutcomeSent},
		{notify.OutcomeUnknown, notify.OutcomeSent, notify.OutcomeSent},
		{notify.OutcomePermanent, notify.OutcomeSent, notify.OutcomeSent},
		{notify.OutcomeSent, notify.OutcomePermanent, notify.OutcomePermanent},
		{notify.OutcomeUnknown, notify.OutcomeTransient, notify.OutcomeSent},
	} {
		for _, onUnknown := range []notify.OnUnknown{notify.OnUnknownResend, notify.OnUnknownSkip} {
			for _, rival := range []rival{aSender, aBrokenSender, aCanceller} {
				explore(func(choose func(n int) int) {
					runs++
					play(t, notify.ChannelEmail, answers, onUnknown, rival, choose)
				})
			}
		}
	}
	for _, answers := range [][]notify.OutcomeKind{{notify.OutcomeSent}, {notify.OutcomeUnknown, notify.OutcomeSent}} {
		for _, rival := range []rival{aSender, aCanceller} {
			explore(func(choose func(n int) int) {
				runs++
				play(t, notify.ChannelInbox, answers, notify.OnUnknownResend, rival, choose)
			})
		}
	}
	t.Logf("%d interleavings", runs)
	require.Greater(t, runs, leastRuns(10_000))
}

// A rival is who comes second.
type rival int

const (
	aSender rival = iota
	aBrokenSender
	aCanceller
)

// leastRuns is how often explore has run what it is called for, at least, where it
// explores all.
func leastRuns(ofAll int) int {
	if raceDetector {
		return sampled - 1
	}
	return ofAll
}

// sampled is how many sequences of choices explore tries where it takes ten times
// as long, with the race detector.
const sampled = 200

// explore calls run once for every sequence of choices that it makes. With the
// race detector these are sequences by chance; `make test` runs the tests that
// explore without it too.
func explore(run func(choose func(n int) int)) {
	if raceDetector {
		for range sampled {
			run(rand.IntN)
		}
		return
	}
	var taken, width []int
	for {
		step := 0
		run(func(n int) int {
			if step == len(taken) {
				taken, width = append(taken, 0), append(width, n)
			}
			step++
			return taken[step-1]
		})
		last := len(taken) - 1
		for last >= 0 && taken[last]+1 == width[last] {
			last--
		}
		if last < 0 {
			return
		}
		taken, width = append(taken[:last:last], taken[last]+1), width[:last+1]
	}
}

// A sender is one process that tries to deliver. It does one operation at a
// time, when it is told to.
type sender struct {
	proceed chan bool // false: die instead
	waiting chan bool // true: it wants to do an operation; false: it has ended
}

type senderKey struct{}

// step waits until the sender in ctx, if there is one, may do an operation, or
// ends it.
func step(ctx context.Context) {
	s, _ := ctx.Value(senderKey{}).(*sender)
	if s == nil {
		return
	}
	s.waiting <- true
	if !<-s.proceed {
		runtime.Goexit()
	}
}

// play runs one interleaving and checks what it left.
func play(t *testing.T, channel notify.Channel, answers []notify.OutcomeKind, onUnknown notify.OnUnknown, rival rival, choose func(n int) int) {
	t.Helper()
	w := newWorld()
	n := w.notification(notify.Recipient{Email: "ann@example.com"})
	n.OnUnknown = onUnknown
	if channel == notify.ChannelInbox {
		n.To, n.Channels = []notify.Recipient{{UserID: "ann"}}, []notify.Channel{channel}
	}
	items := map[string]bool{}
	var trace []string
	accepted := 0
	calls := 0
	w.provider.answer = func(ctx context.Context, m notify.Message) notify.Outcome {
		step(ctx)
		items[notify.ItemID(m.DeliveryID, m.Date)] = true
		kind := answers[min(calls, len(answers)-1)]
		calls++
		switch kind {
		case notify.OutcomeSent, notify.OutcomeUnknown:
			accepted++ // in the worst case
		case notify.OutcomeTransient, notify.OutcomePermanent:
		}
		return notify.Outcome{Kind: kind, Reason: notify.ReasonRejected, Detail: string(kind)}
	}
	w.ledger.before = func(ctx context.Context, _ string) error { step(ctx); return nil }

	cancelled := false // and told so
	senders := make([]*sender, 2)
	for i := range senders {
		s := &sender{proceed: make(chan bool), waiting: make(chan bool)}
		senders[i] = s
		ctx := context.WithValue(t.Context(), senderKey{}, s)
		sent := *n
		if i == 1 && rival == aBrokenSender {
			sent.Data = "bad"
		}
		go func() {
			defer func() { s.waiting <- false }()
			if i == 1 && rival == aCanceller {
				d, err := w.cancel(ctx, &sent)
				cancelled = err == nil && d.Reason == notify.ReasonCancelled
				return
			}
			_, _ = w.attempt(ctx, &sent, i > 0) // what it came to is in the ledger
		}()
	}
	alive := []int{}
	for i, s := range senders {
		if <-s.waiting {
			alive = append(alive, i)
		}
	}
	late, died := false, false
	for len(alive) > 0 {
		// Each live sender may go on; one in a run may die; the deadline may pass once.
		options := len(alive)
		if !died {
			options += len(alive)
		}
		if !late {
			options++
		}
		choice := choose(options)
		if !late && choice == options-1 {
			late = true
			w.clock.advance(w.Patience + clockSkew)
			trace = append(trace, "deadline")
			continue
		}
		dies := choice >= len(alive)
		at := choice % len(alive)
		s := senders[alive[at]]
		trace = append(trace, fmt.Sprintf("%d dies=%v", alive[at], dies))
		s.proceed <- !dies
		died = died || dies
		if !<-s.waiting {
			alive = append(alive[:at:at], alive[at+1:]...)
		}
	}

	// A successor takes it from here, however often it has to wait.
	var d *notify.Delivery
	var err error
	for range 6 {
		if d, err = w.attempt(t.Context(), n, true); err == nil {
			break
		}
		w.clock.advance(w.Patience + clockSkew)
	}
	require.NoError(t, err, "%v", trace)
	recorded := w.ledger.deliveries[d.ID]
	switch recorded.State {
	case notify.StateSent:
		require.Positive(t, accepted, "%v: recorded as sent, and nobody took it", trace)
	case notify.StateFailed:
		require.Zero(t, accepted, "%v: recorded as failed, and it may have gone out", trace)
	case notify.StateUnknown:
	case notify.StateSkipped:
		require.Equal(t, aCanceller, rival, "%v", trace)
		require.Equal(t, notify.ReasonCancelled, recorded.Reason, "%v", trace)
		require.Zero(t, accepted, "%v: recorded as cancelled, and it may have gone out", trace)
	default:
		t.Fatalf("%v: ended as %s", trace, recorded.State)
	}
	if onUnknown == notify.OnUnknownSkip {
		require.LessOrEqual(t, accepted, 1, "%v: doubts were not to be resent", trace)
	}
	require.LessOrEqual(t, len(items), 1, "%v: an item has one id, whoever writes it", trace)
	if accepted > 1 {
		require.True(t, recorded.Resent || recorded.State == notify.StateUnknown, "%v: went out %d times, unmarked", trace, accepted)
	}
	if cancelled {
		require.Equal(t, notify.StateSkipped, recorded.State, "%v: a cancel was told that it had stopped it", trace)
	}
	if !late && !died && rival == aSender && answers[0] == notify.OutcomeSent {
		require.Equal(t, 1, accepted, "%v: nobody died or was late", trace)
	}
}
