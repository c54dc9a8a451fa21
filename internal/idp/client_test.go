package idp

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

// requireCode asserts that err is a *notify.Error with a code.
func requireCode(t *testing.T, code notify.Code, err error) {
	t.Helper()
	var e *notify.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, err)
}

func TestLookup(t *testing.T) {
	t.Parallel()
	client := newClient(t, Config{Addr: serve(t, ServerConfig{})})

	t.Run("all fields", func(t *testing.T) {
		t.Parallel()
		user, err := client.Lookup(t.Context(), "ana")
		require.NoError(t, err)
		require.Equal(t, notify.User{
			ID: "ana", Email: "ana@example.org", Name: "Ana Łuć",
			Locale: "pt-BR", TimeZone: "Europe/Lisbon", Phone: "+351210000000",
		}, user)
	})
	t.Run("user without an address", func(t *testing.T) {
		t.Parallel()
		user, err := client.Lookup(t.Context(), "bo")
		require.NoError(t, err)
		require.Equal(t, notify.User{ID: "bo"}, user)
	})
	t.Run("unknown user", func(t *testing.T) {
		t.Parallel()
		user, err := client.Lookup(t.Context(), "nobody")
		requireCode(t, notify.CodeUserNotFound, err)
		require.Zero(t, user)
	})
}

func TestLookupIDs(t *testing.T) {
	t.Parallel()
	server, addr := newFake(t, known)
	client := newClient(t, Config{Addr: addr})
	tests := map[string]struct {
		id   string
		sent bool
	}{
		"slashes and spaces":    {"a/b c\td?%00#", true},
		"other scripts":         {"Łucja 🦉 ñ", true},
		"a line break":          {"a\r\nb: c", true},
		"a zero byte":           {"a\x00b", true},
		"an address":            {"ana@example.org", true},
		"the longest":           {strings.Repeat("é", MaxUserIDLength), true},
		"one character too big": {strings.Repeat("é", MaxUserIDLength+1), false},
		"empty":                 {"", false},
		"not UTF-8":             {"a\xff", false},
	}
	for name, test := range tests { // one by one, to count
		before := server.asked.Load()
		user, err := client.Lookup(t.Context(), test.id)
		if test.sent {
			require.NoError(t, err, name)
			require.Equal(t, test.id, user.ID, name)
			require.Equal(t, before+1, server.asked.Load(), name)
		} else {
			requireCode(t, notify.CodeUserNotFound, err)
			require.Equal(t, before, server.asked.Load(), name)
		}
	}
}

func TestLookupErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer *idppb.Info
		status codes.Code
		want   notify.Code
	}{
		"not found":           {nil, codes.NotFound, notify.CodeUserNotFound},
		"malformed id":        {nil, codes.InvalidArgument, notify.CodeUserNotFound},
		"empty answer":        {&idppb.Info{}, codes.OK, notify.CodeUserNotFound},
		"answer without id":   {&idppb.Info{Email: "x@example.org"}, codes.OK, notify.CodeUserNotFound},
		"unavailable":         {nil, codes.Unavailable, notify.CodeUnavailable},
		"too slow":            {nil, codes.DeadlineExceeded, notify.CodeUnavailable},
		"too busy":            {nil, codes.ResourceExhausted, notify.CodeUnavailable},
		"failed":              {nil, codes.Internal, notify.CodeUnavailable},
		"failed with no code": {nil, codes.Unknown, notify.CodeUnavailable},
		"no token":            {nil, codes.Unauthenticated, notify.CodeInternal},
		"no permission":       {nil, codes.PermissionDenied, notify.CodeInternal},
		"no such service":     {nil, codes.Unimplemented, notify.CodeInternal},
		"somebody else":       {&idppb.Info{Id: "cy", Email: "cy@example.org"}, codes.OK, notify.CodeInternal},
		"too large":           {&idppb.Info{Id: "ana", Email: strings.Repeat("x", maxAnswerBytes)}, codes.OK, notify.CodeUnavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, addr := newFake(t, func(context.Context, string) (*idppb.Info, error) {
				if test.status != codes.OK {
					return nil, status.Error(test.status, "as the test says")
				}
				return test.answer, nil
			})
			user, err := newClient(t, Config{Addr: addr}).Lookup(t.Context(), "ana")
			requireCode(t, test.want, err)
			require.Zero(t, user)
		})
	}
}

