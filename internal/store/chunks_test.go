package store_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

func newChunk(notificationID string, number int) *notify.Chunk {
	return &notify.Chunk{
		ID: notify.ChunkID(notificationID, 7, 2, number), Number: number, Token: uuid.NewString(), At: now(),
		NotificationID: notificationID, CreatedAt: now(), Deadline: now().Add(time.Minute), Provider: "smtp",
	}
}

// mails are entries of a full chunk, each of 3 KB with much the same text, and
// the first one not to be sent.
func mails() []notify.Entry {
	entries := make([]notify.Entry, notify.ChunkSize)
	for i := range entries {
		entries[i] = notify.Entry{
			UserID: fmt.Sprint("u", i), Channel: notify.ChannelEmail, Address: fmt.Sprintf("u%d@example.com", i), Name: "Ünal",
			Content: &notify.Bodies{Email: &notify.Email{Subject: "Hello", HTML: fmt.Sprint("<p>& ", i, strings.Repeat("<b>same</b>\n", 250)), Text: "\t"}},
		}
	}
	entries[0] = notify.Entry{
		UserID: "u0", Channel: notify.ChannelEmail, Reason: notify.ReasonUserNotFound,
		Refused: &notify.Attempt{At: now(), Provider: "idp", Error: "no such user"},
	}
	return entries
}

func TestAChunkIsInsertedOnceAndHoldsItsEntries(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	id := uuid.NewString()

	first := newChunk(id, 1)
	first.Entries = mails()
	require.NoError(t, s.InsertChunk(ctx, first))
	second := newChunk(id, 1)
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertChunk(ctx, second)))
	found, err := s.Chunk(ctx, first.ID)
	require.NoError(t, err)
	require.Equal(t, first, found)

	resend := newChunk(id, 2)
	resend.Entries, resend.Doubts, resend.Resent = first.Entries, 1, []int{3, 49}
	resend.Attempts = []notify.Attempt{{At: now(), Provider: "smtp", Error: "the sender stopped"}}
	require.NoError(t, s.InsertChunk(ctx, resend))
	found, err = s.Chunk(ctx, resend.ID)
	require.NoError(t, err)
	resend.Entries = nil // with the first claim only
	require.Equal(t, resend, found)

	end := newChunk(id, 3)
	end.End = &notify.ChunkEnd{
		Later: []notify.Left{
			{Entry: 3, Outcome: notify.ClaimOutcome{Kind: notify.OutcomeTransient, At: now(), Error: "451"}},
			{Entry: 4, Outcome: notify.ClaimOutcome{Kind: notify.OutcomeTransient, At: now(), Untried: true}},
		},
		Counts: notify.Counts{Total: 48, Sent: 47, Failed: 1}, Expired: 1, Cancelled: 2,
	}
	require.NoError(t, s.InsertChunk(ctx, end))
	found, err = s.Chunk(ctx, end.ID)
	require.NoError(t, err)
	require.Equal(t, end, found)

	_, err = s.Chunk(ctx, notify.ChunkID(id, 7, 2, 4))
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
}

func TestABulkOfDeliveriesSaysWhichWereThere(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	id := uuid.NewString()
	deliveries := make([]*notify.Delivery, notify.ChunkSize)
	for i := range deliveries {
		deliveries[i] = &notify.Delivery{
			ID: uuid.NewString(), NotificationID: id, Channel: notify.ChannelEmail, Address: fmt.Sprintf("U%d@example.com", i),
			State: notify.StateSent, Attempts: []notify.Attempt{{At: now(), Provider: "smtp"}}, CreatedAt: now(), Claim: 1, Entry: notify.EntryOf(7, 2, i),
		}
	}
	for _, i := range []int{0, 20, 49} {
		before := *deliveries[i]
		before.State = notify.StateUnknown
		require.NoError(t, s.InsertDelivery(ctx, &before))
	}
	taken, err := s.InsertDeliveries(ctx, deliveries)
	require.NoError(t, err)
	require.ElementsMatch(t, []int{0, 20, 49}, taken)
	counts, err := s.CountEnded(ctx, id)
	require.NoError(t, err)
	require.Equal(t, notify.Counts{Total: 50, Sent: 47, Unknown: 3}, counts)
	found, err := s.Delivery(ctx, deliveries[21].ID)
	require.NoError(t, err)
	require.Equal(t, deliveries[21], found)

	taken, err = s.InsertDeliveries(ctx, deliveries)
	require.NoError(t, err)
	require.Len(t, taken, notify.ChunkSize)
	taken, err = s.InsertDeliveries(ctx, deliveries[:1])
	require.NoError(t, err)
	require.Equal(t, []int{0}, taken)

	chunkID, entry, err := found.Entry.First(id)
	require.NoError(t, err)
	require.Equal(t, notify.ChunkID(id, 7, 2, 1), chunkID)
	require.Equal(t, 21, entry)
	_, _, err = notify.EntryRef("").First(id)
	require.Error(t, err)
}

