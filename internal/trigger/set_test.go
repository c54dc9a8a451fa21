package trigger_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/trigger"
)

// shelf is a store that can be away. The real one is in the package store.
type shelf struct {
	mu       sync.Mutex
	triggers []trigger.Definition
	err      error
	listed   int // calls
}

func (s *shelf) ListTriggers(ctx context.Context, after string, limit int) ([]trigger.Definition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed++
	if err := cmp.Or(ctx.Err(), s.err); err != nil {
		return nil, err
	}
	var page []trigger.Definition
	for _, d := range s.triggers {
		if d.Name > after && len(page) < limit {
			page = append(page, d)
		}
	}
	return page, nil
}

func (s *shelf) put(name string, version int, eventType string, enabled bool) {
	s.triggers = slices.DeleteFunc(s.triggers, func(d trigger.Definition) bool { return d.Name == name })
	s.triggers = append(s.triggers, trigger.Definition{Name: name, Version: version, EventType: eventType, To: "'u'", Template: "t", Enabled: enabled})
	slices.SortFunc(s.triggers, func(a, b trigger.Definition) int { return strings.Compare(a.Name, b.Name) })
}

// names are the triggers for an event's type.
func names(t *testing.T, set *trigger.Set, eventType string) string {
	t.Helper()
	programs, err := set.For(t.Context(), eventType)
	require.NoError(t, err)
	text := ""
	for _, p := range programs {
		text += fmt.Sprintf("%s@%d ", p.Name, p.Version)
	}
	return text
}

func newSet(s *shelf) (*trigger.Set, func(time.Duration)) {
	set := trigger.NewSet(s, slog.New(slog.DiscardHandler))
	at := now
	set.Now = func() time.Time { return at }
	return set, func(d time.Duration) { at = at.Add(d) }
}

func TestAChangeTakesEffectWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	s.put("b", 1, "x", true)
	s.put("a", 1, "x", true)
	s.put("off", 1, "x", false)
	s.put("c", 1, "y", true)
	set, pass := newSet(s)
	for range 3 {
		require.Equal(t, "a@1 b@1 ", names(t, set, "x"))
		require.Equal(t, "c@1 ", names(t, set, "y"))
		require.Empty(t, names(t, set, "z"))
	}
	require.Equal(t, 1, s.listed, "the rest is from memory")
	kept, err := set.For(t.Context(), "x")
	require.NoError(t, err)

	s.put("b", 2, "y", true)
	s.put("off", 2, "x", true)
	pass(1999 * time.Millisecond)
	require.Equal(t, "a@1 b@1 ", names(t, set, "x"))
	pass(time.Millisecond)
	require.Equal(t, "a@1 off@2 ", names(t, set, "x"))
	require.Equal(t, "b@2 c@1 ", names(t, set, "y"))
	require.Equal(t, 2, s.listed)
	again, err := set.For(t.Context(), "x")
	require.NoError(t, err)
	require.Same(t, kept[0], again[0], "what has not changed is not compiled again")

	s.triggers = nil
	pass(2 * time.Second)
	require.Empty(t, names(t, set, "x"))
}

func TestWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	away := errors.New("no server")
	s := &shelf{err: away}
	set, pass := newSet(s)
	for range 2 {
		_, err := set.For(t.Context(), "x")
		require.ErrorIs(t, err, away, "there may be triggers")
	}
	require.Equal(t, 1, s.listed, "it is left in peace for a while")
	s.err = nil
	s.put("a", 1, "x", true)
	pass(2 * time.Second)
	require.Equal(t, "a@1 ", names(t, set, "x"))

	s.err = away
	for range 5 {
		pass(time.Second)
		require.Equal(t, "a@1 ", names(t, set, "x"), "it is not older than 5 s")
	}
	pass(time.Millisecond)
	_, err := set.For(t.Context(), "x")
	require.ErrorIs(t, err, away)
	s.err = nil
	pass(2 * time.Second)
	require.Equal(t, "a@1 ", names(t, set, "x"))
}

func TestACallerWhoGivesUpDoesNotSpoilItForOthers(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	s.put("a", 1, "x", true)
	set, _ := newSet(s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := set.For(ctx, "x")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "a@1 ", names(t, set, "x"))
}

func TestATriggerThatNoLongerCompilesFailsOnItsEvents(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	s.put("good", 1, "x", true)
	s.put("old", 1, "x", true)
	s.triggers[1].Condition = "gone()"
	set, _ := newSet(s)
	programs, err := set.For(t.Context(), "x")
	require.NoError(t, err)
	require.Len(t, programs, 2)
	_, matched, err := programs[0].Evaluate(t.Context(), &event.Event{Type: "x"}, now)
	require.NoError(t, err)
	require.True(t, matched)
	_, _, err = programs[1].Evaluate(t.Context(), &event.Event{Type: "x"}, now)
	require.Equal(t, notify.CodeInvalid, notify.CodeOf(err))
	require.ErrorContains(t, err, `trigger "old" does not compile`)
}

func TestMoreTriggersThanAPageOfThem(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	for i := range 1001 {
		s.put(fmt.Sprintf("t%04d", i), 1, "x", true)
	}
	set, _ := newSet(s)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			programs, err := set.For(t.Context(), "x")
			if err != nil || len(programs) != 1001 {
				t.Errorf("%d programs, %v", len(programs), err)
			}
		})
	}
	group.Wait()
}
