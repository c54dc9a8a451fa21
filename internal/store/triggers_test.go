package store_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/trigger"
)

func TestTriggersAreKeptAsTheyWereDefined(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s, other := reopen(t, uri), reopen(t, uri)
	ctx := t.Context()
	for _, d := range []*trigger.Definition{
		{Name: "a", CreatedAt: now(), EventType: "x", To: "event.data.user_id", Template: "welcome@2", Enabled: true},
		{
			Name: "b", CreatedAt: now(), EventType: "y", Condition: "event.data.$a == 1.10", To: "['u']", Data: "{'a.b': 1}", Delay: time.Minute,
			Content: &notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "h"}}, Channels: []notify.Channel{notify.ChannelEmail},
		},
		{Name: "deleted", EventType: "x", To: "'u'", Template: "welcome"},
	} {
		require.NoError(t, s.CreateTrigger(ctx, d))
		require.Equal(t, 1, d.Version)
		kept, err := other.Trigger(ctx, d.Name)
		require.NoError(t, err)
		kept.CreatedAt = kept.CreatedAt.UTC()
		require.Equal(t, d, kept)
		again := *d
		require.Equal(t, notify.CodeConflict, notify.CodeOf(s.CreateTrigger(ctx, &again)))
	}
	require.NoError(t, s.DeleteTrigger(ctx, "deleted", now()))
	for _, missing := range []string{"deleted", "never"} {
		_, err := other.Trigger(ctx, missing)
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.UpdateTrigger(ctx, &trigger.Definition{Name: missing})))
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(s.DeleteTrigger(ctx, missing, now())))
	}
	changed := &trigger.Definition{Name: "a", EventType: "z", To: "'v'", Template: "welcome"}
	require.NoError(t, s.UpdateTrigger(ctx, changed))
	require.Equal(t, 2, changed.Version)
	listed, err := other.ListTriggers(ctx, "", 10)
	require.NoError(t, err)
	require.Len(t, listed, 2)
	require.Equal(t, "z", listed[0].EventType)
	require.Equal(t, "b", listed[1].Name)
}

// What one process stores, the Set of another meets events with.
func TestASetOverTheStore(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	s, other := reopen(t, uri), reopen(t, uri)
	set := trigger.NewSet(other, slog.New(slog.DiscardHandler))
	at := now()
	set.Now = func() time.Time { return at }
	versions := func(ctx context.Context) (versions []int) {
		at = at.Add(2 * time.Second)
		programs, err := set.For(ctx, "x")
		require.NoError(t, err)
		for _, p := range programs {
			versions = append(versions, p.Version)
		}
		return versions
	}
	require.Empty(t, versions(t.Context()))
	d := &trigger.Definition{Name: "a", EventType: "x", To: "'u'", Template: "welcome", Enabled: true}
	require.NoError(t, s.CreateTrigger(t.Context(), d))
	require.Equal(t, []int{1}, versions(t.Context()))
	require.NoError(t, s.UpdateTrigger(t.Context(), d))
	require.Equal(t, []int{2}, versions(t.Context()))
	d.Enabled = false
	require.NoError(t, s.UpdateTrigger(t.Context(), d))
	require.Empty(t, versions(t.Context()))
	d.Enabled = true
	require.NoError(t, s.UpdateTrigger(t.Context(), d))
	require.Equal(t, []int{4}, versions(t.Context()))
	require.NoError(t, s.DeleteTrigger(t.Context(), "a", now()))
	require.Empty(t, versions(t.Context()))
}
