package store_test

import (
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

func TestEntriesAreErasedAndTheOthersStay(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	erasures := collection(t, uri, "erasures")
	ctx, id := t.Context(), uuid.NewString()

	stored := newChunk(id, 1)
	stored.Entries = mails()
	require.NoError(t, s.InsertChunk(ctx, stored))
	want := newChunk(id, 1)
	want.Entries = mails()
	var group sync.WaitGroup
	for _, processes := range []int{1, 2} { // some of them by two at once
		for entry := 0; entry < 20; entry += processes {
			want.Entries[entry] = notify.Entry{
				Channel: notify.ChannelEmail, Content: &notify.Bodies{},
				DeliveryID: notify.DeliveryID(id, notify.ChannelEmail, notify.Recipient{UserID: stored.Entries[entry].UserID}),
			}
			group.Go(func() {
				if err := s.EraseEntry(ctx, id, notify.EntryOf(7, 2, entry)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	want.Entries[0].Content, want.Entries[0].Reason = nil, notify.ReasonUserNotFound
	for _, dropped := range []bool{false, true} {
		if dropped { // what is erased is so without being left out by readers
			_, err := erasures.DeleteMany(ctx, bson.D{})
			require.NoError(t, err)
		}
		found, err := s.Chunk(ctx, stored.ID)
		require.NoError(t, err)
		require.Equal(t, want.Entries, found.Entries)
		require.Equal(t, notify.DeliveryID(id, notify.ChannelEmail, notify.Recipient{UserID: "u7"}), found.Claim(7).DeliveryID)
	}

	// Before the chunk is rewritten, readers leave it out.
	_, err := erasures.InsertOne(ctx, bson.D{{Key: "_id", Value: stored.ID + "/30"}})
	require.NoError(t, err)
	found, err := s.Chunk(ctx, stored.ID)
	require.NoError(t, err)
	require.True(t, found.Entries[30].Gone())
	require.Equal(t, want.Entries[31:], found.Entries[31:])

	for _, ref := range []notify.EntryRef{notify.EntryOf(7, 2, notify.ChunkSize), notify.EntryOf(7, 2, -1), notify.EntryOf(7, 3, 0)} {
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.EraseEntry(ctx, id, ref)), ref)
	}
	require.Error(t, s.EraseEntry(ctx, id, "7"))
	closed := newChunk(id, 1)
	closed.ID, closed.Closed = notify.ChunkID(id, 7, 4, 1), notify.ReasonExpired
	require.NoError(t, s.InsertChunk(ctx, closed))
	require.NoError(t, s.EraseEntry(ctx, id, notify.EntryOf(7, 4, 0)), "nothing was rendered")
}
