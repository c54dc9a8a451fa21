package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/client"
	"github.com/belfry-notify/belfry/internal/notify"
)

// newLive prepares a Belfry whose idp knows n users.
func newLive(t *testing.T, n int) (b *belfry, users []string) {
	t.Helper()
	busyLane.enter(t)
	var file strings.Builder
	for i := range n {
		id := uuid.NewString()
		users = append(users, id)
		fmt.Fprintf(&file, "- {id: %s, email: u%d@example.com, name: U%d}\n", id, i, i)
	}
	name := filepath.Join(t.TempDir(), "users.yaml")
	require.NoError(t, os.WriteFile(name, []byte(file.String()), 0o600))
	idp := freeAddr(t)
	start(t, nil, "idp", "--addr", idp, "--users", name)
	return newBelfry(t).with("BELFRY_IDP_ADDR", idp), users
}

// another is the same Belfry at another instance of its API.
func (b *belfry) another() *belfry {
	b.t.Helper()
	addr := freeAddr(b.t)
	other := &belfry{t: b.t, url: "http://" + addr, variables: map[string]string{}}
	for name, value := range b.variables {
		other.variables[name] = value
	}
	return other.with("BELFRY_HTTP_ADDR", addr)
}

// tell sends an item to users.
func (b *belfry) tell(title string, users ...string) {
	b.t.Helper()
	status, text := b.tryTell(title, "body", users...)
	require.Equal(b.t, http.StatusAccepted, status, "%s", text)
}

func (b *belfry) tryTell(title, body string, users ...string) (status int, text []byte) {
	to := make([]map[string]string, len(users))
	for i, user := range users {
		to[i] = map[string]string{"user_id": user}
	}
	request := map[string]any{
		"content": map[string]any{"inbox": map[string]string{"title": "{{ title }}", "body": "{{ body }}"}},
		"to":      to, "channels": []string{"inbox"}, "data": map[string]string{"title": title, "body": body},
	}
	key := http.Header{"Idempotency-Key": {uuid.NewString()}}
	for range 10 { // on a busy machine the database may not answer in time
		response, text, err := b.request(http.MethodPost, "/v1/notifications", key, request)
		if err != nil {
			return 0, []byte(err.Error())
		}
		if response.StatusCode != http.StatusServiceUnavailable {
			return response.StatusCode, text
		}
	}
	return http.StatusServiceUnavailable, nil
}

// inboxIDs are what a user's inbox holds, oldest first.
func (b *belfry) inboxIDs(user string) (ids []string) {
	b.t.Helper()
	for cursor := ""; ; {
		var page list[notify.Item]
		b.do(http.MethodGet, "/v1/users/"+user+"/inbox?limit=200"+cursor, http.StatusOK, nil, &page)
		for _, item := range page.Items {
			ids = append(ids, item.ID)
		}
		if page.NextCursor == "" {
			slices.Reverse(ids)
			return ids
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

// A listener is a client of a user's inbox that connects again by itself.
type listener struct {
	t     *testing.T
	first chan struct{} // closed when it is connected
	end   func()

	mu       sync.Mutex
	items    []string // ids, as they came
	at       map[string]time.Time
	states   int
	connects int
}

// listen has a listener of a user connect to one of the instances, in their
// order from the first.
func listen(t *testing.T, user string, instances ...*belfry) *listener {
	t.Helper()
	next := 0
	dialer := &websocket.Dialer{HandshakeTimeout: 5 * time.Second, NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		to := strings.TrimPrefix(instances[next%len(instances)].url, "http://")
		next++
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}}
	listening, err := client.New(client.Config{URL: instances[0].url, UserID: user, Ack: true, Dialer: dialer})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{t: t, first: make(chan struct{}), at: map[string]time.Time{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		connected := sync.OnceFunc(func() { close(l.first) })
		for event, err := range listening.Listen(ctx) {
			if err != nil {
				break
			}
			l.note(event)
			if event.Connected != nil {
				connected()
			}
		}
	}()
	l.end = func() {
		cancel()
		<-ended
	}
	t.Cleanup(l.end)
	return l
}

func (l *listener) note(event client.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case event.Connected != nil:
		l.connects++
	case event.Item != nil:
		l.items = append(l.items, event.Item.ID)
		l.at[event.Item.Title] = time.Now()
	case event.State != nil:
		l.states++
	}
}

// connected waits for the first connection.
func (l *listener) connected() *listener {
	l.t.Helper()
	select {
	case <-l.first:
	case <-time.After(patience):
		require.Fail(l.t, "a listener does not connect")
	}
	return l
}

func (l *listener) got() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.items)
}

// seen is when an item of the title came.
func (l *listener) seen(title string) (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok = l.at[title]
	return at, ok
}

// requireExactly waits until a listener has all that is in the inbox, and wants
// it to have nothing twice.
func (l *listener) requireExactly(want []string) {
	l.t.Helper()
	eventually(l.t, func() bool { return len(l.got()) >= len(want) }, patience, 20*time.Millisecond, "all items")
	got := l.got()
	slices.Sort(got)
	require.Equal(l.t, want, got)
}

