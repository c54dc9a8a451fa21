package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

func TestItemsByWhenTheyWereStored(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	first, late := item("ann", "first"), item("ann", "late")
	require.NoError(t, s.InsertItem(ctx, first))
	between := now()
	require.Eventually(t, func() bool { return now().After(between) }, time.Second, time.Millisecond)
	late.ID = "00000000" + late.ID[8:] // an id that is far older
	require.NoError(t, s.InsertItems(ctx, []*notify.Item{late, item("ben", "ben's"), item("cid", "cid's")}))
	require.Equal(t, notify.CodeConflict, notify.CodeOf(s.InsertItem(ctx, first)), "stored again, it is not stored later")

	found, err := s.StoredSince(ctx, []string{"ann", "ben"}, between.Add(time.Millisecond), 10)
	require.NoError(t, err)
	users := map[string]string{}
	for _, f := range found {
		require.WithinDuration(t, time.Now(), f.At, time.Minute)
		users[f.UserID] = f.ID
	}
	require.Len(t, found, 2)
	require.Equal(t, late.ID, users["ann"])
	found, err = s.StoredSince(ctx, []string{"ann", "ben"}, between.Add(-time.Minute), 2)
	require.NoError(t, err)
	require.Len(t, found, 2, "the limit")

	items, err := s.Items(ctx, []string{first.ID, late.ID, uuid.NewString()})
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Equal(t, []string{late.ID, first.ID}, []string{items[0].ID, items[1].ID})
	require.Equal(t, *first, items[1])
}

func TestPresence(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	require.NoError(t, s.InsertPresence(ctx, "a", []string{"ann", "ben"}, now()))
	require.NoError(t, s.InsertPresence(ctx, "a", []string{"ben", "cid"}, now()), "who is there already stays")
	require.NoError(t, s.InsertPresence(ctx, "b", []string{"ann"}, now()))
	require.NoError(t, s.InsertPresence(ctx, "dead", []string{"ann"}, now().Add(-time.Hour)))
	require.NoError(t, s.DeletePresence(ctx, "a", []string{"cid", "nobody"}))
	require.NoError(t, s.ForgetGateways(ctx, []string{"a"}, now().Add(-time.Minute)))

	gateways, err := s.GatewaysOf(ctx, []string{"ann", "ben", "cid", "dan"})
	require.NoError(t, err)
	require.Len(t, gateways, 2)
	require.ElementsMatch(t, []string{"a", "b"}, gateways["ann"])
	require.Equal(t, []string{"a"}, gateways["ben"])
	users, err := s.Presence(ctx, "a")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"ann", "ben"}, users)
	require.NoError(t, s.EndPresence(ctx, "a"))
	users, err = s.Presence(ctx, "a")
	require.NoError(t, err)
	require.Empty(t, users)
}

func TestAllHaveTheSameSecret(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	var group sync.WaitGroup
	secrets := make([]string, 10)
	for i := range secrets {
		s := reopen(t, uri)
		group.Go(func() {
			var err error
			if secrets[i], err = s.GatewaySecret(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, secret := range secrets {
		require.Equal(t, secrets[0], secret)
		require.Len(t, secret, 26)
	}
}

func TestATicketIsUsedOnce(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s := reopen(t, uri)
	ticket := &store.Ticket{
		ID: uuid.NewString(), UserID: "ann", ExpiresAt: now().Add(time.Minute),
		Caller: access.Caller{ID: "key/1", Scopes: []access.Scope{access.ScopeInbox}, Until: now().Add(time.Hour)},
	}
	require.NoError(t, s.InsertTicket(t.Context(), ticket))
	_, err := s.UseTicket(t.Context(), ticket.ID, ticket.ExpiresAt)
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err), "it has expired")
	results := make(chan error, 20)
	for range 20 {
		other := reopen(t, uri)
		go func() {
			used, err := other.UseTicket(t.Context(), ticket.ID, now())
			if err == nil && (used.UserID != "ann" || !used.Caller.Until.Equal(ticket.Caller.Until) || !used.Caller.May(access.ScopeInbox)) {
				err = fmt.Errorf("used %+v", used)
			}
			results <- err
		}()
	}
	used := 0
	for range 20 {
		if err := <-results; err == nil {
			used++
		} else {
			require.Equal(t, notify.CodeNotFound, notify.CodeOf(err), err)
		}
	}
	require.Equal(t, 1, used)
}
