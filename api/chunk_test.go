package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A chunked is a notification to an audience, whose deliveries are in a chunk.
type chunked struct {
	*server
	record *notify.Record
	first  *notify.Chunk
}

// inChunk stores a notification that has ended and the first claim of its only
// chunk, on deliveries to some users and then to as many addresses.
func inChunk(s *server, users ...string) *chunked {
	s.t.Helper()
	at := time.Now().UTC().Truncate(time.Millisecond)
	c := &chunked{server: s, record: &notify.Record{
		Notification: notify.Notification{ID: uuid.NewString(), Channels: []notify.Channel{notify.ChannelEmail}, CreatedAt: at, SendAt: at, ExpiresAt: at.Add(time.Hour)},
		Progress:     notify.Progress{Status: notify.StatusDone, FinishedAt: &at},
	}}
	require.NoError(s.t, s.store.InsertNotification(s.t.Context(), c.record))
	c.first = c.claim(1)
	add := func(e notify.Entry) {
		e.Channel, e.Content = notify.ChannelEmail, &notify.Bodies{Email: &notify.Email{Subject: "for " + e.Name, HTML: "<p>"}}
		c.first.Entries = append(c.first.Entries, e)
	}
	for _, user := range users {
		add(notify.Entry{UserID: user, Address: user + "@example.com", Name: user})
	}
	for i := range users {
		add(notify.Entry{Address: fmt.Sprintf("Nr%d@example.com", i), Name: fmt.Sprint("nr ", i)})
	}
	require.NoError(s.t, s.store.InsertChunk(s.t.Context(), c.first))
	return c
}

func (c *chunked) claim(number int) *notify.Chunk {
	return &notify.Chunk{
		ID: notify.ChunkID(c.record.ID, 3, 1, number), Number: number, Token: uuid.NewString(), At: c.record.CreatedAt,
		NotificationID: c.record.ID, CreatedAt: c.record.CreatedAt, Deadline: c.record.CreatedAt.Add(time.Minute), Provider: "smtp",
	}
}

// end says that all of the chunk is over, as its claim with the number.
func (c *chunked) end(number int) {
	c.t.Helper()
	end := c.claim(number)
	end.End = &notify.ChunkEnd{}
	require.NoError(c.t, c.store.InsertChunk(c.t.Context(), end))
}

// ended stores how the delivery of an entry ended under the first claim.
func (c *chunked) ended(entry int, state notify.State) *notify.Delivery {
	c.t.Helper()
	claim := c.first.Claim(entry)
	d := &notify.Delivery{
		ID: claim.DeliveryID, NotificationID: c.record.ID, UserID: claim.UserID, Channel: claim.Channel, Provider: "smtp", Address: claim.Address,
		State: state, Attempts: []notify.Attempt{{At: claim.At, Provider: "smtp"}}, CreatedAt: claim.CreatedAt, Claim: 1, Entry: notify.EntryOf(3, 1, entry),
	}
	_, err := c.store.InsertDeliveries(c.t.Context(), []*notify.Delivery{d})
	require.NoError(c.t, err)
	return d
}

// alone stores the first claim of its own that a delivery has which its chunk
// has left for later.
func (c *chunked) alone(entry int) *notify.Claim {
	c.t.Helper()
	of := c.first.Claim(entry)
	claim := &notify.Claim{
		ID: notify.ClaimID(of.DeliveryID, 1), Number: 2, Base: 1, At: of.At, DeliveryID: of.DeliveryID, NotificationID: of.NotificationID,
		UserID: of.UserID, Channel: of.Channel, CreatedAt: of.CreatedAt, Deadline: of.Deadline, Provider: "smtp", Address: of.Address,
		Attempts: []notify.Attempt{{At: of.At, Provider: "smtp", Error: "451 later"}}, Entry: notify.EntryOf(3, 1, entry),
	}
	require.NoError(c.t, c.store.InsertClaim(c.t.Context(), claim))
	return claim
}

type shownDelivery struct {
	notify.Delivery
	Content *notify.Email `json:"content"`
}

func TestADeliveryOfAChunkIsShownAsRendered(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := inChunk(s, "ann", "bob"), inChunk(s, "bob", "ann")
	path := func(d *notify.Delivery) string { return "/v1/deliveries/" + d.ID }

	sent, other := a.ended(0, notify.StateSent), a.ended(2, notify.StateSent)
	later := b.ended(1, notify.StateFailed)
	shown := get[shownDelivery](s, http.MethodGet, path(sent), 200, nil)
	require.Equal(t, notify.StateSent, shown.State)
	require.Equal(t, &notify.Email{Subject: "for ann", HTML: "<p>"}, shown.Content)
	require.Equal(t, "for nr 0", get[shownDelivery](s, http.MethodGet, path(other), 200, nil).Content.Subject)

	listed := get[struct{ Items []shownDelivery }](s, http.MethodGet, "/v1/users/ann/notifications", 200, nil).Items
	require.Len(t, listed, 2)
	require.ElementsMatch(t, []string{sent.ID, later.ID}, []string{listed[0].ID, listed[1].ID})
	for _, d := range listed {
		require.Equal(t, "for ann", d.Content.Subject)
	}

	// One whose chunk has left it for later has claims of its own, and no end yet.
	waiting := a.first.Claim(1).DeliveryID
	s.refused(http.MethodGet, "/v1/deliveries/"+waiting, 404, nil)
	s.refused(http.MethodPost, "/v1/deliveries/"+waiting+"/retry", 404, nil)
	a.alone(1)
	shown = get[shownDelivery](s, http.MethodGet, "/v1/deliveries/"+waiting, 200, nil)
	require.Equal(t, notify.StateQueued, shown.State)
	require.Equal(t, "bob", shown.UserID)
	require.Len(t, shown.Attempts, 1)
	require.Equal(t, "for bob", shown.Content.Subject)
	s.refused(http.MethodPost, "/v1/deliveries/"+waiting+"/retry", 409, nil)

	require.NoError(t, s.store.EraseEntry(t.Context(), a.record.ID, sent.Entry))
	require.Nil(t, get[shownDelivery](s, http.MethodGet, path(sent), 200, nil).Content)
	require.Equal(t, "for nr 0", get[shownDelivery](s, http.MethodGet, path(other), 200, nil).Content.Subject)
}

