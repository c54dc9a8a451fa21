package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

func item(userID, title string) *notify.Item {
	return &notify.Item{
		ID: uuid.Must(uuid.NewV7()).String(), NotificationID: "n", DeliveryID: uuid.NewString(), UserID: userID,
		Title: title, Body: "text", URL: "/orders/17", Data: `{"order":17.0}`, CreatedAt: now(),
	}
}

func titles(items []notify.Item) []string {
	titles := make([]string, len(items))
	for i := range items {
		titles[i] = items[i].Title
	}
	return titles
}

func TestAnInboxIsListedByUser(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	items := make([]*notify.Item, 5)
	for i := range items {
		items[i] = item("ann", fmt.Sprint(i))
	}
	bens := item("ben", "ben's")
	require.NoError(t, s.InsertItem(ctx, items[0]))
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertItem(ctx, items[0])))
	require.NoError(t, s.InsertItems(ctx, append(slices.Clone(items), bens)), "the first one is there already")

	kept, err := s.Item(ctx, "ann", items[0].ID)
	require.NoError(t, err)
	require.Equal(t, items[0], kept)
	_, err = s.Item(ctx, "ben", items[0].ID)
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
	_, err = s.Item(ctx, "ann", uuid.NewString())
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))

	_, err = s.ChangeItem(ctx, "ann", items[1].ID, store.ItemRead, now())
	require.NoError(t, err)
	_, err = s.ChangeItem(ctx, "ann", items[3].ID, store.ItemArchive, now())
	require.NoError(t, err)
	for name, test := range map[string]struct {
		query store.InboxQuery
		want  []string
	}{
		"newest first":    {store.InboxQuery{}, []string{"4", "2", "1", "0"}},
		"archived too":    {store.InboxQuery{Archived: true}, []string{"4", "3", "2", "1", "0"}},
		"unread":          {store.InboxQuery{Unread: true}, []string{"4", "2", "0"}},
		"unread archived": {store.InboxQuery{Unread: true, Archived: true}, []string{"4", "3", "2", "0"}},
		"a page":          {store.InboxQuery{Limit: 2}, []string{"4", "2"}},
		"the next":        {store.InboxQuery{Before: items[2].ID, Limit: 2}, []string{"1", "0"}},
	} {
		test.query.UserID = "ann"
		listed, err := s.Inbox(ctx, test.query)
		require.NoError(t, err, name)
		require.Equal(t, test.want, titles(listed), name)
	}
	since, err := s.InboxSince(ctx, "ann", items[2].ID, 2)
	require.NoError(t, err)
	require.Equal(t, []string{"2", "3"}, titles(since), "oldest first, archived ones too, from that one on")
	none, err := s.Inbox(ctx, store.InboxQuery{UserID: "nobody"})
	require.NoError(t, err)
	require.Equal(t, []notify.Item{}, none)
	for user, want := range map[string]int{"ann": 3, "ben": 1, "nobody": 0} {
		unread, err := s.Unread(ctx, user)
		require.NoError(t, err)
		require.Equal(t, want, unread)
	}
}