// large are entries with so many bytes of HTML each that cannot be made
// smaller, the same in all of them or not.
func large(size int, same bool) []notify.Entry {
	noise := make([]byte, size*3/4)
	entries := mails()[1:]
	for i := range entries {
		if i == 0 || !same {
			_, _ = rand.Read(noise)
		}
		html := fmt.Sprint("<p>Dear ", i, "<img src=data:image/png;base64,", base64.StdEncoding.EncodeToString(noise), ">")
		entries[i].Content = &notify.Bodies{Email: &notify.Email{Subject: "Hello", HTML: html, Text: "\t"}}
	}
	return entries
}

func TestLargeMailsAreKeptTogetherIfTheyAreAlike(t *testing.T) {
	t.Parallel()
	s := open(t)
	alike := newChunk(uuid.NewString(), 1)
	alike.Entries = large(900<<10, true)
	require.NoError(t, s.InsertChunk(t.Context(), alike))
	found, err := s.Chunk(t.Context(), alike.ID)
	require.NoError(t, err)
	require.Equal(t, alike.Entries, found.Entries)
	unlike := newChunk(uuid.NewString(), 1)
	unlike.Entries = large(500<<10, false)
	require.Equal(t, notify.CodeInvalid, notify.CodeOf(s.InsertChunk(t.Context(), unlike)))
}

func TestADeliveryIsReadAsItWasRecorded(t *testing.T) {
	t.Parallel()
	s := open(t)
	at, later := now(), now().Add(time.Second)
	once := []notify.Attempt{{At: at, Provider: "smtp"}}
	for name, d := range map[string]notify.Delivery{
		"sent at once":            {State: notify.StateSent, Address: "ann@example.com", Provider: "smtp", Attempts: once, SentAt: &later},
		"to an address as given":  {State: notify.StateSent, Address: "Ann@Example.com", Provider: "smtp", Attempts: once, SentAt: &later},
		"in an inbox":             {State: notify.StateSent, Provider: "inbox", Attempts: []notify.Attempt{{At: at, Provider: "inbox"}}},
		"after a retry":           {State: notify.StateSent, Provider: "smtp", Attempts: []notify.Attempt{{At: at, Provider: "smtp", Error: "451"}, {At: later, Provider: "smtp"}}},
		"refused":                 {State: notify.StateFailed, Provider: "smtp", Attempts: []notify.Attempt{{At: at, Provider: "smtp", Error: "550"}}, Reason: notify.ReasonRejected},
		"by another than it was":  {State: notify.StateSent, Provider: "sendgrid", Attempts: once, Resent: true},
		"stopped before any try":  {State: notify.StateSkipped, Address: "ann@example.com", Attempts: []notify.Attempt{}, Reason: notify.ReasonCancelled},
		"of a user without a try": {State: notify.StateFailed, UserID: "u1", Attempts: []notify.Attempt{}, Reason: notify.ReasonNoAddress},
	} {
		d.ID, d.NotificationID, d.Channel, d.CreatedAt = uuid.NewString(), uuid.NewString(), notify.ChannelEmail, at
		require.NoError(t, s.InsertDelivery(t.Context(), &d), name)
		found, err := s.Delivery(t.Context(), d.ID)
		require.NoError(t, err, name)
		require.Equal(t, &d, found, name)
		listed, err := s.DeliveriesOf(t.Context(), d.NotificationID, "", "", 0)
		require.NoError(t, err, name)
		require.Equal(t, []notify.Delivery{d}, listed, name)
	}
}

// Documents from before they were kept in few fields stay as they are.
func TestADeliveryOfAnEarlierVersionIsRead(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	at := now()
	want := notify.Delivery{
		ID: uuid.NewString(), NotificationID: uuid.NewString(), Channel: notify.ChannelEmail, Provider: "smtp", Address: "ann@example.com",
		State: notify.StateSent, Attempts: []notify.Attempt{{At: at, Provider: "smtp"}}, CreatedAt: at, SentAt: &at, Claim: 1,
	}
	_, err := collection(t, uri, "deliveries").InsertOne(t.Context(), bson.D{
		{Key: "_id", Value: want.ID}, {Key: "notification_id", Value: want.NotificationID}, {Key: "channel", Value: "email"}, {Key: "provider", Value: "smtp"},
		{Key: "address", Value: want.Address}, {Key: "address_key", Value: want.Address}, {Key: "state", Value: "sent"}, {Key: "resent", Value: false},
		{Key: "attempts", Value: bson.A{bson.D{{Key: "at", Value: at}, {Key: "provider", Value: "smtp"}}}},
		{Key: "created_at", Value: at}, {Key: "sent_at", Value: at}, {Key: "claim", Value: 1},
	})
	require.NoError(t, err)
	found, err := s.Delivery(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, &want, found)
}
