package access

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keyMap keeps keys, and what is asked of it. The store's own tests have the
// real one.
type keyMap struct {
	mu      sync.Mutex
	keys    map[string]*Key
	lookups int
	used    map[string]time.Time
	err     error
	hold    chan struct{} // a look-up waits for it, if it is there
}

func (m *keyMap) APIKey(_ context.Context, id string) (*Key, error) {
	m.mu.Lock()
	hold := m.hold
	m.lookups++
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	if k := m.keys[id]; k != nil {
		return k, nil
	}
	return nil, &notify.Error{Code: notify.CodeNotFound}
}

func (m *keyMap) APIKeyUsed(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used[id] = at
	return nil
}

func (m *keyMap) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lookups
}

// A clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Now().UTC()} }

// withKeys is an authenticator with a key.
func withKeys(t *testing.T, c *clock, scopes ...Scope) (a *Authenticator, kept *keyMap, key *Key, text string) {
	t.Helper()
	key, text = NewKey("test", scopes, "test", c.read(), nil)
	kept = &keyMap{keys: map[string]*Key{key.ID: key}, used: map[string]time.Time{}}
	a, err := New(Config{Keys: true}, kept, slog.New(slog.DiscardHandler), c.read)
	require.NoError(t, err)
	return a, kept, key, text
}

func TestAKeyIsItsCaller(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, _, key, text := withKeys(t, c, ScopeSend)
	got, err := a.Authenticate(t.Context(), text)
	require.NoError(t, err)
	require.Equal(t, Caller{ID: "key/" + key.ID, Scopes: []Scope{ScopeSend}}, got)
	until := c.read().Add(time.Minute)
	key.ExpiresAt = &until
	got, err = a.Authenticate(t.Context(), text)
	require.NoError(t, err)
	require.Equal(t, until, got.Until)
	c.pass(time.Minute)
	_, err = a.Authenticate(t.Context(), text)
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	require.ErrorContains(t, err, "expired")
}

func TestARevokedKeyIsRefusedWithinItsTTLAndAtOnceWhereItWasRevoked(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, kept, key, text := withKeys(t, c, ScopeSend)
	other, err := New(Config{Keys: true}, kept, slog.New(slog.DiscardHandler), c.read)
	require.NoError(t, err)
	for range 3 {
		for _, process := range []*Authenticator{a, other} {
			_, err := process.Authenticate(t.Context(), text)
			require.NoError(t, err)
		}
	}
	require.Equal(t, 2, kept.asked(), "one look-up a process")
	delete(kept.keys, key.ID)
	a.Forget(key.ID)
	_, err = a.Authenticate(t.Context(), text)
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	c.pass(keyTTL)
	_, err = other.Authenticate(t.Context(), text)
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	asked := kept.asked()
	_, err = other.Authenticate(t.Context(), text)
	require.Equal(t, notify.CodeUnauthorized, notify.CodeOf(err))
	require.Equal(t, asked, kept.asked(), "that there is none is remembered too")
}

func TestWhereTheStoreIsAwayNobodyIsRefused(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, kept, _, text := withKeys(t, c, ScopeSend)
	kept.err = &notify.Error{Code: notify.CodeUnavailable}
	_, err := a.Authenticate(t.Context(), text)
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err))
	kept.err = nil
	_, err = a.Authenticate(t.Context(), text)
	require.NoError(t, err, "and that is not remembered")
}

func TestThoseWhoAskAtOnceShareALookup(t *testing.T) {
	t.Parallel()
	a, kept, _, text := withKeys(t, newClock(), ScopeSend)
	kept.hold = make(chan struct{})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			_, err := a.Authenticate(t.Context(), text)
			if err != nil {
				t.Error(err)
			}
		})
	}
	gone, leave := context.WithCancel(t.Context())
	group.Go(func() {
		_, err := a.Authenticate(gone, text)
		if notify.CodeOf(err) != notify.CodeUnavailable {
			t.Errorf("a caller who left got %v", err)
		}
	})
	require.Eventually(t, func() bool { return kept.asked() == 1 }, 5*time.Second, time.Millisecond)
	leave()
	close(kept.hold)
	group.Wait()
	require.LessOrEqual(t, kept.asked(), 2) // somebody may have come after it was answered
}

