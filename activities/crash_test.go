package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A process does a number of operations on the ledger and the provider. Then it
// is dead: nothing that it does has an effect any more. Or it stops, until it is
// told to go on.
type process struct {
	mu      sync.Mutex
	left    int
	stopped chan struct{} // nil: it dies; else closed when it has stopped
	goOn    chan struct{}
	began   bool
}

type processKey struct{}

func (p *process) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, processKey{}, p)
}

// lives takes one operation.
func lives(ctx context.Context) bool {
	p, _ := ctx.Value(processKey{}).(*process)
	if p == nil {
		return true
	}
	p.mu.Lock()
	p.left--
	over := p.left < 0
	first := over && !p.began
	p.began = p.began || over
	p.mu.Unlock()
	if !over || p.stopped == nil {
		return !over
	}
	if first {
		close(p.stopped)
	}
	<-p.goOn
	return true
}

// mortals has the world's operations done by processes.
func (w *world) mortals(answer func(notify.Message) notify.Outcome) {
	w.ledger.before = func(ctx context.Context, _ string) error {
		if !lives(ctx) {
			return backoff.Permanent(errors.New("dead"))
		}
		return nil
	}
	w.outcomes.before = w.ledger.before
	w.provider.answer = func(ctx context.Context, m notify.Message) notify.Outcome {
		if !lives(ctx) {
			return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "dead"}
		}
		return answer(m)
	}
}

func accept(notify.Message) notify.Outcome { return notify.Outcome{Kind: notify.OutcomeSent} }

// A page on which everything happens: two chunks, with one that the idp does not
// know, one refused for good, and two put off at first.
func eventfulPage() (chunkedPage, func() func(notify.Message) notify.Outcome) {
	return eventfulPageBut("user003")
}

// eventfulPageBut puts off the one given and one of the last chunk.
func eventfulPageBut(putOff string) (chunkedPage, func() func(notify.Message) notify.Outcome) {
	page := pageOf(notify.ChunkSize + 3)
	page.recipients[1] = notify.Recipient{UserID: "nobody"}
	return page, func() func(notify.Message) notify.Outcome {
		var mu sync.Mutex
		asked := map[string]int{}
		return func(m notify.Message) notify.Outcome {
			mu.Lock()
			defer mu.Unlock()
			asked[m.Address]++
			switch {
			case strings.HasPrefix(m.Address, "user002"):
				return notify.Outcome{Kind: notify.OutcomePermanent, Reason: notify.ReasonRejected, Detail: "550 no"}
			case (strings.HasPrefix(m.Address, putOff) || strings.HasPrefix(m.Address, "user051")) && asked[m.Address] == 1:
				return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later"}
			}
			return accept(m)
		}
	}
}

// checkPage checks what a page has come to in the end: nobody is without mail
// who can get one, and who has two or may have is marked.
func checkPage(t *testing.T, w *world, n *notify.Notification, page chunkedPage, result Result, when string) {
	t.Helper()
	sends, doubled := w.sends(), 0
	var counted Result
	for i, to := range page.recipients {
		d := w.recorded(t, n, to)
		counted.count(&d)
		require.Positive(t, w.outcomes.told(d), "%s: nobody was told how %v ended", when, to)
		if i == 1 || i == 2 {
			require.Zero(t, sends[d.ID])
			continue
		}
		require.Equal(t, notify.StateSent, d.State, "%s: %v", when, to)
		require.Positive(t, sends[d.ID], "%s: %v has no mail", when, to)
		if sends[d.ID] > 1 {
			doubled++
			require.True(t, d.Resent, "%s: %v has two mails, unmarked", when, to)
		}
	}
	require.LessOrEqual(t, doubled, notify.ChunkSize, when)
	if result.Counts.Unknown == 0 { // else a refusal that is in doubt
		require.Equal(t, counted, result, when)
	}
	messages := map[string]notify.Message{}
	for _, m := range w.provider.sent {
		if first, there := messages[m.DeliveryID]; there {
			require.Equal(t, first, m, "%s: a resend has the same words, date and id", when)
		}
		messages[m.DeliveryID] = m
	}
}

func TestACrashAtAnyOperationOfAPage(t *testing.T) {
	t.Parallel()
	t.Run("whose first chunk leaves one for later", func(t *testing.T) {
		t.Parallel()
		page, answers := eventfulPageBut("user003")
		crashAtAnyOperation(t, page, answers)
	})
	t.Run("whose first chunk ends beside the second one's claim", func(t *testing.T) {
		t.Parallel()
		page, answers := eventfulPageBut("user052")
		crashAtAnyOperation(t, page, answers)
	})
}

