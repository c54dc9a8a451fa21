package activities

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// pageOf is a page of as many recipients by address.
func pageOf(n int) chunkedPage {
	page := chunkedPage{number: 3, over: notify.ChannelEmail}
	for i := range n {
		page.recipients = append(page.recipients, notify.Recipient{Email: fmt.Sprintf("user%03d@example.com", i)})
	}
	return page
}

// broadcast takes a page as far as it gets in one run.
func (w *world) broadcast(ctx context.Context, n *notify.Notification, page chunkedPage, again bool) (Result, *wait) {
	j := job{notification: n, source: notify.Bodies{
		Email: &notify.Email{Subject: "s", HTML: "h"}, Inbox: &notify.InboxContent{Title: "t", Body: "b"},
	}, again: again}
	return w.deliverChunks(ctx, j, page, nil)
}

// stopBroadcast cancels what it can of a page in one run.
func (w *world) stopBroadcast(ctx context.Context, n *notify.Notification, page chunkedPage) (Result, *wait) {
	return w.deliverChunks(ctx, job{notification: n, again: true, stopped: notify.ReasonCancelled}, page, nil)
}

// finish runs a page again, later each time, until all of it has ended.
func finish(t *testing.T, w *world, run func() (Result, *wait)) Result {
	t.Helper()
	var result Result
	var next *wait
	for range 8 {
		if result, next = run(); next == nil {
			return result
		}
		require.NoError(t, next.failed)
		w.clock.advance(w.Patience + clockSkew)
	}
	require.Nil(t, next, "it does not come to an end: %+v", next)
	return result
}

// sends counts the messages that went out, by delivery.
func (w *world) sends() map[string]int {
	w.provider.mu.Lock()
	defer w.provider.mu.Unlock()
	sends := map[string]int{}
	for _, m := range w.provider.sent {
		sends[m.DeliveryID]++
	}
	return sends
}

// recorded is the end of the delivery to a recipient of a page.
func (w *world) recorded(t *testing.T, n *notify.Notification, to notify.Recipient) notify.Delivery {
	t.Helper()
	return w.recordedOver(t, n, notify.ChannelEmail, to)
}

func (w *world) recordedOver(t *testing.T, n *notify.Notification, channel notify.Channel, to notify.Recipient) notify.Delivery {
	t.Helper()
	d, there := w.ledger.deliveries[notify.DeliveryID(n.ID, channel, to)]
	require.True(t, there, "nothing is recorded of %v", to)
	return d
}

func TestAPageGoesOutInChunksAndNothingIsReadFirst(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{})
	page := pageOf(2*notify.ChunkSize + 5)
	page.recipients[7] = notify.Recipient{UserID: "nobody"}
	page.recipients[60] = notify.Recipient{UserID: "noaddress"}
	page.recipients[61] = notify.Recipient{UserID: "ann"}
	operations := map[string]int{}
	var mu sync.Mutex
	w.ledger.before = func(_ context.Context, operation string) error {
		mu.Lock()
		defer mu.Unlock()
		if operation == "insert chunk" {
			assert.Equal(t, notify.ChunkSize*operations[operation], operations["insert delivery"], "one chunk is in doubt at a time")
		}
		operations[operation]++
		return nil
	}

	result, next := w.broadcast(t.Context(), n, page, false)

	require.Nil(t, next)
	require.Equal(t, notify.Counts{Total: 105, Sent: 103, Failed: 2}, result.Counts)
	require.Equal(t, map[string]int{"insert chunk": 3, "insert delivery": 105, "insert end": 3}, operations)
	require.Len(t, w.provider.sent, 103)
	unknown := w.recorded(t, n, page.recipients[7])
	require.Equal(t, notify.ReasonUserNotFound, unknown.Reason)
	require.Equal(t, "the idp knows no such user", unknown.Attempts[0].Error)
	require.Equal(t, notify.ReasonNoAddress, w.recorded(t, n, page.recipients[60]).Reason)
	sent := w.recorded(t, n, page.recipients[61])
	require.Equal(t, notify.StateSent, sent.State)
	require.Len(t, sent.Attempts, 1)
	id, entry, err := sent.Entry.First(n.ID)
	require.NoError(t, err)
	first := w.ledger.chunks[id]
	require.Equal(t, "ann@example.com", first.Entries[entry].Address)
	require.NotEmpty(t, first.Entries[entry].Content.Email.Text)

	clear(operations)
	again, next := w.broadcast(t.Context(), n, page, true)
	require.Nil(t, next)
	require.Equal(t, result, again, "what has ended is not touched again")
	require.Equal(t, map[string]int{"find chunk": 6}, operations)
	require.Len(t, w.provider.sent, 103)
}

