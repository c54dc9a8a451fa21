package notify_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestADeliveryLearnsFromItsEvents(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0).UTC()
	after := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	event := func(seconds int, kind notify.EventKind, detail string) notify.Event {
		return notify.Event{
			ID: notify.EventID("d", detail), DeliveryID: "d", Provider: "sendgrid", Kind: kind, At: after(seconds), Detail: detail,
		}
	}
	failed := func(seconds int, detail string) notify.Attempt {
		return notify.Attempt{At: after(seconds), Provider: "sendgrid", Error: detail}
	}
	first := notify.Attempt{At: start, Provider: "smtp"}
	tests := []struct {
		name     string
		state    notify.State
		reason   notify.Reason
		events   []notify.Event
		want     notify.State
		wantFor  notify.Reason
		attempts []notify.Attempt
	}{
		{"nothing", notify.StateSent, "", nil, notify.StateSent, "", []notify.Attempt{first}},
		{"sent, delivered", notify.StateSent, "", []notify.Event{event(1, notify.EventDelivered, "250")}, notify.StateDelivered, "", []notify.Attempt{first}},
		{"unknown, delivered", notify.StateUnknown, "", []notify.Event{event(1, notify.EventDelivered, "250")}, notify.StateDelivered, "", []notify.Attempt{first}},
		{"skipped, delivered after all", notify.StateSkipped, notify.ReasonExpired, []notify.Event{event(1, notify.EventDelivered, "250")}, notify.StateDelivered, "", []notify.Attempt{first}},
		{"sent, bounced", notify.StateSent, "", []notify.Event{event(1, notify.EventBounced, "no")}, notify.StateFailed, notify.ReasonRejected, []notify.Attempt{first, failed(1, "no")}},
		{"unknown, dropped", notify.StateUnknown, "", []notify.Event{event(1, notify.EventDropped, "no")}, notify.StateFailed, notify.ReasonRejected, []notify.Attempt{first, failed(1, "no")}},
		{"delivered, then bounced", notify.StateSent, "", []notify.Event{event(1, notify.EventDelivered, "250"), event(2, notify.EventBounced, "no")}, notify.StateFailed, notify.ReasonRejected, []notify.Attempt{first, failed(2, "no")}},
		{"bounced, then delivered", notify.StateSent, "", []notify.Event{event(1, notify.EventBounced, "no"), event(2, notify.EventDelivered, "250")}, notify.StateFailed, notify.ReasonRejected, []notify.Attempt{first, failed(1, "no")}},
		{"twice", notify.StateSent, "", []notify.Event{event(2, notify.EventBounced, "no"), event(1, notify.EventDropped, "never"), event(2, notify.EventDropped, "no")}, notify.StateFailed, notify.ReasonRejected, []notify.Attempt{first, failed(1, "never"), failed(2, "no"), failed(2, "no")}},
		{"an event to come", notify.StateSent, "", []notify.Event{{Kind: "teleported", At: start}}, notify.StateSent, "", []notify.Attempt{first}},
	}
	t.Run("another provider's events", func(t *testing.T) {
		t.Parallel()
		d := notify.Delivery{ID: "d", State: notify.StateSent, Provider: "smtp", Attempts: []notify.Attempt{first}}
		_, changed := d.Learn([]notify.Event{event(1, notify.EventBounced, "no")})
		require.False(t, changed, "a bounce of a message before the one that was sent")
		learnt, changed := d.Learn([]notify.Event{event(1, notify.EventDelivered, "250")})
		require.True(t, changed)
		require.Equal(t, notify.StateDelivered, learnt.State)
		require.Equal(t, "smtp", learnt.Provider)
		d.Provider = ""
		learnt, _ = d.Learn([]notify.Event{event(1, notify.EventDelivered, "250")})
		require.Equal(t, "sendgrid", learnt.Provider)
	})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := notify.Delivery{ID: "d", State: test.state, Reason: test.reason, Attempts: []notify.Attempt{first}}
			for range 20 { // the events come in any order, one by one
				known := d
				order := rand.Perm(len(test.events))
				var events []notify.Event
				for _, i := range order {
					events = append(events, test.events[i])
					known, _ = known.Learn(events)
				}
				require.Equal(t, test.want, known.State)
				require.Equal(t, test.wantFor, known.Reason)
				require.Equal(t, test.attempts, known.Attempts)
				again, changed := known.Learn(events)
				require.False(t, changed, "it is known already")
				require.Equal(t, known, again)
			}
			require.Equal(t, []notify.Attempt{first}, d.Attempts, "the one before is left alone")
		})
	}
}