func TestADeliveryOfAChunkIsTriedAgainByHand(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	retry := func(d *notify.Delivery, number, own int, subject string) {
		t.Helper()
		for range 2 { // asked for again while it is tried, it is the same retry
			shown := get[shownDelivery](s, http.MethodPost, "/v1/deliveries/"+d.ID+"/retry", 202, nil)
			require.Equal(t, notify.StateQueued, shown.State)
			require.Equal(t, subject, shown.Content.Subject)
			require.Equal(t, notify.ClaimID(d.ID, number), s.starts.retried[len(s.starts.retried)-1])
		}
		claims, err := s.store.Claims(t.Context(), d.ID)
		require.NoError(t, err)
		require.Len(t, claims, own)
		require.Equal(t, number, claims[own-1].Reopened)
		require.Equal(t, d.Entry, claims[own-1].Entry)
		shown := get[shownDelivery](s, http.MethodGet, "/v1/deliveries/"+d.ID, 200, nil)
		require.Equal(t, notify.StateQueued, shown.State)
		require.Equal(t, subject, shown.Content.Subject)
	}
	a := inChunk(s, "ann", "bob")
	failed, unknown := a.ended(0, notify.StateFailed), a.ended(3, notify.StateUnknown)
	require.Contains(t, s.refused(http.MethodPost, "/v1/deliveries/"+failed.ID+"/retry", 409, nil).Detail, "try again in a minute")
	require.Empty(t, s.starts.retried)
	a.end(2)
	retry(failed, 2, 1, "for ann")
	retry(unknown, 2, 1, "for nr 1")

	// One that went on alone, and failed under its second claim.
	alone := a.alone(1)
	d := a.ended(1, notify.StateFailed)
	d.Claim = alone.Number
	require.NoError(t, s.store.ReplaceDelivery(t.Context(), d))
	retry(d, 3, 2, "for bob")

	// A chunk whose first sender died: the second one sent others again.
	b := inChunk(s, "ann")
	failed = b.ended(0, notify.StateFailed)
	second := b.claim(2)
	second.Doubts, second.Resent = 1, []int{1}
	require.NoError(t, s.store.InsertChunk(t.Context(), second))
	s.refused(http.MethodPost, "/v1/deliveries/"+failed.ID+"/retry", 409, nil)
	b.end(3)
	retry(failed, 3, 1, "for ann")

	erased := b.ended(1, notify.StateFailed)
	erased.Address = ""
	require.NoError(t, s.store.ReplaceDelivery(t.Context(), erased))
	require.Contains(t, s.refused(http.MethodPost, "/v1/deliveries/"+erased.ID+"/retry", 409, nil).Detail, "erased")
}

func TestSendGridTellsOfDeliveriesOfAChunk(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	c := inChunk(s.server, "ann")
	d := &notify.Delivery{ID: c.first.Claim(0).DeliveryID, Address: "ann@example.com"}
	early := sendGridEvent(d, "delivered", object{"belfry_notification_id": c.record.ID})
	s.tell(http.StatusServiceUnavailable, early) // the chunk's sender is about to record it
	s.tell(http.StatusNoContent,
		sendGridEvent(d, "bounce", nil), // of a message that does not say more, nothing is known
		sendGridEvent(&notify.Delivery{ID: uuid.NewString()}, "delivered", object{"belfry_notification_id": uuid.NewString()}))
	kept, err := s.store.EventsOf(t.Context(), d.ID)
	require.NoError(t, err)
	require.Len(t, kept, 1)

	other := c.ended(1, notify.StateSent)
	d = c.ended(0, notify.StateSent)
	s.tell(http.StatusNoContent, early)
	require.Equal(t, notify.StateDelivered, s.state(d))
	_, counts := s.counts(c.record)
	require.Equal(t, notify.Counts{Total: 2, Sent: 1, Delivered: 1}, counts)

	// What is told of the first message is forgotten when another one goes out.
	other.Provider = "sendgrid"
	require.NoError(t, s.store.ReplaceDelivery(t.Context(), other))
	bounce := sendGridEvent(other, "bounce", object{"timestamp": time.Now().Add(-time.Minute).Unix()})
	s.tell(http.StatusNoContent, bounce)
	require.Equal(t, notify.StateFailed, s.state(other))
	c.end(2)
	get[object](s.server, http.MethodPost, "/v1/deliveries/"+other.ID+"/retry", 202, nil)
	s.tell(http.StatusServiceUnavailable, bounce)
	other.State, other.Claim = notify.StateSent, 3
	require.NoError(t, s.store.ReplaceDelivery(t.Context(), other))
	s.tell(http.StatusNoContent, bounce)
	require.Equal(t, notify.StateSent, s.state(other))
}
