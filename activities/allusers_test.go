package activities

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

func (m *memory) Audience(ctx context.Context, id string, _ time.Time) (*audience.Audience, error) {
	return find(ctx, m, "find audience", m.audiences, id)
}

func (m *memory) AudiencePage(ctx context.Context, id string, page int) ([]notify.Recipient, error) {
	found, err := find(ctx, m, "find page", m.pages, pageID(id, page))
	if err != nil {
		return nil, err
	}
	return *found, nil
}

func pageID(id string, page int) string { return fmt.Sprintf("%s/%d", id, page) }

// InsertAudiencePages can be held up or made to fail before each of them.
func (m *memory) InsertAudiencePages(ctx context.Context, id string, first int, pages [][]notify.Recipient, _ time.Time) error {
	for i, page := range pages {
		if err := insert(ctx, m, "insert page", m.pages, pageID(id, first+i), slices.Clone(page)); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) InsertAudienceDocument(ctx context.Context, a *audience.Audience) error {
	return insert(ctx, m, "insert audience", m.audiences, a.ID, *a)
}

// A roll is the ids of all users, in their order.
type roll []string

// rollOf are the users with even numbers.
func rollOf(n int) roll {
	ids := make(roll, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("user%06d", 2*i)
	}
	return ids
}

// but is a roll without some users and with others, by their numbers.
func (r roll) but(without, with []int) roll {
	var changed roll
	for _, id := range r {
		if !slices.ContainsFunc(without, func(n int) bool { return id == fmt.Sprintf("user%06d", n) }) {
			changed = append(changed, id)
		}
	}
	for _, n := range with {
		changed = append(changed, fmt.Sprintf("user%06d", n))
	}
	slices.Sort(changed)
	return changed
}

func (r roll) Lookup(context.Context, string) (notify.User, error) {
	return notify.User{}, errors.New("a listing looks nobody up")
}

func (r roll) LookupAll(context.Context, []string) iter.Seq2[notify.User, error] { panic("as Lookup") }

func (r roll) ListUsers(_ context.Context, afterID string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, id := range r {
			if id > afterID && !yield(id, nil) {
				return
			}
		}
	}
}

// lists is an attempt at the one listing of a test.
func (w *world) lists(ctx context.Context, r roll) (ListUsersResult, error) {
	a := *w.Activities
	a.Directory = r
	return a.listUsers(ctx, theListing)
}

var theListing = ListUsersInput{AudienceID: "all", ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}

// stored are the users in the audience, of which the result must be true.
func (w *world) stored(t *testing.T, result ListUsersResult, when string) []string {
	t.Helper()
	all, there := w.ledger.audiences["all"]
	require.True(t, there, when)
	require.Equal(t, ListUsersResult{Total: all.Total, Pages: all.Pages}, result, when)
	require.Equal(t, theListing.ExpiresAt, all.ExpiresAt)
	ids := []string{}
	for n := range result.Pages {
		page := w.ledger.pages[pageID("all", n)]
		require.True(t, len(page) == audience.PageSize || n == result.Pages-1 && len(page) > 0, when)
		for _, r := range page {
			ids = append(ids, r.UserID)
		}
	}
	require.Len(t, ids, result.Total, when)
	return ids
}

// everybodyOn wants each user once, those who are on all rolls for sure and
// nobody who is on none.
func everybodyOn(t *testing.T, rolls ...roll) (check func(ids []string, when string)) {
	t.Helper()
	on := map[string]int{}
	for _, r := range rolls {
		for _, id := range r {
			on[id]++
		}
	}
	onAll := 0
	for _, n := range on {
		if n == len(rolls) {
			onAll++
		}
	}
	return func(ids []string, when string) {
		t.Helper()
		seen, sure := make(map[string]bool, len(ids)), 0
		for _, id := range ids {
			if seen[id] || on[id] == 0 {
				t.Fatalf("%s: %s is there twice, or nobody", when, id)
			}
			seen[id] = true
			if on[id] == len(rolls) {
				sure++
			}
		}
		require.Equal(t, onAll, sure, "%s: somebody is missing", when)
	}
}

func TestAllUsersAreStored(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 499, 500, 501, usersAtOnce - 1, usersAtOnce, usersAtOnce + 1, 2*usersAtOnce + 700} {
		w := newWorld()
		result, err := w.lists(t.Context(), rollOf(n))
		require.NoError(t, err)
		require.Equal(t, ListUsersResult{Total: n, Pages: (n + audience.PageSize - 1) / audience.PageSize}, result)
		require.Equal(t, append([]string{}, rollOf(n)...), w.stored(t, result, ""))

		again, err := w.lists(t.Context(), rollOf(7)) // it is complete
		require.NoError(t, err)
		require.Equal(t, result, again)
	}
}

