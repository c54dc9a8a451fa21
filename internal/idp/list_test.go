package idp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

// listed are the ids of a listing, and the error that it ended with.
func listed(t *testing.T, client *Client, afterID string) ([]string, error) {
	t.Helper()
	ids := []string{}
	for id, err := range client.ListUsers(t.Context(), afterID) {
		if err != nil {
			require.Empty(t, id)
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// manyIDs are sorted by their bytes, and by hardly anything else.
func manyIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%c%d", []rune("aBü🦉")[i%4], i)
	}
	slices.Sort(ids)
	return ids
}

func send(answers allUsers, ids []string) error {
	for _, id := range ids {
		if err := answers.Send(&idppb.Info{Id: id, Email: id + "@example.org"}); err != nil {
			return err
		}
	}
	return nil
}

// everybody is who a server without portions lists, in no order and some twice.
func everybody(answers allUsers, ids []string) error {
	mixed := append(slices.Clone(ids), ids[:len(ids)/2]...)
	rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	return send(answers, mixed)
}

// withoutPortions serves a listing of everybody, and answers any request as the
// function does one.
func withoutPortions(ids []string, answer func(allUsers, *idppb.GetUserRequest) error) func(allUsers) error {
	return func(answers allUsers) error {
		request, err := answers.Recv()
		if errors.Is(err, io.EOF) {
			return everybody(answers, ids)
		}
		if err != nil {
			return err
		}
		return answer(answers, request)
	}
}

// withPortions serves portions of users as they are sorted here, and of no more
// than most.
func withPortions(ids []string, compare func(a, b string) int, most int) func(allUsers) error {
	return func(answers allUsers) error {
		request, err := answers.Recv()
		if errors.Is(err, io.EOF) {
			return everybody(answers, ids)
		}
		if err != nil {
			return err
		}
		sorted := slices.SortedFunc(slices.Values(ids), compare)
		sorted = slices.DeleteFunc(sorted, func(id string) bool { return request.GetAfterId() != "" && compare(id, request.GetAfterId()) <= 0 })
		return send(answers, sorted[:min(len(sorted), int(request.GetLimit()), most)])
	}
}

// refuse answers a request with a status.
func refuse(code codes.Code) func(allUsers, *idppb.GetUserRequest) error {
	return func(allUsers, *idppb.GetUserRequest) error { return status.Error(code, "as the test says") }
}

func TestListUsersOverEveryKindOfServer(t *testing.T) {
	t.Parallel()
	foldCase := func(a, b string) int {
		return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
	}
	servers := map[string]func(ids []string) func(allUsers) error{
		"portions":           func(ids []string) func(allUsers) error { return withPortions(ids, strings.Compare, 1<<30) },
		"portions, but less": func(ids []string) func(allUsers) error { return withPortions(ids, strings.Compare, 7) },
		"portions by number": func(ids []string) func(allUsers) error {
			return withPortions(ids, func(a, b string) int { return foldCase(a[1:], b[1:]) }, 1<<30)
		},
		"portions of any size": func(ids []string) func(allUsers) error {
			return withoutPortions(ids, func(answers allUsers, request *idppb.GetUserRequest) error {
				after, found := slices.BinarySearch(ids, request.GetAfterId())
				if found {
					after++
				}
				return send(answers, ids[after:])
			})
		},
		"NOT_FOUND":        func(ids []string) func(allUsers) error { return withoutPortions(ids, refuse(codes.NotFound)) },
		"INVALID_ARGUMENT": func(ids []string) func(allUsers) error { return withoutPortions(ids, refuse(codes.InvalidArgument)) },
		"UNIMPLEMENTED":    func(ids []string) func(allUsers) error { return withoutPortions(ids, refuse(codes.Unimplemented)) },
		"an empty answer": func(ids []string) func(allUsers) error {
			return withoutPortions(ids, func(answers allUsers, _ *idppb.GetUserRequest) error { return answers.Send(&idppb.Info{}) })
		},
		"no answer": func(ids []string) func(allUsers) error {
			return withoutPortions(ids, func(allUsers, *idppb.GetUserRequest) error { return nil })
		},
		"everybody": func(ids []string) func(allUsers) error {
			return withoutPortions(ids, func(answers allUsers, _ *idppb.GetUserRequest) error { return everybody(answers, ids) })
		},
		"everybody, in order": func(ids []string) func(allUsers) error {
			return withoutPortions(ids, func(answers allUsers, _ *idppb.GetUserRequest) error { return send(answers, ids) })
		},
	}
	for name, all := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, n := range []int{0, 1, 2, 3, portionSize, 2*portionSize + 1} {
				ids := manyIDs(n)
				_, addr := newStreaming(t, all(ids))
				client := newClient(t, Config{Addr: addr})
				for _, after := range []int{-1, 0, n / 2, n - 2, n - 1} {
					afterID := ""
					if after >= 0 && after < n {
						afterID = ids[after]
					} else {
						after = -1
					}
					got, err := listed(t, client, afterID)
					require.NoError(t, err)
					require.Equal(t, ids[after+1:], got, "%d users, after number %d", n, after)
				}
			}
		})
	}
	t.Run("the reference server", func(t *testing.T) {
		t.Parallel()
		ids := manyIDs(2*portionSize + 1)
		var file strings.Builder
		for _, id := range ids {
			fmt.Fprintf(&file, "- {id: %q}\n", id)
		}
		client := newClient(t, Config{Addr: serve(t, ServerConfig{UsersFile: writeFile(t, "users.yaml", file.String())})})
		for _, after := range []int{0, 17, portionSize, 2 * portionSize} {
			got, err := listed(t, client, ids[after])
			require.NoError(t, err)
			require.Equal(t, ids[after+1:], got)
		}
		got, err := listed(t, client, "")
		require.NoError(t, err)
		require.Equal(t, ids, got)
	})
}

