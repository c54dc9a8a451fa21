package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/notify"
)

// stackBinary is the local stack that `make test` runs these tests with.
const stackBinary = "../bin/stack"

// A stack is a whole local stack, as `make dev` runs it, on ports and with data
// of its own.
type stack struct {
	*belfry
	args []string
	env  []string
	*process
}

func newStack(t *testing.T, smtpURL string) *stack {
	t.Helper()
	busyLane.enter(t)
	require.FileExists(t, stackBinary, "build it with `make bin/stack`, or run `make test`")
	s := &stack{args: []string{"dev", "--data", t.TempDir(), "--belfry", binary, "--users", "../dev/users.yaml"}}
	for _, engine := range []string{"http", "temporal", "temporal-ui", "mongo", "smtp", "mail", "idp", "oidc"} {
		_, port, err := net.SplitHostPort(freeAddr(t))
		require.NoError(t, err)
		s.args = append(s.args, "--"+engine+"-port", port)
		if engine == "http" {
			s.belfry = &belfry{t: t, url: "http://127.0.0.1:" + port}
		}
	}
	for _, variable := range os.Environ() { // not those of the stack that runs the tests
		if !strings.HasPrefix(variable, "BELFRY_") && !strings.HasPrefix(variable, "TEMPORAL_") {
			s.env = append(s.env, variable)
		}
	}
	cli, err := exec.LookPath("temporal")
	if err != nil {
		cli = "../.tools/temporal"
	}
	s.env = append(s.env, "BELFRY_SMTP_URL="+smtpURL, "BELFRY_EMAIL_FROM=Belfry <belfry@example.org>", "TEMPORAL_CLI="+cli,
		"BELFRY_AMQP_URL="+amqptest.NewURL(t)) // a RabbitMQ of its own would have no part in these tests, and take longest to start
	t.Cleanup(func() {
		if s.process != nil {
			s.kill()
		}
	})
	return s
}

// up starts the stack and waits until it is ready.
func (s *stack) up() {
	s.belfry.t.Helper()
	command := exec.Command(stackBinary, s.args...)
	command.Env, command.SysProcAttr = s.env, &syscall.SysProcAttr{Setpgid: true}
	s.process = startCommand(s.belfry.t, command)
	eventually(s.belfry.t, func() bool {
		return s.status(http.MethodGet, "/readyz", nil) == http.StatusOK
	}, patience, 50*time.Millisecond, "the stack is ready:\n%s", tail{s.log})
}

// tail is what a log ends with when it is printed.
type tail struct{ log *syncBuffer }

func (l tail) String() string { return l.log.tail() }

// killAll ends a process and all that it started at once, as a power cut does.
func (p *process) killAll() {
	p.t.Helper()
	for _, pid := range descendants(p.t, p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	<-p.exited
}

// descendants are a process and all that it started, directly or not.
func descendants(t *testing.T, root int) []int {
	t.Helper()
	table, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	require.NoError(t, err)
	children := map[int][]int{}
	for line := range strings.Lines(string(table)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// underLoad sends notifications of three recipients each, 20 at a time, and
// calls halfway in the middle. It gives the ids of those that were accepted.
func (b *belfry) underLoad(domain string, notifications int, halfway func()) []string {
	work := make(chan int)
	var mu sync.Mutex
	var ids []string
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for i := range work {
				response, text, err := b.request(http.MethodPost, "/v1/notifications", nil, map[string]any{
					"template": "welcome", "to": to("n"+strconv.Itoa(i)+"-%d", domain, 3), "data": map[string]any{"film": "Solaris"},
				})
				if err != nil || response.StatusCode != http.StatusAccepted {
					continue // it was not accepted, and nothing is promised
				}
				id := strings.TrimPrefix(response.Header.Get("Location"), "/v1/notifications/")
				if len(id) != 36 {
					b.t.Errorf("accepted without an id: %s", text)
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	for i := range notifications {
		if i == notifications/2 {
			halfway()
		}
		work <- i
	}
	close(work)
	group.Wait()
	return ids
}

func TestTheWholeStackKilledUnderLoad(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	s := newStack(t, server.url())
	s.up()
	s.eventually("it has the welcome template", func() bool { return s.status(http.MethodGet, "/v1/templates/welcome", nil) == http.StatusOK })
	domain := newDomain()

	load := chaos(t, "CHAOS_LOAD", 120)
	ids := s.underLoad(domain, load, s.killAll)
	require.NotEmpty(t, ids)
	require.Less(t, len(ids), load, "some were refused while all was down")
	s.up()
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 3, Sent: 3}, s.waitLong(id).Counts)
	}
	requireEveryoneHasMail(t, s.belfry, server, ids)
	s.stop()
	require.NoError(t, s.err)
}

// requireEveryoneHasMail compares a mail server with the deliveries of those
// that were accepted. What was cut off before its answer may have gone out too.
func requireEveryoneHasMail(t *testing.T, b *belfry, server *mailServer, ids []string) {
	t.Helper()
	taken := server.mails()
	doubles := 0
	for _, id := range ids {
		doubles += requireEachHasMail(t, taken, b.deliveries(id))
	}
	t.Logf("%d accepted, %d mails came twice", len(ids), doubles)
}

// requireEachHasMail compares mails with deliveries: whoever has it twice is
// marked so, and has the same text. It says how many these are.
func requireEachHasMail(t *testing.T, taken map[string][]takenMail, deliveries []delivery) (doubles int) {
	t.Helper()
	for _, d := range deliveries {
		copies := taken[d.Address]
		require.NotEmpty(t, copies, "%s has no mail", d.Address)
		for _, c := range copies {
			require.Equal(t, "<"+d.ID+"@example.org>", c.messageID)
			require.Equal(t, copies[0], c, "the same text")
		}
		if len(copies) > 1 {
			doubles++
			require.True(t, d.Resent, "%s came %d times, unmarked", d.ID, len(copies))
		}
	}
	return doubles
}

func TestAWorkerKilledUnderLoadIsReplacedByAnother(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("api")
	first := b.run("worker")
	b.run("worker")
	b.ready()
	domain := newDomain()

	load := chaos(t, "CHAOS_LOAD", 120)
	ids := b.underLoad(domain, load, first.kill)
	require.Len(t, ids, load)
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.waitLong(id).Counts)
	}
	requireEveryoneHasMail(t, b, server, ids)
	require.Len(t, server.mails(), 3*load)
}

