package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// delivered is a notification to so many users over their inboxes, with the
// deliveries as they are recorded when they are sent.
func delivered(users int) (*notify.Record, []*notify.Delivery, []notify.Item) {
	r := record(now())
	r.To, r.Channels = nil, []notify.Channel{notify.ChannelInbox}
	var deliveries []*notify.Delivery
	var items []notify.Item
	for range users {
		to := notify.Recipient{UserID: uuid.NewString()}
		r.To = append(r.To, to)
		d := &notify.Delivery{
			ID: notify.DeliveryID(r.ID, notify.ChannelInbox, to), NotificationID: r.ID, UserID: to.UserID, Channel: notify.ChannelInbox,
			Provider: "inbox", State: notify.StateSent, Attempts: []notify.Attempt{{At: now(), Provider: "inbox"}}, CreatedAt: now(), Claim: 1,
		}
		deliveries = append(deliveries, d)
		items = append(items, notify.Item{
			ID: notify.ItemID(d.ID, now()), NotificationID: r.ID, DeliveryID: d.ID, UserID: to.UserID, Title: "t",
		})
	}
	r.Counts = notify.Counts{Total: users, Queued: users}
	return r, deliveries, items
}

func eventuallyCounted(t *testing.T, s *store.Store, id string, want notify.Counts) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		r, err := s.Notification(t.Context(), id)
		require.NoError(c, err)
		require.Equal(c, want, r.Counts)
	}, 20*time.Second, 20*time.Millisecond)
}

func TestAnAcknowledgedItemIsDelivered(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	ended := now()
	for _, users := range []int{1, 12} {
		r, deliveries, items := delivered(users)
		require.NoError(t, s.InsertNotification(ctx, r))

		// A client that is connected may have the item before it is recorded that
		// it was sent, let alone that the notification has ended.
		require.NoError(t, s.AckItems(ctx, items[:1], now()))
		_, err := s.InsertDeliveries(ctx, deliveries)
		require.NoError(t, err)
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			d, err := s.Delivery(ctx, deliveries[0].ID)
			require.NoError(c, err)
			require.Equal(c, notify.StateDelivered, d.State)
			require.Len(c, d.Attempts, 1)
		}, 20*time.Second, 20*time.Millisecond)
		require.NoError(t, s.UpdateProgress(ctx, r.ID, notify.Progress{Status: notify.StatusDone, Counts: notify.Counts{Total: users, Sent: users}, FinishedAt: &ended}))
		eventuallyCounted(t, s, r.ID, notify.Counts{Total: users, Sent: users - 1, Delivered: 1})

		for range 2 { // the first one again
			require.NoError(t, s.AckItems(ctx, items, now()))
		}
		eventuallyCounted(t, s, r.ID, notify.Counts{Total: users, Delivered: users})
	}
}

func TestWhatWasAcknowledgedIsCountedBeforeAStoreCloses(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	other := reopen(t, uri)
	ctx := t.Context()
	s, err := store.Open(uri)
	require.NoError(t, err)
	r, deliveries, items := delivered(3)
	r.Status = notify.StatusDone
	require.NoError(t, s.InsertNotification(ctx, r))
	_, err = s.InsertDeliveries(ctx, deliveries)
	require.NoError(t, err)
	require.NoError(t, s.AckItems(ctx, items, now()))
	closing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	require.NoError(t, s.Close(closing))
	kept, err := other.Notification(ctx, r.ID)
	require.NoError(t, err)
	require.Equal(t, notify.Counts{Total: 3, Delivered: 3}, kept.Counts)
}