// Whoever is before a portion that breaks the order may have been left out.
func TestListUsersThatBeginInOrderAndDoNotKeepToIt(t *testing.T) {
	t.Parallel()
	ids := []string{"Zoe"}
	for i := range portionSize {
		ids = append(ids, fmt.Sprintf("a%04d", i))
	}
	_, addr := newStreaming(t, withPortions(ids, func(a, b string) int {
		return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
	}, 1<<30))
	client := newClient(t, Config{Addr: addr})
	for _, afterID := range []string{"", "a0500", "a0999"} {
		got, err := listed(t, client, afterID)
		requireCode(t, notify.CodeInternal, err)
		require.NotContains(t, got, "Zoe")
	}
}

func TestListUsersWhereTheIdpFailsOnTheWay(t *testing.T) {
	t.Parallel()
	ids := manyIDs(2*portionSize + 500)
	inOrder := withPortions(ids, strings.Compare, 1<<30)
	fail := func(code codes.Code) error { return status.Error(code, "as the test says") }
	t.Run("between portions", func(t *testing.T) {
		t.Parallel()
		var broken atomic.Bool
		broken.Store(true)
		server, addr := newStreaming(t, nil)
		server.all = func(answers allUsers) error {
			if server.streams.Load() > 3 && broken.Load() {
				return fail(codes.Internal)
			}
			return inOrder(answers)
		}
		client := newClient(t, Config{Addr: addr})
		got, err := listed(t, client, "")
		requireCode(t, notify.CodeUnavailable, err)
		require.Equal(t, ids[:portionSize], got)
		broken.Store(false)
		got, err = listed(t, client, got[len(got)-1])
		require.NoError(t, err)
		require.Equal(t, ids[portionSize:], got)
	})
	t.Run("another server takes over, without portions", func(t *testing.T) {
		t.Parallel()
		server, addr := newStreaming(t, nil)
		server.all = func(answers allUsers) error {
			if server.streams.Load() > 3 {
				return withoutPortions(ids, refuse(codes.NotFound))(answers)
			}
			return inOrder(answers)
		}
		got, err := listed(t, newClient(t, Config{Addr: addr}), "")
		require.NoError(t, err)
		require.Equal(t, ids, got)
	})
	for name, test := range map[string]struct {
		all  func(allUsers) error
		want notify.Code
	}{
		"a portion breaks off": {func(answers allUsers) error { return errors.Join(send(answers, ids[:1]), fail(codes.Internal)) }, notify.CodeUnavailable},
		"everybody breaks off": {func(answers allUsers) error {
			if _, err := answers.Recv(); err == nil {
				return fail(codes.NotFound)
			}
			return errors.Join(send(answers, ids), fail(codes.Internal))
		}, notify.CodeUnavailable},
		"it does not list":             {nil, notify.CodeInternal},
		"it takes listings for nobody": {func(answers allUsers) error { return fail(codes.NotFound) }, notify.CodeInternal},
		"the token is wrong":           {func(answers allUsers) error { return fail(codes.Unauthenticated) }, notify.CodeInternal},
		"it falls silent": {func(answers allUsers) error {
			_ = send(answers, ids[:1])
			<-answers.Context().Done()
			return answers.Context().Err()
		}, notify.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, addr := newStreaming(t, test.all)
			got, err := listed(t, newClient(t, Config{Addr: addr, Timeout: time.Second}), "")
			requireCode(t, test.want, err)
			require.Empty(t, got)
		})
	}
}

func TestListUsersLeavesOutIDsThatNobodyCanHave(t *testing.T) {
	t.Parallel()
	ids := []string{"ana", "b" + strings.Repeat("x", MaxUserIDLength), "cy"}
	for name, all := range map[string]func(allUsers) error{
		"portions":  withPortions(ids, strings.Compare, 1),
		"everybody": withoutPortions(append(ids, ""), refuse(codes.Unimplemented)),
	} {
		_, addr := newStreaming(t, all)
		got, err := listed(t, newClient(t, Config{Addr: addr}), "")
		require.NoError(t, err, name)
		require.Equal(t, []string{"ana", "cy"}, got, name)
	}
}

func TestListUsersCanBeLeft(t *testing.T) {
	t.Parallel()
	ids := manyIDs(2*portionSize + 1)
	for name, all := range map[string]func(allUsers) error{
		"portions":  withPortions(ids, strings.Compare, 1<<30),
		"everybody": withoutPortions(ids, refuse(codes.Unimplemented)),
	} {
		_, addr := newStreaming(t, all)
		for id, err := range newClient(t, Config{Addr: addr}).ListUsers(t.Context(), ids[6]) {
			require.NoError(t, err, name)
			require.Equal(t, ids[7], id, name)
			break
		}
	}
}
