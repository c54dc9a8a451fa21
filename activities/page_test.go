package activities

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/belfry-notify/belfry/internal/notify"
)

// toMany is a notification to an audience of n, with its first page.
func (w *world) toMany(n int) (*notify.Notification, chunkedPage) {
	notification := w.notification(notify.Recipient{})
	notification.To, notification.Bulk = nil, true
	notification.Audience = &notify.AudienceRef{ID: "readers", Total: n}
	page := pageOf(n)
	page.number = 0
	w.ledger.notifications[notification.ID] = notify.Record{Notification: *notification}
	for from := 0; from < n; from += notify.PageSize {
		w.ledger.pages[fmt.Sprintf("readers/%d", from/notify.PageSize)] = page.recipients[from:min(from+notify.PageSize, n)]
	}
	return notification, page
}

// deliverPage runs the activity as a worker does.
func (w *world) deliverPage(t *testing.T, in Page) (PageResult, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(w.Activities)
	value, err := env.ExecuteActivity(w.DeliverPage, in)
	if err != nil {
		return PageResult{}, err
	}
	var result PageResult
	require.NoError(t, value.Get(&result))
	return result, nil
}

func TestAFewOfAPageThatWaitHoldUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, _ := w.toMany(notify.PageSize + 20)
	later := true
	w.provider.answer = func(_ context.Context, m notify.Message) notify.Outcome {
		if later && strings.HasPrefix(m.Address, "user007") {
			return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later", RetryAfter: time.Minute}
		}
		return accept(m)
	}
	result, err := w.deliverPage(t, Page{ID: n.ID})
	require.NoError(t, err, "the page is done but for one")
	require.Equal(t, notify.Counts{Total: 500, Sent: 499, Queued: 1}, result.Counts)
	require.Equal(t, time.Minute, result.Wait)
	require.Equal(t, notify.Counts{Total: 499, Sent: 499}, w.ledger.counts[n.ID+"/0"].Counts)

	_, err = w.deliverPage(t, Page{ID: n.ID, ToEnd: true, Wait: result.Wait})
	require.Equal(t, time.Minute, retryDelay(t, err), "nothing is done before the time has come")
	_, err = w.deliverPage(t, Page{ID: n.ID, Again: true, ToEnd: true})
	require.ErrorContains(t, err, "1 of 500 deliveries wait: 451 later")
	later = false
	w.clock.advance(time.Minute)
	result, err = w.deliverPage(t, Page{ID: n.ID, Again: true, ToEnd: true})
	require.NoError(t, err)
	require.Equal(t, notify.Counts{Total: 500, Sent: 500}, result.Counts)
	require.Equal(t, notify.Counts{Total: 500, Sent: 500}, w.ledger.counts[n.ID+"/0"].Counts)
	require.Len(t, w.provider.sent, 500)
}

func retryDelay(t *testing.T, err error) time.Duration {
	t.Helper()
	var waits *temporal.ApplicationError
	require.ErrorAs(t, err, &waits)
	return waits.NextRetryDelay()
}

func TestAPageThatCannotBeBegunIsTriedAgainAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, _ := w.toMany(3)
	w.provider.down = true
	_, err := w.deliverPage(t, Page{ID: n.ID})
	require.ErrorContains(t, err, "3 of 3 deliveries wait")
	require.Empty(t, w.ledger.chunks)
}

func TestAPageWhoseAudienceIsGoneFails(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, _ := w.toMany(notify.PageSize + 20)
	clear(w.ledger.pages)
	for page, size := range []int{notify.PageSize, 20} {
		result, err := w.deliverPage(t, Page{ID: n.ID, Number: page})
		require.NoError(t, err)
		require.Equal(t, notify.Counts{Total: size, Failed: size}, result.Counts)
	}
}

func TestAPageGoesOutAtItsRate(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, _ := w.toMany(60)
	n.Rate = "200/s"
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n}
	began := time.Now()
	result, err := w.deliverPage(t, Page{ID: n.ID, Rate: 200})
	require.NoError(t, err)
	require.Equal(t, 60, result.Counts.Sent)
	require.GreaterOrEqual(t, time.Since(began), 295*time.Millisecond, "60 at 200/s cannot be done before")
	slow := n
	slow.Rate = "300/m"
	require.Len(t, pageOf(60).chunks(slow), 12, "so that a chunk is over soon, however slow")
	slow.Rate = "30/m"
	require.Len(t, pageOf(60).chunks(slow), 60)
}

func TestATerminatedNotificationToManyIsSettled(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, page := w.toMany(notify.PageSize + 20)
	page.recipients = page.recipients[:notify.ChunkSize]
	_, next := w.broadcast(t.Context(), n, page, false)
	require.Nil(t, next)
	require.NoError(t, w.Settle(t.Context(), n))
	record := w.ledger.notifications[n.ID]
	require.Equal(t, notify.StatusCancelled, record.Status)
	require.Equal(t, notify.Counts{Total: 520, Sent: 50, Skipped: 470}, record.Counts)
	require.Empty(t, w.ledger.counts)
}

func TestAllUsersAreListedAsTheAudienceOfANotification(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, _ := w.toMany(1)
	n.Audience = &notify.AudienceRef{ID: n.ID, AllUsers: true}
	w.ledger.notifications[n.ID] = notify.Record{Notification: *n}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(w.Activities)
	for range 2 { // done again, it answers the same
		value, err := env.ExecuteActivity(w.ListRecipients, n.ID)
		require.NoError(t, err)
		var all Listing
		require.NoError(t, value.Get(&all))
		require.Equal(t, Listing{Total: 2}, all)
	}
	record := w.ledger.notifications[n.ID]
	require.Equal(t, 2, record.Recipients())
	require.Equal(t, notify.Counts{Total: 2, Queued: 2}, record.Counts)
	result, err := w.deliverPage(t, Page{ID: n.ID})
	require.NoError(t, err)
	require.Equal(t, notify.Counts{Total: 2, Sent: 1, Failed: 1}, result.Counts, "one has no address")

	w.clock.advance(notify.DefaultExpiry)
	value, err := env.ExecuteActivity(w.ListRecipients, n.ID)
	require.NoError(t, err)
	var late Listing
	require.NoError(t, value.Get(&late))
	require.True(t, late.Expired)
}

// small takes no chunk with anything to send in it.
type small struct{ *memory }

func (s small) InsertChunk(ctx context.Context, c *notify.Chunk) error {
	for _, e := range c.Entries {
		if e.Content != nil && c.Number == 1 {
			return &notify.Error{Code: notify.CodeInvalid, Detail: "too large together"}
		}
	}
	return s.memory.InsertChunk(ctx, c)
}

func TestMailsThatAreTooLargeTogetherFail(t *testing.T) {
	t.Parallel()
	w := newWorld()
	n, page := w.toMany(3)
	w.Store = small{w.ledger}
	result, err := w.deliverPage(t, Page{ID: n.ID})
	require.NoError(t, err)
	require.Equal(t, notify.Counts{Total: 3, Failed: 3}, result.Counts)
	d := w.recorded(t, n, page.recipients[0])
	require.Equal(t, notify.ReasonBadContent, d.Reason)
	require.Equal(t, "too large together", d.Attempts[0].Error)
	require.Empty(t, w.provider.sent)
}