// Two attempts die, each at any of their operations, or the first one stops there
// and goes on when the second has died. A third one ends it. Users come and go
// between them, at places that are stored by then and at others.
func TestACrashAtAnyOperationOfAListing(t *testing.T) {
	t.Parallel()
	everybody := rollOf(usersAtOnce + 3*audience.PageSize + 7)
	rolls := []roll{
		everybody,
		everybody.but([]int{0, 998, 4000, 9000}, []int{1, 997, 7001, 999_999}),
		everybody.but([]int{2, 1000, 8002, 8004}, []int{3, 999, 999_997}),
	}
	check := everybodyOn(t, rolls...)
	for _, goesOn := range []bool{false, true} {
		crashes := 0
		for ends, firstEnded := 0, false; !firstEnded; ends++ {
			for dies, secondEnded := 0, false; !secondEnded; dies++ {
				w := newWorld()
				w.mortals(accept)
				first := &process{left: ends, goOn: make(chan struct{})}
				if goesOn {
					first.stopped = make(chan struct{})
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = w.lists(first.in(t.Context()), rolls[0])
				}()
				select {
				case <-first.stopped:
				case <-done:
				}
				second := &process{left: dies}
				_, _ = w.lists(second.in(t.Context()), rolls[1])
				close(first.goOn)
				<-done
				result, err := w.lists(t.Context(), rolls[2])
				when := fmt.Sprintf("the first over after %d operations (goes on: %v), the second after %d", ends, goesOn, dies)
				require.NoError(t, err, when)
				check(w.stored(t, result, when), when)
				crashes++
				firstEnded, secondEnded = first.left >= 0, second.left >= 0 // they do no more operations than that
			}
		}
		require.Greater(t, crashes, 100)
	}
}

// Two attempts at once, in every order of their operations, either of which may
// die; they do not list the same users, and one of them ends with a full page.
func TestListingsOverAllInterleavings(t *testing.T) {
	t.Parallel()
	everybody := rollOf(2 * audience.PageSize)
	runs := 0
	for _, rolls := range [][]roll{
		{everybody, everybody.but(nil, []int{999_999})},
		{everybody, everybody.but([]int{0, 1200}, []int{1})},
	} {
		check := everybodyOn(t, rolls...)
		explore(func(choose func(n int) int) {
			runs++
			playListings(t, rolls, choose, check)
		})
	}
	t.Logf("%d interleavings", runs)
	require.Greater(t, runs, leastRuns(1000))
}

func playListings(t *testing.T, rolls []roll, choose func(n int) int, check func(ids []string, when string)) {
	t.Helper()
	w := newWorld()
	w.ledger.before = func(ctx context.Context, _ string) error {
		if !stepped(ctx) {
			return backoff.Permanent(errors.New("dead"))
		}
		return nil
	}
	results, errs := make([]ListUsersResult, len(rolls)), make([]error, len(rolls))
	processes := make([]*stepper, len(rolls))
	for i := range processes {
		s := &stepper{sender: sender{proceed: make(chan bool), waiting: make(chan bool)}}
		processes[i] = s
		go func() {
			defer func() { s.waiting <- false }()
			results[i], errs[i] = w.lists(context.WithValue(t.Context(), stepperKey{}, s), rolls[i])
		}()
	}
	var trace []string
	interleave(w, processes, true, false, choose, func(what string) { trace = append(trace, what) })
	result, err := w.lists(t.Context(), rolls[0])
	when := strings.Join(trace, ", ")
	require.NoError(t, err, when)
	check(w.stored(t, result, when), when)
	for i, s := range processes {
		if !s.dead.Load() {
			require.NoError(t, errs[i], when)
			require.Equal(t, result, results[i], when)
		}
	}
}

func TestAnInsertWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"insert page", "insert audience"} {
		w := newWorld()
		w.ledger.lost = map[string]bool{operation: true}
		result, err := w.lists(t.Context(), rollOf(5001))
		require.NoError(t, err)
		everybodyOn(t, rollOf(5001))(w.stored(t, result, operation), operation)
	}
}

func TestUsersOutOfOrderAreNotStored(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]roll{
		"twice":     append(rollOf(700), "user001398"),
		"backwards": append(rollOf(700), "user000001"),
	} {
		w := newWorld()
		_, err := w.lists(t.Context(), r)
		require.Equal(t, notify.CodeInternal, notify.CodeOf(err), name)
		require.Empty(t, w.ledger.pages, name)
	}
	w := newWorld() // what is stored is another's
	w.ledger.pages[pageID("all", 0)] = []notify.Recipient{{Email: "ann@example.com"}}
	_, err := w.lists(t.Context(), rollOf(1))
	require.Equal(t, notify.CodeInternal, notify.CodeOf(err))
}

// stuck lists some users and then waits to be told to stop.
type stuck struct {
	roll
	after string        // what it was asked for last
	waits chan struct{} // nil: it does not
}

func (s *stuck) ListUsers(ctx context.Context, afterID string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s.after = afterID
		for id, err := range s.roll.ListUsers(ctx, afterID) {
			if !yield(id, err) {
				return
			}
		}
		if s.waits != nil {
			close(s.waits)
			<-ctx.Done()
			yield("", ctx.Err())
		}
	}
}

func TestAListingEndsWithItsWorker(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s := &stuck{roll: rollOf(usersAtOnce + 1), waits: make(chan struct{})}
	w.Directory = s
	stop := make(chan struct{})
	go func() {
		<-s.waits
		close(stop)
	}()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerStopChannel(stop)
	env.RegisterActivity(w.Activities)
	_, err := env.ExecuteActivity(w.ListUsers, theListing)
	require.ErrorContains(t, err, "the worker is stopping")
	require.Len(t, w.ledger.pages, usersAtOnce/audience.PageSize, "what it has stored stays")

	s.waits = nil
	env = suite.NewTestActivityEnvironment()
	env.RegisterActivity(w.Activities)
	value, err := env.ExecuteActivity(w.ListUsers, theListing)
	require.NoError(t, err)
	var result ListUsersResult
	require.NoError(t, value.Get(&result))
	require.Equal(t, s.roll[usersAtOnce-1], s.after, "it goes on from there")
	everybodyOn(t, s.roll)(w.stored(t, result, ""), "")
}