func TestNewsComeLiveWhereverOneIsConnected(t *testing.T) {
	t.Parallel()
	a, users := newLive(t, 2)
	ann, bob := users[0], users[1]
	b := a.another()
	first := a.run("api")
	b.run("api")
	a.run("worker")
	a.run("worker")
	a.ready()
	atA, atB, bobs := listen(t, ann, a).connected(), listen(t, ann, b).connected(), listen(t, bob, b).connected()
	const n = 20
	for i := range n {
		[]*belfry{a, b}[i%2].tell(fmt.Sprint(i), ann)
	}
	a.tell("to both", ann, bob)
	want := func(user string, n int) (ids []string) {
		a.eventually("all are stored", func() bool { ids = a.inboxIDs(user); return len(ids) == n })
		return ids
	}
	atA.requireExactly(want(ann, n+1))
	atB.requireExactly(want(ann, n+1))
	bobs.requireExactly(want(bob, 1))

	// What is done over HTTP at one instance, all sockets see.
	b.do(http.MethodPost, "/v1/users/"+ann+"/inbox/"+b.inboxIDs(ann)[0]+"/read", http.StatusOK, nil, nil)
	for _, l := range []*listener{atA, atB} {
		a.eventually("a state came", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.states == 1 })
	}
	// They acknowledge what they get.
	a.eventually("all are delivered", func() bool {
		var found list[standing]
		a.do(http.MethodGet, "/v1/notifications?limit=200", http.StatusOK, nil, &found)
		delivered := 0
		for _, n := range found.Items {
			delivered += n.Counts.Delivered
		}
		return delivered == n+2
	})
	began := time.Now()
	first.stop()
	require.NoError(t, first.err)
	require.Less(t, time.Since(began), 10*time.Second)
}

// An instance is killed under a stream of items to many users.
func TestAnInstanceKilledUnderAStreamOfItems(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	const perUser = 10
	n := chaos(t, "CHAOS_LISTENERS", 40)
	a, users := newLive(t, n)
	b := a.another()
	doomed := a.run("api")
	b.run("api")
	b.run("worker")
	b.run("worker")
	b.ready()
	listeners := make([]*listener, n)
	for i, user := range users {
		if i%2 == 0 {
			listeners[i] = listen(t, user, a, b)
		} else {
			listeners[i] = listen(t, user, b, a)
		}
	}
	for _, l := range listeners {
		l.connected()
	}
	for round := range perUser {
		for some := range slices.Chunk(users, 10) {
			b.tell(fmt.Sprint(round), some...)
		}
		if round == perUser*2/5 {
			doomed.kill()
		}
	}
	reconnected, late := 0, 0
	for i, user := range users {
		var want []string
		b.eventually("all are stored", func() bool { want = b.inboxIDs(user); return len(want) == perUser })
		listeners[i].requireExactly(want)
		listeners[i].mu.Lock()
		if listeners[i].connects > 1 {
			reconnected++
		}
		if !slices.IsSorted(listeners[i].items) {
			late++
		}
		listeners[i].mu.Unlock()
	}
	require.Equal(t, (n+1)/2, reconnected)
	t.Logf("%d of %d clients got some item after one with a later id", late, n)
}

// Fifty write to one inbox at once, whose client connects again all the time.
func TestNothingIsMissedByAClientThatReconnects(t *testing.T) {
	t.Parallel()
	const writers = 50
	each := chaos(t, "CHAOS_EACH", 3)
	a, users := newLive(t, 1)
	b := a.another()
	a.run("api")
	b.run("api")
	a.run("worker")
	a.ready()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				if status, text := []*belfry{a, b}[w%2].tryTell(fmt.Sprint(w, " ", i), "body", users[0]); status != http.StatusAccepted {
					t.Errorf("%d: %s", status, text)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() {
		writing.Wait()
		close(written)
	}()
	got := map[string]bool{}
	cursor, connections := "", 0
	session := func(ctx context.Context, enough func() bool) {
		connections++
		listening, err := client.New(client.Config{URL: []*belfry{a, b}[connections%2].url, UserID: users[0], After: cursor})
		require.NoError(t, err)
		for event, err := range listening.Listen(ctx) {
			if err != nil {
				break
			}
			if event.Item != nil {
				got[event.Item.ID] = true
			}
			if enough() {
				break
			}
		}
		cursor = listening.Cursor()
	}
	session(t.Context(), func() bool { return true }) // has a cursor from before anything was written
	for over := false; !over; {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		session(ctx, func() bool { return false })
		cancel()
		select {
		case <-written:
			over = true
		default:
		}
	}
	var want []string
	a.eventually("all are stored", func() bool { want = a.inboxIDs(users[0]); return len(want) == writers*each })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	session(ctx, func() bool { return len(got) == len(want) })
	require.Len(t, got, len(want))
	for _, id := range want {
		require.True(t, got[id], id)
	}
	t.Logf("%d items over %d connections", len(want), connections)
}
