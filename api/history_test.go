package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestTheHistoryIsSearchedAndCounted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	ids := []string{}
	for i := range 2 {
		ids = append(ids, s.send("", 202, object{"template": "welcome", "to": to("ann@example.com", "bob@example.com")}).ID)
		require.NoError(t, s.store.InsertDelivery(t.Context(), &notify.Delivery{
			ID: uuid.NewString(), NotificationID: ids[i], Channel: notify.ChannelEmail, Address: "Ann@Example.com",
			State: notify.StateSent, CreatedAt: time.Now(), Claim: 1,
		}))
	}
	sent := get[struct{ Items []notify.Delivery }](s, http.MethodGet, "/v1/deliveries?address=aNN@example.com&state=sent", 200, nil).Items
	require.Len(t, sent, 2)
	require.Equal(t, "Ann@Example.com", sent[0].Address, "as it was written to")
	require.NoError(t, s.store.InsertClaim(t.Context(), &notify.Claim{
		ID: notify.ClaimID(sent[0].ID, 1), DeliveryID: sent[0].ID, Number: 1,
		Content: &notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "<img>"}},
	}))
	require.Equal(t, map[string]any{"subject": "s", "html": "<img>", "text": ""},
		get[object](s, http.MethodGet, "/v1/deliveries/"+sent[0].ID, 200, nil)["content"])
	require.NoError(t, s.store.UpdateProgress(t.Context(), ids[0], notify.Progress{Status: notify.StatusDone, Counts: notify.Counts{Total: 2, Sent: 2}}))
	listed := map[string]notify.Counts{}
	for _, n := range get[struct{ Items []notify.Record }](s, http.MethodGet, "/v1/notifications", 200, nil).Items {
		listed[n.ID] = n.Counts
	}
	require.Equal(t, map[string]notify.Counts{ids[0]: {Total: 2, Sent: 2}, ids[1]: {Total: 2, Sent: 1, Queued: 1}}, listed)
}
