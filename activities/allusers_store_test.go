package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/idp"       //nolint:depguard // listings over the real client
	"github.com/belfry-notify/belfry/internal/idp/idppb" //nolint:depguard // and a server of this test
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store" //nolint:depguard // into the real store
)

// An idpServer has so many users, with the ids of userNumber. Without portions
// it lists them in no order, some of them twice.
type idpServer struct {
	idppb.UnimplementedUserInfoServer
	users    int
	portions bool
	streams  atomic.Int32
	broken   int32 // the stream that fails, from 1; 0 for none
}

func userNumber(n int) string { return fmt.Sprintf("4518e644-1ff3-4003-a14e-%012d", n) }

func (s *idpServer) GetAllUsers(answers grpc.BidiStreamingServer[idppb.GetUserRequest, idppb.Info]) error {
	if s.streams.Add(1) == s.broken {
		return status.Error(codes.Internal, "as the test says")
	}
	request, err := answers.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !s.portions {
		if err == nil {
			return status.Error(codes.Unimplemented, "no after_id and limit")
		}
		for i := range s.users + s.users/2 {
			if err := answers.Send(&idppb.Info{Id: userNumber(i * 7919 % s.users)}); err != nil {
				return err
			}
		}
		return nil
	}
	first := 0
	if request.GetAfterId() != "" {
		if _, err := fmt.Sscanf(request.GetAfterId()[24:], "%d", &first); err != nil {
			return err
		}
		first++
	}
	for i := first; i < min(s.users, first+int(request.GetLimit())); i++ {
		if err := answers.Send(&idppb.Info{Id: userNumber(i)}); err != nil {
			return err
		}
	}
	return nil
}

// serveUsers is a client of the server, which runs until the test ends.
func serveUsers(tb testing.TB, s *idpServer) *idp.Client {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	server := grpc.NewServer()
	idppb.RegisterUserInfoServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	client, err := idp.New(idp.Config{Addr: listener.Addr().String()})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		require.NoError(tb, client.Close())
		server.Stop()
		require.NoError(tb, <-served)
	})
	return client
}

func openStore(tb testing.TB) *store.Store {
	tb.Helper()
	s, err := store.Open(mongotest.NewURI(tb))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.WithoutCancel(tb.Context()))) })
	require.NoError(tb, s.EnsureIndexes(tb.Context(), slog.New(slog.DiscardHandler)))
	return s
}

// Several attempts at once, of which the first call fails, and then one more.
func TestAllUsersOfAnIdpInMongoDB(t *testing.T) {
	t.Parallel()
	const users, attempts = 2*usersAtOnce + 1203, 3
	for name, server := range map[string]*idpServer{
		"in portions": {users: users, portions: true, broken: 8},
		"in no order": {users: users, broken: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			a := &Activities{Store: s, Directory: serveUsers(t, server), Now: time.Now}
			in := ListUsersInput{AudienceID: "all", ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)}
			want := ListUsersResult{Total: users, Pages: users/audience.PageSize + 1}
			var under sync.WaitGroup
			var failed atomic.Int32
			for range attempts {
				under.Go(func() {
					result, err := a.listUsers(t.Context(), in)
					if err != nil {
						failed.Add(1)
						return
					}
					if result != want {
						t.Errorf("%v instead of %v", result, want)
					}
				})
			}
			under.Wait()
			require.EqualValues(t, 1, failed.Load())
			result, err := a.listUsers(t.Context(), in)
			require.NoError(t, err)
			require.Equal(t, want, result)

			stored, err := s.Audience(t.Context(), "all", time.Now())
			require.NoError(t, err)
			require.Equal(t, in.ExpiresAt, stored.ExpiresAt.UTC())
			next := 0
			for page := range result.Pages {
				recipients, err := s.AudiencePage(t.Context(), "all", page)
				require.NoError(t, err)
				for _, r := range recipients {
					if want := (notify.Recipient{UserID: userNumber(next)}); r != want {
						require.Equal(t, want, r)
					}
					next++
				}
			}
			require.Equal(t, users, next)
			_, err = s.AudiencePage(t.Context(), "all", result.Pages)
			require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
		})
	}
}

// weighed tells how much memory is held while pages are stored.
type weighed struct {
	*store.Store
	writes int
	most   uint64
}

func (s *weighed) InsertAudiencePages(ctx context.Context, id string, first int, pages [][]notify.Recipient, expiresAt time.Time) error {
	if s.writes++; s.writes%10 == 0 {
		s.most = max(s.most, heldNow())
	}
	return s.Store.InsertAudiencePages(ctx, id, first, pages, expiresAt)
}

func heldNow() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkListUsers is what 200,000 users cost:
//
//	bin/stack exec -- go test -run '^$' -bench ListUsers -benchtime 3x ./activities
func BenchmarkListUsers(b *testing.B) {
	const users = 200_000
	for _, portions := range []bool{true, false} {
		b.Run(fmt.Sprintf("portions=%v", portions), func(b *testing.B) {
			s := &weighed{Store: openStore(b)}
			a := &Activities{Store: s, Directory: serveUsers(b, &idpServer{users: users, portions: portions}), Now: time.Now}
			before := heldNow()
			n := 0
			for b.Loop() {
				n++
				in := ListUsersInput{AudienceID: fmt.Sprint(n), ExpiresAt: time.Now().Add(time.Hour)}
				result, err := a.listUsers(b.Context(), in)
				require.NoError(b, err)
				require.Equal(b, users, result.Total)
			}
			b.ReportMetric(float64(s.most-before)/(1<<20), "MiB")
			b.ReportMetric(float64(n*users)/b.Elapsed().Seconds(), "users/s")
		})
	}
}