func TestLookupsDoNotPileUp(t *testing.T) {
	t.Parallel()
	keys := &keyMap{keys: map[string]*Key{}, hold: make(chan struct{})}
	ring, err := newKeyring(keys, slog.New(slog.DiscardHandler), time.Now)
	require.NoError(t, err)
	var group sync.WaitGroup
	for i := range maxLookups {
		group.Go(func() {
			found, err := ring.find(t.Context(), fmt.Sprint(i))
			if err != nil || found != nil {
				t.Errorf("%v %v", found, err)
			}
		})
	}
	require.Eventually(t, func() bool { return keys.asked() == maxLookups }, 10*time.Second, time.Millisecond)
	_, err = ring.find(t.Context(), "one more")
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(err), "told at once")
	close(keys.hold)
	group.Wait()
	_, err = ring.find(t.Context(), "one more")
	require.NoError(t, err)
}

func TestUsesAreRecordedOnceAMinute(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, kept, key, text := withKeys(t, c, ScopeSend)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- a.Run(ctx) }()
	lastUse := func() time.Time {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		return kept.used[key.ID]
	}
	first := c.read()
	for range 3 {
		_, err := a.Authenticate(t.Context(), text)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return lastUse().Equal(first) }, 5*time.Second, time.Millisecond)
	c.pass(useInterval - time.Millisecond)
	_, err := a.Authenticate(t.Context(), text)
	require.NoError(t, err)
	c.pass(time.Millisecond)
	_, err = a.Authenticate(t.Context(), text)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return lastUse().Equal(first.Add(useInterval)) }, 5*time.Second, time.Millisecond)
	require.Empty(t, a.keys.uses)
	stop()
	require.NoError(t, <-ran)
}

func TestKeysDoNotRepeatAndTellNothing(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		key, text := NewKey("x", nil, "test", time.Now(), nil)
		id, secret, ok := splitKey(text)
		require.True(t, ok)
		require.Equal(t, key.ID, id)
		require.True(t, key.opens(secret))
		require.False(t, key.opens(strings.Repeat("a", len(secret))))
		require.False(t, seen[secret])
		seen[secret] = true
		require.NotContains(t, key.SecretHash, secret)
	}
}

func FuzzSplitKey(f *testing.F) {
	_, text := NewKey("x", nil, "test", time.Now(), nil)
	f.Add(text)
	f.Add("belfry__")
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, ok := splitKey(text)
		if ok && isKey(text) {
			require.Equal(t, text, keyPrefix+id+"_"+secret)
		}
	})
}

func TestWhatACallerMay(t *testing.T) {
	t.Parallel()
	service := Caller{Scopes: []Scope{ScopeRead}}
	require.True(t, service.MayFor(ScopeRead, "ann"))
	require.False(t, service.MayFor(ScopeInbox, "ann"))
	require.True(t, Anyone.MayFor(ScopeInbox, "ann"))
	user := Caller{UserID: "ann", Scopes: []Scope{ScopeRead, ScopeInbox, ScopeTemplates}, Service: []Scope{ScopeTemplates}}
	require.True(t, user.MayFor(ScopeInbox, "ann"))
	require.False(t, user.MayFor(ScopeInbox, "bruno"))
	require.False(t, user.MayFor(ScopeInbox, ""))
	require.True(t, user.MayFor(ScopeTemplates, "bruno"))
	require.True(t, user.Serves(ScopeTemplates))
	require.False(t, user.Serves(ScopeRead))
	require.False(t, user.May(ScopeSend))
	require.False(t, Caller{}.MayFor(ScopeRead, ""))
}