func crashAtAnyOperation(t *testing.T, page chunkedPage, answers func() func(notify.Message) notify.Outcome) {
	t.Helper()
	crashes := 0
	for dies := 0; ; dies++ {
		w := newWorld()
		n := w.notification(notify.Recipient{})
		w.mortals(answers())
		first := &process{left: dies}
		result, next := w.broadcast(first.in(t.Context()), n, page, false)
		if first.left >= 0 {
			require.Equal(t, 2, result.Counts.Queued)
			require.NotNil(t, next)
			break // it does no more operations than that
		}
		crashes++
		when := fmt.Sprintf("dead after %d operations", dies)
		before, recordedBefore := w.sends(), map[string]bool{}
		for id := range w.ledger.deliveries {
			recordedBefore[id] = true
		}

		result = finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })

		for id, sends := range w.sends() {
			if recordedBefore[id] {
				require.Equal(t, before[id], sends, "%s: recorded as ended, and sent again", when)
				require.False(t, w.ledger.deliveries[id].Resent, when)
			}
		}
		d := w.recorded(t, n, page.recipients[2])
		require.Contains(t, []notify.State{notify.StateFailed, notify.StateUnknown}, d.State, when)
		checkPage(t, w, n, page, result, when)
	}
	require.Greater(t, crashes, 2*notify.ChunkSize)
}

func TestAFirstHolderThatGoesOnAfterItsDeadline(t *testing.T) {
	t.Parallel()
	page, answers := eventfulPage()
	for stops := 0; ; stops++ {
		w := newWorld()
		w.Concurrency = 1 // so that nothing goes on beside what has stopped
		n := w.notification(notify.Recipient{})
		w.mortals(answers())
		first := &process{left: stops, stopped: make(chan struct{}), goOn: make(chan struct{})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.broadcast(first.in(t.Context()), n, page, false)
		}()
		select {
		case <-first.stopped:
		case <-done:
			require.Greater(t, stops, 2*notify.ChunkSize)
			return
		}
		w.clock.advance(w.Patience + clockSkew)
		result := finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })
		before := len(w.provider.sent)
		close(first.goOn)
		<-done
		when := fmt.Sprintf("stopped after %d operations", stops)
		require.LessOrEqual(t, len(w.provider.sent), before+1, "%s: at most the message that was on its way", when)
		checkPage(t, w, n, page, result, when)
	}
}

func TestACrashWhereDoubtsAreNotToBeResent(t *testing.T) {
	t.Parallel()
	page := pageOf(notify.ChunkSize + 3)
	for dies := 0; ; dies++ {
		w := newWorld()
		n := w.notification(notify.Recipient{})
		n.OnUnknown = notify.OnUnknownSkip
		w.mortals(accept)
		first := &process{left: dies}
		w.broadcast(first.in(t.Context()), n, page, false)
		if first.left >= 0 {
			require.Greater(t, dies, 2*notify.ChunkSize)
			return
		}
		result := finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })
		require.LessOrEqual(t, result.Counts.Unknown, notify.ChunkSize)
		sends := w.sends()
		for _, to := range page.recipients {
			d := w.recorded(t, n, to)
			switch d.State {
			case notify.StateSent:
				require.Equal(t, 1, sends[d.ID])
			case notify.StateUnknown:
				require.LessOrEqual(t, sends[d.ID], 1)
				require.NotEmpty(t, d.Attempts)
			default:
				t.Fatalf("%v ended as %s", to, d.State)
			}
		}
	}
}

func TestWhatWasErasedInDoubtIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for _, onUnknown := range []notify.OnUnknown{notify.OnUnknownResend, notify.OnUnknownSkip} {
		for dies := 1; dies <= 3; dies++ { // before the first message, before the second, before what they came to is recorded
			w := newWorld()
			w.Concurrency = 1
			n := w.notification(notify.Recipient{})
			n.OnUnknown = onUnknown
			page := pageOf(2)
			w.mortals(accept)
			w.broadcast((&process{left: dies}).in(t.Context()), n, page, false)
			first := w.ledger.chunks[notify.ChunkID(n.ID, page.number, 0, 1)]
			require.True(t, first.Erase(0))
			before := w.sends()

			finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })

			erased, other := w.recorded(t, n, page.recipients[0]), w.recorded(t, n, page.recipients[1])
			require.Equal(t, notify.StateUnknown, erased.State)
			require.Empty(t, erased.Address)
			require.Len(t, erased.Attempts, 1)
			require.Equal(t, before[erased.ID], w.sends()[erased.ID], "onUnknown %s, dead after %d operations", onUnknown, dies)
			if onUnknown == notify.OnUnknownResend {
				require.Equal(t, notify.StateSent, other.State)
				require.True(t, other.Resent)
				require.Equal(t, []int{1}, w.ledger.chunks[notify.ChunkID(n.ID, page.number, 0, 2)].Resent)
			}
		}
	}
}

