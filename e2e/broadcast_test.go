package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// broadcast has a notification to an audience of n accepted.
func (b *belfry) broadcast(n int, more map[string]any) string {
	b.t.Helper()
	var list strings.Builder
	list.WriteString("email,name\n")
	for i := range n {
		fmt.Fprintf(&list, "u%d@example.com,User %d\n", i, i)
	}
	var audience struct {
		ID    string `json:"id"`
		Total int    `json:"total"`
	}
	b.doWith(http.Header{"Content-Type": {"text/csv"}}, http.MethodPost, "/v1/audiences", http.StatusCreated, []byte(list.String()), &audience)
	require.Equal(b.t, n, audience.Total)
	request := map[string]any{"template": "welcome", "audience": map[string]any{"id": audience.ID}, "data": map[string]any{"film": "Solaris"}}
	for key, value := range more {
		request[key] = value
	}
	return b.send(request)
}

// came is how many have mail.
func (m *mailServer) came() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.taken)
}

// requireBroadcast compares a mail server with the record of a broadcast to n:
// each has mail, and who has it twice is marked so. It says how many these are.
func requireBroadcast(t *testing.T, b *belfry, server *mailServer, id string, n int) (doubles int) {
	t.Helper()
	require.Equal(t, notify.Counts{Total: n, Sent: n}, b.waitWithin(id, 10*patience).Counts)
	taken := server.mails()
	require.Len(t, taken, n)
	for address, copies := range taken {
		for _, c := range copies {
			require.Equal(t, copies[0], c, "the same text")
		}
		if len(copies) > 1 || rand.IntN(n) < 50 { // and some of the others
			id := strings.TrimSuffix(strings.TrimPrefix(copies[0].messageID, "<"), "@example.org>")
			var d delivery
			b.do(http.MethodGet, "/v1/deliveries/"+id, http.StatusOK, nil, &d)
			require.Equal(t, address, d.Address)
			require.Equal(t, notify.StateSent, d.State)
			require.Contains(t, copies[0].body, d.Content.Text[:20])
			require.True(t, d.Resent || len(copies) == 1, "%s came %d times, unmarked", id, len(copies))
		}
		doubles += min(len(copies)-1, 1)
	}
	return doubles
}

// pagesAtOnce is how many pages a worker has under way: so many chunks may be in
// doubt when it dies.
const pagesAtOnce = 8

// toMany is how many recipients the broadcasts of these tests have.
func toMany(t *testing.T) int { return chaos(t, "CHAOS_RECIPIENTS", 1500) }

func TestABroadcastWhoseProcessesAreKilled(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	processes := []*process{b.run("api"), b.run("worker")}
	b.ready()
	n := toMany(t)
	id := b.broadcast(n, nil)
	for kill := range 3 {
		b.moment("under way", func() bool { return server.came() > n*(4+2*kill)/10 })
		for _, p := range processes {
			p.kill()
		}
		processes = []*process{b.run("api"), b.run("worker")}
	}
	doubles := requireBroadcast(t, b, server, id, n)
	t.Logf("%d of %d came twice", doubles, n)
	require.LessOrEqual(t, doubles, 3*pagesAtOnce*notify.ChunkSize)
}

func TestABroadcastWithAnotherWorkerToGoOn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		stop func(t *testing.T, first *process) (after func())
	}{
		{"one is killed", func(_ *testing.T, first *process) func() {
			first.kill()
			return func() {}
		}},
		{"one is stopped and continued", func(t *testing.T, first *process) func() {
			require.NoError(t, first.cmd.Process.Signal(syscall.SIGSTOP))
			return func() {
				<-time.After(time.Duration(chaos(t, "CHAOS_STOPPED", 0)) * time.Second)
				require.NoError(t, first.cmd.Process.Signal(syscall.SIGCONT))
				first.stop()
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t)
			b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
			b.run("api")
			first := b.run("worker")
			b.run("worker")
			b.ready()
			n := toMany(t)
			id := b.broadcast(n, nil)
			b.moment("half-way", func() bool { return server.came() > n/2 })
			after := test.stop(t, first)
			require.Equal(t, notify.Counts{Total: n, Sent: n}, b.waitWithin(id, 10*patience).Counts)
			after()
			doubles := requireBroadcast(t, b, server, id, n)
			t.Logf("%d of %d came twice", doubles, n)
			require.LessOrEqual(t, doubles, pagesAtOnce*notify.ChunkSize, "no recorded chunk is done by both")
		})
	}
}