func TestWhatIsRecordedAsSentIsNotSentAgain(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	p := b.run("all")
	b.ready()
	id := b.send(map[string]any{"template": "welcome", "to": to("u%d", "example.com", 3), "data": map[string]any{"film": "x"}})
	b.wait(id)
	b.eventually("Temporal has its end too", func() bool { return completed(t, b, id) })
	p.kill()
	b.run("all")
	c := dialTemporal(t, b.variables["TEMPORAL_NAMESPACE"])
	require.NoError(t, resetToStart(t, c, b.variables["TEMPORAL_NAMESPACE"], "notification/"+id)) // an operator has it run once more
	b.eventually("the second run has ended", func() bool { return len(historyOf(t, b, id)) > 6 && completed(t, b, id) })
	require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.wait(id).Counts)
	for address, mails := range server.mails() {
		require.Len(t, mails, 1, address)
	}
}

func TestSIGTERMInTheMiddleOfAPageDoublesNothing(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("api")
	first := b.run("worker")
	b.ready()
	server.slow(100 * time.Millisecond)
	id := b.send(map[string]any{"template": "welcome", "to": to("u%d", "example.com", 300), "data": map[string]any{"film": "x"}})
	b.eventually("the page is under way", func() bool { return len(server.mails()) > 20 })
	began := time.Now()
	first.stop()
	require.NoError(t, first.err)
	require.Less(t, time.Since(began), 8*time.Second+busy)
	require.Less(t, len(server.mails()), 300, "it did not begin the rest")

	server.slow(0)
	b.run("worker")
	require.Equal(t, notify.Counts{Total: 300, Sent: 300}, b.wait(id).Counts)
	for address, mails := range server.mails() {
		require.Len(t, mails, 1, address)
	}
	for _, d := range b.deliveries(id) {
		require.False(t, d.Resent)
	}
}

func TestASweepEndsWhatOperatorsTerminate(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).with("BELFRY_SWEEP_INTERVAL", "1s")
	b.run("all")
	b.ready()
	server.refuse(func(string) error { return errLater })
	id := b.send(map[string]any{"template": "welcome", "to": to("u%d", "example.com", 3), "data": map[string]any{"film": "x"}})
	b.eventually("tried", func() bool {
		return b.status(http.MethodGet, "/v1/deliveries/"+b.deliveries(id)[0].ID, nil) == http.StatusOK
	})
	c := dialTemporal(t, b.variables["TEMPORAL_NAMESPACE"])
	require.NoError(t, c.TerminateWorkflow(t.Context(), "notification/"+id, "", "an operator did it"))

	n := b.waitLong(id)
	require.Equal(t, notify.StatusCancelled, n.Status)
	require.Equal(t, notify.Counts{Total: 3, Skipped: 3}, n.Counts)
	for _, d := range b.deliveries(id) {
		require.Equal(t, notify.ReasonCancelled, d.Reason)
	}
	require.Empty(t, server.mails())
}
