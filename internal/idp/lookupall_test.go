package idp

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// newStreaming serves a fake that answers streams as the function says, and of
// single users that nobody does not exist.
func newStreaming(t *testing.T, all func(allUsers) error) (*fake, string) {
	t.Helper()
	f, addr := newFake(t, someKnown)
	f.all = all
	return f, addr
}

func someKnown(ctx context.Context, id string) (*idppb.Info, error) {
	if id == "nobody" {
		return nil, status.Error(codes.NotFound, "no such user")
	}
	return known(ctx, id)
}

// eachRequest answers requests one by one as they come.
func eachRequest(answers allUsers, answer func(n int, id string) (*idppb.Info, error)) error {
	for n := 0; ; n++ {
		request, err := answers.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := answer(n, request.GetId())
		if err != nil {
			return err
		}
		if err := answers.Send(info); err != nil {
			return err
		}
	}
}

// streamed answers every request as the function does one.
func streamed(answer func(context.Context, string) (*idppb.Info, error)) func(allUsers) error {
	return func(answers allUsers) error {
		return eachRequest(answers, func(_ int, id string) (*idppb.Info, error) { return answer(answers.Context(), id) })
	}
}

// requests are the ids sent until the half-close.
func requests(answers allUsers) ([]string, error) {
	var ids []string
	for {
		request, err := answers.Recv()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, request.GetId())
	}
}

// ofAll are the answers about a page: the address of each user, or the code of
// the error.
func ofAll(t *testing.T, client *Client, ids ...string) []string {
	t.Helper()
	answers := []string{}
	for user, err := range client.LookupAll(t.Context(), ids) {
		if err != nil {
			requireCode(t, notify.CodeOf(err), err)
			require.Zero(t, user)
			answers = append(answers, string(notify.CodeOf(err)))
			continue
		}
		require.Equal(t, ids[len(answers)], user.ID)
		answers = append(answers, user.Email)
	}
	return answers
}

func TestLookupAllOverEveryKindOfServer(t *testing.T) {
	t.Parallel()
	unknownIs := func(code codes.Code) func(allUsers) error {
		return streamed(func(ctx context.Context, id string) (*idppb.Info, error) {
			info, err := someKnown(ctx, id)
			if err != nil {
				err = status.Error(code, "no such user")
			}
			return info, err
		})
	}
	tests := map[string]struct {
		all              func(allUsers) error
		streams, singles int32
	}{
		"an empty answer for who is not known": {streamed(func(ctx context.Context, id string) (*idppb.Info, error) {
			info, _ := someKnown(ctx, id)
			if info == nil {
				info = &idppb.Info{}
			}
			return info, nil
		}), 1, 0},
		"nothing before the half-close": {func(answers allUsers) error {
			ids, err := requests(answers)
			for _, id := range ids {
				info := &idppb.Info{Id: id, Email: id + "@example.org"}
				if id == "nobody" {
					info = &idppb.Info{}
				}
				err = errors.Join(err, answers.Send(info))
			}
			return err
		}, 1, 0},
		"NOT_FOUND at who is not known":        {unknownIs(codes.NotFound), 2, 2},
		"INVALID_ARGUMENT at who is not known": {unknownIs(codes.InvalidArgument), 2, 2},
		"NOT_FOUND if anybody is not known": {func(answers allUsers) error {
			_, err := requests(answers)
			return errors.Join(err, status.Error(codes.NotFound, "nobody"))
		}, 1, 5},
		"no streams": {nil, 1, 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, addr := newStreaming(t, test.all)
			client := newClient(t, Config{Addr: addr})
			require.Equal(t, []string{
				"ana@example.org", "user_not_found", "bo@example.org", "user_not_found", "user_not_found", "cy@example.org", "user_not_found",
			}, ofAll(t, client, "ana", "nobody", "bo", "", "a\xff", "cy", "nobody"))
			require.Equal(t, test.streams, server.streams.Load(), "streams")
			require.Equal(t, test.singles, server.asked.Load(), "single look-ups")
		})
	}
	t.Run("the reference server", func(t *testing.T) {
		t.Parallel()
		client := newClient(t, Config{Addr: serve(t, ServerConfig{})})
		require.Equal(t, []string{"cy@example.org", "user_not_found", "", "ana@example.org"}, ofAll(t, client, "cy", "nobody", "bo", "ana"))
	})
}