func TestWhatAChunkLeavesGoesOnAlone(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{})
	page := pageOf(2 * notify.ChunkSize)
	putOff := func(m notify.Message) bool { return strings.HasSuffix(m.Address, "7@example.com") }
	w.provider.answer = func(_ context.Context, m notify.Message) notify.Outcome {
		if putOff(m) {
			return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later", RetryAfter: time.Minute}
		}
		return accept(m)
	}
	result, next := w.broadcast(t.Context(), n, page, false)
	require.Equal(t, notify.Counts{Total: 100, Sent: 90, Queued: 10}, result.Counts)
	require.Equal(t, time.Minute, next.after)
	require.Empty(t, w.ledger.claims)

	// Once more in vain, alone, and then with success.
	for tries := 2; tries <= 3; tries++ {
		if tries == 3 {
			w.provider.answer = nil
		}
		result, next = w.broadcast(t.Context(), n, page, true)
		require.Len(t, w.ledger.claims, 10*(tries-1))
	}
	require.Nil(t, next)
	require.Equal(t, notify.Counts{Total: 100, Sent: 100}, result.Counts)
	require.Len(t, w.provider.sent, 100)
	d := w.recorded(t, n, page.recipients[57])
	require.Len(t, d.Attempts, 3)
	require.Equal(t, 3, d.Claim)
	require.False(t, d.Resent)
	require.Equal(t, notify.EntryOf(3, 1, 7), d.Entry)
	require.Equal(t, 2, w.ledger.claims[notify.ClaimID(d.ID, 1)].Number, "the chunk's claim was its first")
	first := w.ledger.chunks[notify.ChunkID(n.ID, 3, 1, 1)]
	at := slices.IndexFunc(w.provider.sent, func(m notify.Message) bool { return m.DeliveryID == d.ID })
	require.Equal(t, *first.Entries[7].Content.Email, w.provider.sent[at].Email, "what was rendered first")
}

func TestAnUnknownOutcomeInAChunkIsResentAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		onUnknown notify.OnUnknown
		state     notify.State
		sends     int
	}{
		{notify.OnUnknownResend, notify.StateSent, 2},
		{notify.OnUnknownSkip, notify.StateUnknown, 1},
	} {
		w := newWorld()
		n := w.notification(notify.Recipient{})
		n.OnUnknown = test.onUnknown
		page := pageOf(2)
		w.provider.answer = func(_ context.Context, m notify.Message) notify.Outcome {
			if m.Address == page.recipients[1].Email {
				return notify.Outcome{Kind: notify.OutcomeUnknown, Detail: "connection lost after the final dot"}
			}
			return accept(m)
		}
		_, next := w.broadcast(t.Context(), n, page, false)
		require.ErrorContains(t, next.cause, "final dot")
		w.provider.answer = nil
		_, next = w.broadcast(t.Context(), n, page, true)
		require.Nil(t, next)
		d := w.recorded(t, n, page.recipients[1])
		require.Equal(t, test.state, d.State)
		require.Equal(t, test.state == notify.StateSent, d.Resent)
		require.Equal(t, test.sends, w.sends()[d.ID])
	}
}

// turns gives a number of messages their turn.
type turns struct {
	*provider
	mu   sync.Mutex
	left int
}

func (t *turns) Ready(context.Context, bool) (bool, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left--
	return t.left >= 0, time.Second
}

func TestWhoseTurnHasNotComeIsLeftWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	limited := &turns{provider: w.provider, left: 20}
	w.Email = []Provider{limited}
	n := w.notification(notify.Recipient{})
	page := pageOf(2*notify.ChunkSize + 1)

	result, next := w.broadcast(t.Context(), n, page, false)
	require.Equal(t, notify.Counts{Total: 101, Sent: 20, Queued: 81}, result.Counts)
	require.True(t, next.soon)
	require.Len(t, w.ledger.chunks, 2, "a chunk of which no message can go out is not claimed")

	limited.left = 1000
	result, next = w.broadcast(t.Context(), n, page, true)
	require.Nil(t, next)
	require.Equal(t, notify.Counts{Total: 101, Sent: 101}, result.Counts)
	for _, to := range page.recipients {
		require.Len(t, w.recorded(t, n, to).Attempts, 1)
	}
}

func TestAPageThatIsToldToStopStopsWithinAChunk(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.Concurrency = 1
	n := w.notification(notify.Recipient{})
	page := pageOf(2 * notify.ChunkSize)
	ctx, cancel := context.WithCancel(t.Context())
	w.provider.answer = func(_ context.Context, m notify.Message) notify.Outcome {
		if strings.HasPrefix(m.Address, "user009") {
			cancel()
		}
		return accept(m)
	}
	result, next := w.broadcast(ctx, n, page, false)
	require.Equal(t, notify.Counts{Total: 100, Sent: 10, Queued: 90}, result.Counts)
	require.NotNil(t, next)
	require.Len(t, w.ledger.deliveries, 10)

	result, next = w.broadcast(t.Context(), n, page, true)
	require.Nil(t, next)
	require.Equal(t, 100, result.Counts.Sent)
	require.Len(t, w.provider.sent, 100, "each once")
}

// flaky does not answer for some users.
type flaky struct {
	Directory
	away func(userID string) bool
}