func TestABroadcastThroughAMailServerOfAllMoods(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	proxy := b.before("BELFRY_SMTP_URL")
	b.run("all")
	b.ready()
	server.refuse(func(string) error {
		if rand.IntN(20) == 0 {
			return errLater
		}
		return nil
	})
	n := toMany(t)
	id := b.broadcast(n, nil)
	b.moment("in the middle", func() bool { return server.came() > n/2 })
	proxy.cut()
	<-time.After(time.Duration(chaos(t, "CHAOS_AWAY", 5)) * time.Second)
	proxy.restore()
	doubles := requireBroadcast(t, b, server, id, n)
	t.Logf("%d of %d came twice, where the server went away in the middle of them", doubles, n)
	require.LessOrEqual(t, doubles, pagesAtOnce*notify.ChunkSize)
}

func TestABroadcastIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	n := toMany(t)
	id := b.broadcast(n, nil)
	server.slow(10 * time.Millisecond) // so that it is not over before it is told to stop
	b.moment("begun", func() bool { return server.came() > n*3/10 })
	var n1 standing
	b.do(http.MethodPost, "/v1/notifications/"+id+"/pause", http.StatusOK, nil, &n1)
	require.Equal(t, notify.StatusPaused, n1.Status)
	<-time.After(2 * time.Second)
	came := server.came()
	require.Less(t, came, n)
	<-time.After(2 * time.Second)
	require.Equal(t, came, server.came(), "nothing is sent")
	b.do(http.MethodGet, "/v1/notifications/"+id, http.StatusOK, nil, &n1)
	require.Equal(t, notify.Counts{Total: n, Sent: came, Queued: n - came}, n1.Counts)
	b.do(http.MethodPost, "/v1/notifications/"+id+"/resume", http.StatusOK, nil, nil)
	require.Zero(t, requireBroadcast(t, b, server, id, n))
}

// TestABroadcastPausedAfterItsWorkerDied pauses while the server does not know
// yet that the pages under way have nobody who works on them.
func TestABroadcastPausedAfterItsWorkerDied(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("api")
	worker := b.run("worker")
	b.ready()
	n := 2 * toMany(t)
	server.slow(5 * time.Millisecond)
	id := b.broadcast(n, nil)
	b.moment("begun", func() bool { return server.came() > n*2/10 })
	worker.kill()
	b.run("worker")
	b.eventually("paused, once Temporal gives the workflow to the other worker", func() bool {
		return b.status(http.MethodPost, "/v1/notifications/"+id+"/pause", nil) == http.StatusOK
	})
	server.slow(0)
	<-time.After(25 * time.Second) // by then it does
	b.do(http.MethodPost, "/v1/notifications/"+id+"/resume", http.StatusOK, nil, nil)
	doubles := requireBroadcast(t, b, server, id, n)
	require.LessOrEqual(t, doubles, pagesAtOnce*notify.ChunkSize)
}

func TestABroadcastIsCancelled(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	n := toMany(t)
	id := b.broadcast(n, nil)
	server.slow(10 * time.Millisecond) // so that it is not over before it is told to stop
	b.moment("begun", func() bool { return server.came() > n*3/10 })
	status, _ := b.cancel(id)
	require.Equal(t, http.StatusOK, status)
	<-time.After(2 * time.Second)
	came := server.came()
	require.Less(t, came, n)
	ended := b.waitWithin(id, 10*patience)
	require.Equal(t, came, server.came(), "nothing is sent after it")
	require.Equal(t, notify.StatusCancelled, ended.Status)
	require.Equal(t, notify.Counts{Total: n, Sent: came, Skipped: n - came}, ended.Counts)
	b.do(http.MethodPost, "/v1/notifications/"+id+"/cancel", http.StatusOK, nil, nil)
}

func TestABroadcastKeepsToItsRate(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.run("worker")
	b.ready()
	began := time.Now()
	id := b.broadcast(700, map[string]any{"rate": "200/s"})
	require.Zero(t, requireBroadcast(t, b, server, id, 700))
	require.Greater(t, time.Since(began), 3*time.Second, "700 at 200/s take 3.5 s, less a few at once for each of two pages")
}

func TestABroadcastToAllUsers(t *testing.T) {
	t.Parallel()
	const n = 1200
	var users strings.Builder
	for i := range n {
		fmt.Fprintf(&users, "- {id: user-%d, email: u%d@example.com, name: User %d}\n", i, i, i)
	}
	file := filepath.Join(t.TempDir(), "users.yaml")
	require.NoError(t, os.WriteFile(file, []byte(users.String()), 0o600))
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).with("BELFRY_IDP_ADDR", freeAddr(t))
	b.run("all")
	b.run("worker")
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, welcome, nil)
	id := b.send(map[string]any{"template": "welcome", "audience": map[string]any{"all_users": true}, "data": map[string]any{"film": "x"}})
	start(t, b.variables, "idp", "--users", file) // it was away until now
	require.Zero(t, requireBroadcast(t, b, server, id, n))
	var history list[delivery]
	b.do(http.MethodGet, "/v1/users/user-7/notifications", http.StatusOK, nil, &history)
	require.Len(t, history.Items, 1)
	require.Equal(t, "Welcome, User 7", history.Items[0].Content.Subject)
}