func TestLookupAllNeverTakesSomebodyElse(t *testing.T) {
	t.Parallel()
	server, addr := newStreaming(t, streamed(func(ctx context.Context, id string) (*idppb.Info, error) {
		if id == "bo" {
			id = "ana"
		}
		return known(ctx, strings.ToUpper(id))
	}))
	client := newClient(t, Config{Addr: addr})
	require.Equal(t, []string{"ANA@example.org", "internal", "CY@example.org"}, ofAll(t, client, "ana", "bo", "cy"))
	require.Equal(t, []string{"bo@example.org"}, emailsOf(t, client, "bo"), "it was not kept")
	require.EqualValues(t, 1, server.asked.Load())
}

func emailsOf(t *testing.T, client *Client, ids ...string) []string {
	t.Helper()
	var emails []string
	for _, id := range ids {
		user, err := client.Lookup(t.Context(), id)
		require.NoError(t, err)
		emails = append(emails, user.Email)
	}
	return emails
}

func TestLookupAllAsksOnlyAboutWhoIsNotInTheCache(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	server, addr := newStreaming(t, streamed(func(ctx context.Context, id string) (*idppb.Info, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, id)
		return known(ctx, id)
	}))
	client := newClient(t, Config{Addr: addr})
	require.Equal(t, []string{"bo@example.org"}, emailsOf(t, client, "bo"))
	require.Equal(t, []string{"ana@example.org", "bo@example.org", "cy@example.org", "ana@example.org"}, ofAll(t, client, "ana", "bo", "cy", "ana"))
	mu.Lock()
	require.Equal(t, []string{"ana", "cy", "ana"}, asked)
	mu.Unlock()

	require.Equal(t, []string{"cy@example.org", "ana@example.org"}, ofAll(t, client, "cy", "ana"), "from the cache now")
	require.Empty(t, ofAll(t, client))
	emailsOf(t, client, "ana", "cy")
	require.EqualValues(t, 1, server.streams.Load())
	require.EqualValues(t, 1, server.asked.Load())
}

func TestLookupAllWhereTheIdpFailsOnTheWay(t *testing.T) {
	t.Parallel()
	breaks := func(how error) func(allUsers) error {
		return func(answers allUsers) error {
			return eachRequest(answers, func(n int, id string) (*idppb.Info, error) {
				if n == 1 {
					return nil, how
				}
				return known(answers.Context(), id)
			})
		}
	}
	tests := map[string]struct {
		all  func(allUsers) error
		want string
	}{
		"UNAVAILABLE":     {breaks(status.Error(codes.Unavailable, "going away")), "unavailable"},
		"INTERNAL":        {breaks(status.Error(codes.Internal, "oops")), "unavailable"},
		"UNAUTHENTICATED": {breaks(status.Error(codes.Unauthenticated, "who?")), "internal"},
		"it ends without all answers": {func(answers allUsers) error {
			return answers.Send(&idppb.Info{Id: "ana", Email: "ana@example.org"})
		}, "unavailable"},
		"an answer is too large": {streamed(func(ctx context.Context, id string) (*idppb.Info, error) {
			if id == "bo" {
				return &idppb.Info{Id: id, Email: strings.Repeat("x", maxAnswerBytes)}, nil
			}
			return known(ctx, id)
		}), "unavailable"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, addr := newStreaming(t, test.all)
			client := newClient(t, Config{Addr: addr})
			require.Equal(t, []string{"ana@example.org", test.want, test.want, "user_not_found"}, ofAll(t, client, "ana", "bo", "cy", ""))
			require.EqualValues(t, 1, server.streams.Load())
			require.Zero(t, server.asked.Load())
		})
	}
	t.Run("without streams", func(t *testing.T) {
		t.Parallel()
		server, addr := newStreaming(t, nil)
		server.answer = func(ctx context.Context, id string) (*idppb.Info, error) {
			if id == "bo" {
				return nil, status.Error(codes.Internal, "oops")
			}
			return known(ctx, id)
		}
		require.Equal(t, []string{"ana@example.org", "unavailable", "unavailable"}, ofAll(t, newClient(t, Config{Addr: addr}), "ana", "bo", "cy"))
		require.EqualValues(t, 2, server.asked.Load())
	})
	t.Run("shortly, before it answers", func(t *testing.T) {
		t.Parallel()
		server, addr := newStreaming(t, nil)
		server.all = func(answers allUsers) error {
			if server.streams.Load() < 4 {
				return status.Error(codes.Unavailable, "starting")
			}
			return streamed(known)(answers)
		}
		require.Equal(t, []string{"ana@example.org", "bo@example.org"}, ofAll(t, newClient(t, Config{Addr: addr}), "ana", "bo"))
	})
	t.Run("it is not there", func(t *testing.T) {
		t.Parallel()
		listener := listen(t)
		require.NoError(t, listener.Close())
		require.Equal(t, []string{"unavailable", "unavailable"}, ofAll(t, newClient(t, Config{Addr: listener.Addr().String()}), "ana", "bo"))
	})
}

