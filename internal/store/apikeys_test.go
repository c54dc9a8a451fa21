package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx := t.Context()
	expires := now().Add(time.Hour)
	var made []*access.Key
	for _, name := range []string{"one", "two", "three"} {
		key, _ := access.NewKey(name, []access.Scope{access.ScopeSend, access.ScopeRead}, "operator", now(), &expires)
		require.NoError(t, s.InsertAPIKey(ctx, key))
		found, err := s.APIKey(ctx, key.ID)
		require.NoError(t, err)
		found.CreatedAt, *found.ExpiresAt = found.CreatedAt.UTC(), found.ExpiresAt.UTC()
		require.Equal(t, key, found)
		made = append(made, key)
	}
	_, err := s.APIKey(ctx, "unknown")
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))

	used := now()
	require.NoError(t, s.APIKeyUsed(ctx, made[1].ID, used))
	first, err := s.APIKeys(ctx, "", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two"}, []string{first[0].Name, first[1].Name}, "the oldest first")
	require.Nil(t, first[0].LastUsedAt)
	require.Equal(t, used, first[1].LastUsedAt.UTC())
	rest, err := s.APIKeys(ctx, first[1].ID, 2)
	require.NoError(t, err)
	require.Len(t, rest, 1)
	require.Equal(t, "three", rest[0].Name)

	require.NoError(t, s.DeleteAPIKey(ctx, made[1].ID))
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.DeleteAPIKey(ctx, made[1].ID)))
	require.NoError(t, s.APIKeyUsed(ctx, made[1].ID, used), "a use that is told late")
	_, err = s.APIKey(ctx, made[1].ID)
	require.Equal(t, notify.CodeNotFound, notify.CodeOf(err), "does not bring a key back")
	left, err := s.APIKeys(ctx, "", 10)
	require.NoError(t, err)
	require.Len(t, left, 2)
}