func TestLookupAcceptsAnotherSpellingOfTheID(t *testing.T) {
	t.Parallel()
	_, addr := newFake(t, func(context.Context, string) (*idppb.Info, error) {
		return &idppb.Info{Id: "4f1c-ab", Email: "ana@example.org"}, nil
	})
	user, err := newClient(t, Config{Addr: addr}).Lookup(t.Context(), "4F1C-AB")
	require.NoError(t, err)
	require.Equal(t, "4F1C-AB", user.ID)
}

func TestCache(t *testing.T) {
	t.Parallel()
	server, addr := newFake(t, known)
	client := newClient(t, Config{Addr: addr, CacheTTL: time.Minute, CacheSize: 2})
	clock := &clock{}
	client.cache.now = clock.now
	lookUp := func(id string, asked int32) {
		t.Helper()
		_, err := client.Lookup(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, asked, server.asked.Load())
	}
	lookUp("ana", 1)
	lookUp("ana", 1)
	clock.move(time.Minute - 1)
	lookUp("ana", 1)
	clock.move(1) // the TTL has passed
	lookUp("ana", 2)
	lookUp("ana", 2)
	lookUp("bo", 3)
	lookUp("cy", 4) // ana goes, as the one not used for longest
	lookUp("bo", 4)
	lookUp("ana", 5)
}

func TestCacheOff(t *testing.T) {
	t.Parallel()
	server, addr := newFake(t, known)
	client := newClient(t, Config{Addr: addr, CacheTTL: -1})
	for range 3 {
		_, err := client.Lookup(t.Context(), "ana")
		require.NoError(t, err)
	}
	require.EqualValues(t, 3, server.asked.Load())
}

func TestUnknownUsersAreNotCached(t *testing.T) {
	t.Parallel()
	server, addr := newFake(t, nil)
	server.answer = func(ctx context.Context, id string) (*idppb.Info, error) {
		if server.asked.Load() == 1 {
			return nil, status.Error(codes.NotFound, "not yet")
		}
		return known(ctx, id)
	}
	client := newClient(t, Config{Addr: addr})
	_, err := client.Lookup(t.Context(), "new")
	requireCode(t, notify.CodeUserNotFound, err)
	_, err = client.Lookup(t.Context(), "new")
	require.NoError(t, err)
}

func TestConcurrentLookupsShareOneCall(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server, addr := newFake(t, func(ctx context.Context, id string) (*idppb.Info, error) {
		<-release
		return known(ctx, id)
	})
	client := newClient(t, Config{Addr: addr, Timeout: patience})
	var callers sync.WaitGroup
	errs := make(chan error, 50)
	for range cap(errs) {
		callers.Go(func() {
			_, err := client.Lookup(t.Context(), "ana")
			errs <- err
		})
	}
	close(release)
	callers.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, server.asked.Load())
}

func TestACallerWhoGivesUpFailsNobodyElse(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	server, addr := newFake(t, func(ctx context.Context, id string) (*idppb.Info, error) {
		arrived <- struct{}{}
		select {
		case <-release:
			return known(ctx, id)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	client := newClient(t, Config{Addr: addr, Timeout: patience})

	ctx, giveUp := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := client.Lookup(ctx, "ana")
		first <- err
	}()
	<-arrived
	go func() {
		_, err := client.Lookup(t.Context(), "ana")
		second <- err
	}()
	giveUp()
	err := <-first
	requireCode(t, notify.CodeUnavailable, err)
	require.ErrorIs(t, err, context.Canceled)

	close(release)
	require.NoError(t, <-second)
	require.EqualValues(t, 1, server.asked.Load())
}