func TestLookupAllWaitsForEachAnswerAsLongAsForOne(t *testing.T) {
	t.Parallel()
	mute := listen(t)
	t.Cleanup(func() { _ = mute.Close() })
	_, silent := newStreaming(t, func(answers allUsers) error {
		_ = answers.Send(&idppb.Info{Id: "ana", Email: "ana@example.org"})
		<-answers.Context().Done()
		return answers.Context().Err()
	})
	for name, test := range map[string]struct{ addr, first string }{
		"silent after an answer": {silent, "ana@example.org"},
		"no word at all":         {mute.Addr().String(), "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, Config{Addr: test.addr, Timeout: time.Second})
			started := time.Now()
			require.Equal(t, []string{test.first, "unavailable", "unavailable"}, ofAll(t, client, "ana", "bo", "cy"))
			require.Less(t, time.Since(started), 10*time.Second)
		})
	}
}

func TestLookupAllWaitsForItsCaller(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second // for each answer, on a busy machine too
	ended := make(chan struct{})
	_, addr := newStreaming(t, func(answers allUsers) error {
		defer close(ended)
		return streamed(known)(answers)
	})
	client := newClient(t, Config{Addr: addr, Timeout: timeout})
	ids := []string{"ana"}
	for range 499 { // so many that some cannot be sent meanwhile
		ids = append(ids, strings.Repeat("🦉", MaxUserIDLength))
	}
	first := true
	for _, err := range client.LookupAll(t.Context(), ids) {
		require.NoError(t, err)
		if first {
			select {
			case <-ended:
				require.Fail(t, "the call is over")
			case <-time.After(timeout + time.Second):
			}
		}
		first = false
	}
}

// The longest ids there are, so that neither side's buffers hold a page.
func TestLookupAllOfAPageThatNoBufferHolds(t *testing.T) {
	t.Parallel()
	_, addr := newStreaming(t, streamed(known))
	client := newClient(t, Config{Addr: addr})
	ids := make([]string, 500)
	for i := range ids {
		ids[i] = fmt.Sprintf("%03d", i) + strings.Repeat("🦉", MaxUserIDLength-3)
	}
	answers := ofAll(t, client, ids...)
	require.Len(t, answers, len(ids))
	for i, email := range answers {
		require.Equal(t, ids[i]+"@example.org", email)
	}
}

func TestLookupAllLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 3)
	_, addr := newStreaming(t, func(answers allUsers) error {
		defer func() { ended <- struct{}{} }()
		_ = answers.Send(&idppb.Info{Id: "ana", Email: "ana@example.org"})
		<-answers.Context().Done() // and reads no request, so that not all can be sent
		return answers.Context().Err()
	})
	client := newClient(t, Config{Addr: addr, Timeout: patience, CacheTTL: -1})
	ids := []string{"ana"}
	for i := range 499 {
		ids = append(ids, strings.Repeat("🦉", MaxUserIDLength-3)+fmt.Sprintf("%03d", i))
	}
	requireEnded := func() {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(patience):
			require.Fail(t, "the call goes on")
		}
	}
	started := time.Now()
	for _, err := range client.LookupAll(t.Context(), ids) {
		require.NoError(t, err)
		break
	}
	require.Less(t, time.Since(started), patience)
	requireEnded()

	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	answers := 0
	for _, err := range client.LookupAll(ctx, ids) {
		if answers++; answers == 1 {
			require.NoError(t, err)
			giveUp()
			continue
		}
		requireCode(t, notify.CodeUnavailable, err)
	}
	require.Equal(t, len(ids), answers)
	requireEnded()
}
