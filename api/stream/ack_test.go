package stream_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// acked waits until the deliveries of the items, and of no others, are known to
// be delivered.
func (i *instance) acked(all []*notify.Item, n int) {
	i.t.Helper()
	count := func() (acked int) {
		for k, item := range all {
			events, err := i.store.EventsOf(i.t.Context(), item.DeliveryID)
			require.NoError(i.t, err)
			if len(events) > 0 {
				require.Equal(i.t, notify.EventDelivered, events[0].Kind)
				require.Less(i.t, k, n, "the ones before the cursor only")
				acked++
			}
		}
		return acked
	}
	require.Eventually(i.t, func() bool { return count() == n }, patience, 20*time.Millisecond)
}

func TestAcknowledgements(t *testing.T) {
	t.Parallel()
	i := alone(t)
	s, hello := i.open("ann", "")
	s.send(map[string]string{"type": "ack", "cursor": hello.Cursor}) // of nothing
	var items []*notify.Item
	for _, title := range []string{"one", "two", "three", "four", "five"} {
		items = append(items, newItem("ann", title))
	}
	i.put(items[:4]...)
	s.expectItems("one")
	second := s.expectItems("two")
	third := s.expectItems("three")
	fourth := s.expectItems("four")
	s.send(map[string]string{"type": "ack", "cursor": second.Cursor})
	i.acked(items, 2)
	s.send(map[string]string{"type": "ack", "cursor": second.Cursor}) // again
	s.send(map[string]string{"type": "ack", "cursor": third.Cursor})
	i.acked(items, 3)
	require.NoError(t, s.Close())

	// A cursor of an earlier connection acknowledges its item.
	s, _ = i.open("ann", "")
	s.send(map[string]string{"type": "ack", "cursor": fourth.Cursor})
	i.acked(items, 4)
	// Nobody acknowledges what is another's.
	i.put(items[4])
	fifth := s.expectItems("five")
	bob, _ := i.open("bob", "")
	bob.send(map[string]string{"type": "ack", "cursor": fifth.Cursor})
	bob.send(map[string]string{"type": "read", "item_id": items[4].ID})
	require.Equal(t, "not_found", bob.expect("error").Code) // so the one before it is done too
	i.acked(items, 4)
}