func (f flaky) Lookup(ctx context.Context, userID string) (notify.User, error) {
	if f.away(userID) {
		return notify.User{}, &notify.Error{Code: notify.CodeUnavailable, Detail: "the idp is away"}
	}
	return f.Directory.Lookup(ctx, userID)
}

func (f flaky) LookupAll(ctx context.Context, userIDs []string) iter.Seq2[notify.User, error] {
	return eachLookedUp(ctx, f.Lookup, userIDs)
}

func TestARecipientWhoCannotBeLookedUpNowHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{})
	page := pageOf(5)
	page.recipients[2] = notify.Recipient{UserID: "ann"}
	known := w.Directory
	w.Directory = flaky{known, func(string) bool { return true }}

	result, next := w.broadcast(t.Context(), n, page, false)
	require.Equal(t, notify.Counts{Total: 5, Sent: 4, Queued: 1}, result.Counts)
	require.ErrorContains(t, next.cause, "the idp is away")
	w.Directory = known
	result, next = w.broadcast(t.Context(), n, page, true)
	require.Nil(t, next)
	require.Equal(t, 5, result.Counts.Sent)
	d := w.recorded(t, n, page.recipients[2])
	require.Equal(t, "ann@example.com", d.Address)
	require.Len(t, d.Attempts, 1)
}

func TestAChunkOfWhomNobodyCanBeLookedUpIsNotClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{})
	page := chunkedPage{over: notify.ChannelEmail, recipients: []notify.Recipient{{UserID: "ann"}}}
	w.Directory = flaky{w.Directory, func(string) bool { return true }}
	_, next := w.broadcast(t.Context(), n, page, false)
	require.ErrorContains(t, next.cause, "the idp is away")
	require.Empty(t, w.ledger.chunks)
}

func TestAnInsertWhoseAnswerWasLostIsMine(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.ledger.lost = map[string]bool{"insert chunk": true, "insert delivery": true, "insert end": true}
	n := w.notification(notify.Recipient{})
	result, next := w.broadcast(t.Context(), n, pageOf(3), false)
	require.Nil(t, next)
	require.Equal(t, notify.Counts{Total: 3, Sent: 3}, result.Counts)
	require.Len(t, w.provider.sent, 3)
	require.Len(t, w.ledger.chunks, 2)
	require.NotContains(t, w.ledger.lost, true)
}

func TestAPageThatHasNotGoneOutInTimeIsSkipped(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{})
	page := pageOf(notify.ChunkSize + 1)
	w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
		return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later"}
	}
	_, next := w.broadcast(t.Context(), n, chunkedPage{number: page.number, over: page.over, recipients: page.recipients[:notify.ChunkSize]}, false)
	require.NotNil(t, next)
	w.clock.advance(notify.DefaultExpiry)
	result, next := w.broadcast(t.Context(), n, page, true)
	require.Nil(t, next)
	require.Equal(t, Result{Counts: notify.Counts{Total: 51, Skipped: 51}, Expired: 51}, result)
	require.Empty(t, w.provider.sent)
}

func TestStopPageCancelsWhatIsNotBegun(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, page := w.toMany(2*notify.ChunkSize + 1)
	_, next := w.broadcast(t.Context(), n, chunkedPage{over: page.over, recipients: page.recipients[:notify.ChunkSize]}, false)
	require.Nil(t, next)
	result, err := w.StopPage(t.Context(), Page{ID: n.ID})
	require.NoError(t, err)
	require.Equal(t, Result{Counts: notify.Counts{Total: 101, Sent: 50, Skipped: 51}, Cancelled: 51}, result)
	again, err := w.StopPage(t.Context(), Page{ID: n.ID})
	require.NoError(t, err)
	require.Equal(t, result, again)
	result, next = w.broadcast(t.Context(), n, page, true)
	require.Nil(t, next)
	require.Equal(t, again, result, "what was cancelled is not sent")
	require.Len(t, w.provider.sent, 50)
}

// A first run leaves the chunk of a dead sender, and ends the one behind it. What a
// second one writes while it sends that chunk again has both that have ended.
func TestCountsDoNotFallWhileAChunkIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n := w.notification(notify.Recipient{})
	page := pageOf(3 * notify.ChunkSize)
	j := job{notification: n, source: notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "h"}}, again: true}
	require.NoError(t, w.beginChunk(t.Context(), j, page.chunks(n)[1], "of one that died"))
	_, next := w.deliverChunks(t.Context(), j, page, nil)
	require.NotNil(t, next)

	w.clock.advance(w.Patience + clockSkew)
	least := len(page.recipients)
	counter := &pageCounter{}
	w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
		counter.mu.Lock()
		defer counter.mu.Unlock()
		least = min(least, counter.counts.Sent)
		return notify.Outcome{Kind: notify.OutcomeSent}
	}
	result, next := w.deliverChunks(t.Context(), j, page, counter)
	require.Nil(t, next)
	require.Equal(t, notify.Counts{Total: 150, Sent: 150}, result.Counts)
	require.Equal(t, 2*notify.ChunkSize, least)
}
