package channel

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// shaky items are stored after so many failures, if any.
type shakyItems struct {
	Items
	mu       sync.Mutex
	failures int
}

func (s *shakyItems) InsertItem(ctx context.Context, item *notify.Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		s.failures--
		return &notify.Error{Code: notify.CodeUnavailable, Detail: "insert into inbox"}
	}
	return s.Items.InsertItem(ctx, item)
}

type pushed struct {
	mu    sync.Mutex
	items []*notify.Item
}

func (p *pushed) PushItems(items ...*notify.Item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.items = append(p.items, items...)
}

func itemMessage() notify.Message {
	return notify.Message{
		DeliveryID: uuid.NewString(), NotificationID: uuid.NewString(), Date: time.Now(),
		Inbox: &notify.InboxMessage{UserID: "ann", Content: notify.InboxContent{Title: "Solaris", Body: "is on", URL: "/films/1"}, Data: `{"film":1.0}`},
	}
}

func TestAMessageIsOneItemHoweverOftenItIsSent(t *testing.T) {
	t.Parallel()
	kept, err := store.Open(mongotest.NewURI(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close(context.WithoutCancel(t.Context()))) })
	require.NoError(t, kept.EnsureIndexes(t.Context(), slog.New(slog.DiscardHandler)))
	shaky, seen := &shakyItems{Items: kept, failures: 2}, &pushed{}
	inbox := NewInbox(shaky, seen)
	ready, _ := inbox.Ready(t.Context(), false)
	require.True(t, ready)

	m := itemMessage()
	var senders sync.WaitGroup
	for range 10 {
		senders.Go(func() {
			outcome := inbox.Send(t.Context(), m)
			if outcome != (notify.Outcome{Kind: notify.OutcomeSent, ProviderID: notify.ItemID(m.DeliveryID, m.Date)}) {
				t.Errorf("came to %+v", outcome)
			}
		})
	}
	senders.Wait()
	items, err := kept.Inbox(t.Context(), store.InboxQuery{UserID: "ann"})
	require.NoError(t, err)
	want := notify.Item{
		ID: notify.ItemID(m.DeliveryID, m.Date), NotificationID: m.NotificationID, DeliveryID: m.DeliveryID, UserID: "ann",
		Title: "Solaris", Body: "is on", URL: "/films/1", Data: `{"film":1.0}`, CreatedAt: m.Date.UTC().Truncate(time.Millisecond),
	}
	require.Equal(t, []notify.Item{want}, items)
	require.Len(t, seen.items, 10, "whoever was told before leaves it out by its id")
	require.Equal(t, &want, seen.items[0])
}

func TestAnItemThatCannotBeStoredIsInDoubt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	seen := &pushed{}
	outcome := NewInbox(&shakyItems{failures: 1000}, seen).Send(ctx, itemMessage())
	require.Equal(t, notify.OutcomeUnknown, outcome.Kind)
	require.Contains(t, outcome.Detail, "insert into inbox")
	require.Empty(t, seen.items)
}
