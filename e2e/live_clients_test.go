package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A client that is not Go connects, acknowledges, reads, goes away, and goes on
// from its cursor.
func TestAListenerInPython(t *testing.T) {
	t.Parallel()
	b, users := newLive(t, 1)
	b.run("all")
	b.ready()
	command := exec.Command(pythonWith(t, "websockets"), "testdata/listener.py", "ws"+strings.TrimPrefix(b.url, "http")+"/v1/stream", users[0])
	goOn, err := command.StdinPipe()
	require.NoError(t, err)
	p := startCommand(t, command)
	t.Cleanup(p.stop)
	said := func(what string) {
		b.eventually(what, func() bool {
			select {
			case <-p.exited:
				require.Fail(t, "it has ended", p.log.tail())
			default:
			}
			return strings.Contains(p.log.String(), what)
		})
	}
	said("connected, 0 unread")
	b.tell("one", users[0])
	said("got one") // two that are told at once come in any order
	b.tell("two", users[0])
	said("got two")
	said("read, 1 unread")
	said("away")
	b.tell("three", users[0])
	b.eventually("it is stored", func() bool { return len(b.inboxIDs(users[0])) == 3 })
	require.NoError(t, goOn.Close())
	require.Zero(t, p.wait(), p.log.tail())
	require.Contains(t, p.log.String(), "got three")
	require.NotContains(t, p.log.String(), "Traceback")
}

func TestCLIListens(t *testing.T) {
	t.Parallel()
	b, users := newLive(t, 1)
	b.run("all")
	b.ready()
	cli := commandLine{t, b}
	text, asJSON := cli.start("listen", "--user", users[0]), cli.start("listen", "--user", users[0], "--ack", "-o", "json")
	b.eventually("both are connected", func() bool {
		return strings.Contains(text.log.String(), "connected, 0 unread") && strings.Contains(asJSON.log.String(), `"type":"hello"`)
	})
	b.tell("Solaris \x1b[31m", users[0])
	b.eventually("both print it", func() bool {
		return strings.Contains(text.log.String(), `Solaris \x1b[31m`) && strings.Contains(asJSON.log.String(), `"title":"Solaris \u001b[31m"`)
	})
	b.eventually("it is delivered", func() bool {
		var found list[standing]
		b.do(http.MethodGet, "/v1/notifications", http.StatusOK, nil, &found)
		return found.Items[0].Counts == notify.Counts{Total: 1, Delivered: 1}
	})
	for _, p := range []*process{text, asJSON} {
		p.stop()
		require.NoError(t, p.err)
	}
	_, complaints, code := cli.run("listen")
	require.Equal(t, 2, code)
	require.Contains(t, complaints, "--user")
	_, complaints, code = cli.run("listen", "--key", "nobody's")
	require.Equal(t, 1, code)
	require.Contains(t, complaints, "user_id")
}

// memory is what a process has in memory, in bytes.
func (p *process) memory() int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(p.t, err)
	return kilobytes << 10
}

// p99 is how long an item takes from its POST to a listener, and the median.
func (b *belfry) p99(l *listener, user, name string, n int) (median, p99 time.Duration) {
	b.t.Helper()
	var took []time.Duration
	for i := range n {
		title := fmt.Sprint(name, i)
		began := time.Now()
		b.tell(title, user)
		eventually(b.t, func() bool { _, ok := l.seen(title); return ok }, patience, time.Millisecond)
		at, _ := l.seen(title)
		took = append(took, at.Sub(began))
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100]
}

// Clients that never read are disconnected, and the others notice nothing.
func TestClientsThatNeverRead(t *testing.T) {
	t.Parallel()
	b, users := newLive(t, 2)
	ann, bob := users[0], users[1]
	api := b.run("api")
	b.run("worker")
	b.ready()
	l := listen(t, bob, b).connected()
	n := chaos(t, "CHAOS_LATENCIES", 40)
	b.p99(l, bob, "warm", 20)
	median, quiet := b.p99(l, bob, "quiet", n)
	const deaf, large, items = 20, 60_000, 120 // 7 MB for each, which no socket's buffers hold
	flood := func(items int) {
		body := strings.Repeat("x", large)
		for range items {
			if status, text := b.tryTell("large", body, ann); status != http.StatusAccepted {
				t.Errorf("%d: %s", status, text)
			}
		}
	}
	flood(items / 6) // what it takes where nobody is connected
	before := api.memory()
	b.deafSockets(ann, deaf)
	done := make(chan struct{})
	go func() {
		defer close(done)
		flood(items)
	}()
	busyMedian, busy := b.p99(l, bob, "busy", n)
	<-done
	b.eventually("they are disconnected", func() bool { return strings.Count(api.log.String(), "reads too slowly") >= deaf })
	grown := api.memory() - before
	t.Logf("from POST to the client: median %s, p99 %s; beside %d that never read: median %s, p99 %s; the API's memory grew by %d MiB for them",
		median, quiet, deaf, busyMedian, busy, grown>>20)
	require.Less(t, busyMedian, 5*median+time.Second)
	require.Less(t, busy, 5*quiet+10*time.Second, "what is not pushed in time comes with the next look")
	require.Less(t, grown, int64(deaf*10<<20), "with the race detector's shadow memory")
}

// deafSockets are of clients who never read after the hello.
func (b *belfry) deafSockets(user string, n int) {
	b.t.Helper()
	for range n {
		_, answer, _ := b.connect(nil, map[string]string{"user_id": user})
		require.Equal(b.t, "hello", answer)
	}
}