func TestACancelAtAnyOperationOfAPage(t *testing.T) {
	t.Parallel()
	page, answers := eventfulPage()
	for _, dies := range []bool{false, true} {
		for stops := 0; ; stops++ {
			w := newWorld()
			w.Concurrency = 1
			n := w.notification(notify.Recipient{})
			w.mortals(answers())
			first := &process{left: stops, goOn: make(chan struct{})}
			if !dies {
				first.stopped = make(chan struct{})
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.broadcast(first.in(t.Context()), n, page, false)
			}()
			select {
			case <-first.stopped:
			case <-done:
			}
			if first.left >= 0 {
				break // it does no more operations than that
			}
			when := fmt.Sprintf("dies=%v after %d operations", dies, stops)
			w.stopBroadcast(t.Context(), n, page)
			var won []string
			for id, d := range w.ledger.deliveries {
				if d.Reason == notify.ReasonCancelled {
					won = append(won, id)
				}
			}
			close(first.goOn)
			<-done
			result := finish(t, w, func() (Result, *wait) { return w.stopBroadcast(t.Context(), n, page) })
			sends := w.sends()
			for _, id := range won {
				require.Equal(t, notify.ReasonCancelled, w.ledger.deliveries[id].Reason, when)
			}
			var counted Result
			for _, to := range page.recipients {
				d := w.recorded(t, n, to)
				counted.count(&d)
				require.LessOrEqual(t, sends[d.ID], 1, when)
				switch d.State {
				case notify.StateSkipped, notify.StateFailed:
					require.Zero(t, sends[d.ID], "%s: %v was not to be sent", when, to)
				case notify.StateSent:
					require.Equal(t, 1, sends[d.ID], when)
				default:
					require.Equal(t, notify.StateUnknown, d.State, when)
					require.True(t, dies, when)
				}
			}
			require.Equal(t, counted, result, when)
		}
	}
}

func TestACrashOfTheSuccessorToo(t *testing.T) {
	t.Parallel()
	page, answers := eventfulPage()
	for _, dies := range []int{20, 60, 105} {
		for second := 0; ; second++ {
			w := newWorld()
			n := w.notification(notify.Recipient{})
			w.mortals(answers())
			w.broadcast((&process{left: dies}).in(t.Context()), n, page, false)
			var recorded []string
			for id := range w.ledger.deliveries {
				recorded = append(recorded, id)
			}
			w.clock.advance(w.Patience + clockSkew)
			successor := &process{left: second}
			w.broadcast(successor.in(t.Context()), n, page, true)

			result := finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })
			when := fmt.Sprintf("dead after %d operations, its successor after %d", dies, second)
			for _, id := range recorded {
				require.False(t, w.ledger.deliveries[id].Resent, "%s: marked without need", when)
				require.LessOrEqual(t, w.sends()[id], 1, when)
			}
			checkPage(t, w, n, page, result, when)
			if successor.left >= 0 {
				break // it does no more operations than that
			}
		}
	}
}

func TestACrashOfTheCancellerToo(t *testing.T) {
	t.Parallel()
	page, answers := eventfulPage()
	for _, dies := range []int{20, 100} {
		for second := 0; ; second++ {
			w := newWorld()
			n := w.notification(notify.Recipient{})
			w.mortals(answers())
			w.broadcast((&process{left: dies}).in(t.Context()), n, page, false)
			recorded := map[string]notify.State{}
			for id, d := range w.ledger.deliveries {
				recorded[id] = d.State
			}
			w.clock.advance(w.Patience + clockSkew)
			canceller := &process{left: second}
			w.stopBroadcast(canceller.in(t.Context()), n, page)

			finish(t, w, func() (Result, *wait) { return w.broadcast(t.Context(), n, page, true) })
			for id, state := range recorded {
				require.Equal(t, state, w.ledger.deliveries[id].State, "dead after %d operations, the canceller after %d", dies, second)
			}
			if canceller.left >= 0 {
				break // it does no more operations than that
			}
		}
	}
}