func TestWhatAUserDoesWithAnItem(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	at := func(seconds int) *time.Time {
		t := time.Date(2026, 1, 1, 0, 0, seconds, 0, time.UTC)
		return &t
	}
	type state struct{ seen, read, archived *time.Time }
	for name, test := range map[string]struct {
		changes []store.ItemChange // the nth at second n
		want    state
	}{
		"seen":                  {[]store.ItemChange{store.ItemSeen}, state{seen: at(0)}},
		"read is seen":          {[]store.ItemChange{store.ItemRead}, state{seen: at(0), read: at(0)}},
		"seen, then read":       {[]store.ItemChange{store.ItemSeen, store.ItemRead}, state{seen: at(0), read: at(1)}},
		"read again":            {[]store.ItemChange{store.ItemRead, store.ItemRead, store.ItemSeen}, state{seen: at(0), read: at(0)}},
		"unread stays seen":     {[]store.ItemChange{store.ItemRead, store.ItemUnread}, state{seen: at(0)}},
		"unread at first":       {[]store.ItemChange{store.ItemUnread}, state{}},
		"unread, then read":     {[]store.ItemChange{store.ItemRead, store.ItemUnread, store.ItemRead}, state{seen: at(0), read: at(2)}},
		"archived is not seen":  {[]store.ItemChange{store.ItemArchive, store.ItemArchive}, state{archived: at(0)}},
		"archived, then unread": {[]store.ItemChange{store.ItemRead, store.ItemArchive, store.ItemUnread}, state{seen: at(0), archived: at(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stored := item("ann", name)
			require.NoError(t, s.InsertItem(ctx, stored))
			var changed *notify.Item
			for i, change := range test.changes {
				var err error
				changed, err = s.ChangeItem(ctx, "ann", stored.ID, change, *at(i))
				require.NoError(t, err)
			}
			want := *stored
			want.SeenAt, want.ReadAt, want.ArchivedAt = test.want.seen, test.want.read, test.want.archived
			require.Equal(t, &want, changed)
			kept, err := s.Item(ctx, "ann", stored.ID)
			require.NoError(t, err)
			require.Equal(t, &want, kept)
			_, err = s.ChangeItem(ctx, "ben", stored.ID, store.ItemArchive, now())
			require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
		})
	}
}

func TestNoChangeOfAnItemIsLost(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	processes := []*store.Store{reopen(t, uri), reopen(t, uri)}
	ctx := t.Context()
	for range 5 {
		stored := item("ann", "busy")
		require.NoError(t, processes[0].InsertItem(ctx, stored))
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				change := []store.ItemChange{store.ItemSeen, store.ItemRead, store.ItemArchive, store.ItemUnread}[rand.N(4)]
				if i < 2 { // at least these two, from two processes
					change = []store.ItemChange{store.ItemSeen, store.ItemArchive}[i]
				}
				changed, err := processes[i%2].ChangeItem(ctx, "ann", stored.ID, change, now())
				switch {
				case err != nil:
					t.Error(err)
				case change == store.ItemSeen && changed.SeenAt == nil, change == store.ItemArchive && changed.ArchivedAt == nil:
					t.Errorf("%s is not in what it was answered with", change)
				}
			})
		}
		group.Wait()
		kept, err := processes[0].Item(ctx, "ann", stored.ID)
		require.NoError(t, err)
		require.NotNil(t, kept.SeenAt)
		require.NotNil(t, kept.ArchivedAt)

		// Whatever order they came in, the item is as its log says: one more
		// change finds nothing to mend.
		again, err := processes[1].ChangeItem(ctx, "ann", stored.ID, store.ItemSeen, now())
		require.NoError(t, err)
		require.Equal(t, kept, again)
	}
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	const n = 450 // some batches
	items := make([]*notify.Item, n)
	for i := range items {
		items[i] = item("ann", fmt.Sprint(i))
	}
	require.NoError(t, s.InsertItems(ctx, append(items, item("ben", "ben's"))))
	for i, change := range []store.ItemChange{store.ItemRead, store.ItemArchive} {
		_, err := s.ChangeItem(ctx, "ann", items[i].ID, change, now())
		require.NoError(t, err)
	}
	changed, err := s.ReadAll(ctx, "ann", now())
	require.NoError(t, err)
	require.Len(t, changed, n-2)
	for _, item := range changed {
		require.NotNil(t, item.ReadAt)
	}
	for user, want := range map[string]int{"ann": 0, "ben": 1} {
		unread, err := s.Unread(ctx, user)
		require.NoError(t, err)
		require.Equal(t, want, unread)
	}
	changed, err = s.ReadAll(ctx, "ann", now())
	require.NoError(t, err)
	require.Empty(t, changed)
}
