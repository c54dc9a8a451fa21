// Package e2e tests Belfry as its users meet it: bin/belfry as processes of
// their own, over real servers that `make test` starts.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
)

// binary is Belfry: the one at E2E_BINARY, or else built with the race detector.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// Tests run side by side, as many as the lanes let through. Those that mostly
// wait, such as a minute for a doubt to be over, have a lane of their own: so
// the machine has something to do meanwhile, and not too much at a time.
var busyLane, idleLane = make(lane, 4), make(lane, 4)

// atOnce lets all tests come to the lanes, in place of what -parallel says.
const atOnce = "1000"

type lane chan struct{}

var entered sync.Map // the tests that are in a lane

// enter waits for a test's turn, unless it is in a lane. The turn ends with the test.
func (l lane) enter(t *testing.T) {
	t.Helper()
	if _, is := entered.LoadOrStore(t, true); is {
		return
	}
	l <- struct{}{}
	t.Cleanup(func() { <-l })
}

func run(m *testing.M) int {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if binary = os.Getenv("E2E_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "belfry-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "belfry")
	build := exec.Command("go", "build", "-race", "-o", binary, "../cmd/belfry")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build belfry:", err)
		return 1
	}
	return m.Run()
}

// A process is one belfry of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *syncBuffer
	exited chan struct{}
	err    error // once exited
}

// start runs belfry with arguments and variables, on top of those that name
// the servers. It is stopped when the test ends, and must not have raced.
func start(t *testing.T, variables map[string]string, args ...string) *process {
	t.Helper()
	command := exec.Command(binary, args...)
	command.Env = os.Environ()
	for name, value := range variables {
		command.Env = append(command.Env, name+"="+value)
	}
	p := startCommand(t, command)
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("belfry %s:\n%s", strings.Join(args, " "), p.log.tail())
		}
		require.NotContains(t, p.log.String(), "DATA RACE")
	})
	return p
}

// startCommand starts a command and waits for its end beside the test.
func startCommand(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: command, log: &syncBuffer{}, exited: make(chan struct{})}
	command.Stdout, command.Stderr = p.log, p.log
	command.WaitDelay = patience // for what outlives it and keeps its output open
	require.NoError(t, command.Start())
	go func() {
		p.err = command.Wait()
		close(p.exited)
	}()
	return p
}

// stop asks the process to end and waits until it has.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		p.t.Errorf("belfry did not stop within 30 s of SIGTERM")
		p.kill()
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// syncBuffer is a log that is written and read at once.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func (b *syncBuffer) tail() string {
	s := b.String()
	return s[max(0, len(s)-8000):]
}

// given are the ports that freeAddr gave.
var given sync.Map

// freeAddr is an address on this machine that nobody listens on. Its port is
// below those that systems hand out, so that nobody gets it by chance while a
// test has a server come and go there.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(10000)))
		if _, taken := given.LoadOrStore(addr, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, l.Close())
			return addr
		}
	}
	require.Fail(t, "found no free port")
	return ""
}

// A belfry is a running Belfry with a database and a namespace of its own.
type belfry struct {
	t         *testing.T
	url       string
	variables map[string]string
}

// newBelfry prepares one; run starts its processes.
func newBelfry(t *testing.T) *belfry {
	t.Helper()
	busyLane.enter(t)
	addr := freeAddr(t)
	return &belfry{t: t, url: "http://" + addr, variables: map[string]string{
		"BELFRY_HTTP_ADDR":   addr,
		"BELFRY_MONGO_URI":   mongotest.NewURI(t),
		"TEMPORAL_NAMESPACE": newNamespace(t),
		"BELFRY_EMAIL_FROM":  "Belfry <belfry@example.org>",
		"BELFRY_AMQP_URL":    "",
	}}
}

// with sets one more variable.
func (b *belfry) with(name, value string) *belfry {
	b.variables[name] = value
	return b
}

// run starts a role and, where it serves the API, waits until it is ready.
func (b *belfry) run(role string) *process {
	b.t.Helper()
	p := start(b.t, b.variables, role)
	if role == "all" || role == "api" {
		b.eventually("belfry "+role+" listens", func() bool { return b.status(http.MethodGet, "/healthz", nil) == http.StatusOK })
	}
	return p
}

// runAll is one process that does everything, ready, with a template.
func runAll(t *testing.T) *belfry {
	t.Helper()
	b := newBelfry(t)
	b.run("all")
	b.ready()
	return b
}

// ready waits until all neighbours are there, and makes a template.
func (b *belfry) ready() {
	b.t.Helper()
	b.eventually("ready", func() bool { return b.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, welcome, nil)
}

var welcome = map[string]any{"name": "welcome", "channels": map[string]any{"email": map[string]any{
	"subject": "Welcome, {{ recipient.name | default: recipient.email }}",
	"html":    "<p>Your seat for <b>{{ film }}</b> is kept.</p>",
}}}

// patience is how long a test waits for something that must come.
const patience = 60 * time.Second

// busy is what a busy machine may add to what has a time of its own.
const busy = 5 * time.Second

// eventually polls until a condition holds.
func (b *belfry) eventually(what string, condition func() bool) {
	b.t.Helper()
	eventually(b.t, condition, patience, 50*time.Millisecond, what)
}

// moment waits for one that passes, which costs nothing to look for.
func (b *belfry) moment(what string, condition func() bool) {
	b.t.Helper()
	eventually(b.t, condition, patience, 2*time.Millisecond, what)
}

// eventually polls until a condition holds, less often the longer that takes:
// most conditions are queries, for which the local stack's database reads all it
// has. Unlike testify's, it asks in the goroutine of the test, so that a
// condition may end the test.
func eventually(t *testing.T, condition func() bool, long, every time.Duration, what ...any) {
	t.Helper()
	seldom := 8 * every
	for deadline := time.Now().Add(long); !condition(); <-time.After(every) {
		if time.Now().After(deadline) {
			require.Fail(t, "it did not come within "+long.String(), what...)
		}
		every = min(every*5/4, seldom)
	}
}

// request sends a request and reads the answer.
func (b *belfry) request(method, path string, header http.Header, body any) (*http.Response, []byte, error) {
	var content io.Reader
	if body != nil {
		text, ok := body.([]byte)
		if !ok {
			var err error
			if text, err = json.Marshal(body); err != nil {
				return nil, nil, err
			}
		}
		content = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, b.url+path, content)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response, answer, err
}

// status is the status of an answer, 0 when there is none.
func (b *belfry) status(method, path string, body any) int {
	response, _, err := b.request(method, path, nil, body)
	if err != nil {
		return 0
	}
	return response.StatusCode
}

// do sends a request that must be answered with the status, and decodes the
// answer into answer, which may be nil.
func (b *belfry) do(method, path string, status int, body, answer any) *http.Response {
	b.t.Helper()
	return b.doWith(nil, method, path, status, body, answer)
}

func (b *belfry) doWith(header http.Header, method, path string, status int, body, answer any) *http.Response {
	b.t.Helper()
	response, text, err := b.request(method, path, header, body)
	require.NoError(b.t, err)
	require.Equal(b.t, status, response.StatusCode, "%s %s: %s", method, path, text)
	if answer != nil {
		require.NoError(b.t, json.Unmarshal(text, answer), "%s", text)
	}
	return response
}

// A standing is a notification as GET shows it.
type standing struct {
	ID         string              `json:"id"`
	Status     notify.Status       `json:"status"`
	Template   *notify.TemplateRef `json:"template"`
	Counts     notify.Counts       `json:"counts"`
	CreatedAt  time.Time           `json:"created_at"`
	FinishedAt *time.Time          `json:"finished_at"`
	Links      map[string]string   `json:"links"`
}

type delivery struct {
	notify.Delivery
	Content *notify.Email `json:"content"`
}

type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// send has a notification accepted and gives its id.
func (b *belfry) send(request map[string]any) string {
	b.t.Helper()
	var accepted standing
	b.do(http.MethodPost, "/v1/notifications", http.StatusAccepted, request, &accepted)
	return accepted.ID
}

// wait waits until a notification has ended.
func (b *belfry) wait(id string) standing {
	b.t.Helper()
	return b.waitWithin(id, patience)
}

// waitLong waits as wait does, also for what was left in doubt.
func (b *belfry) waitLong(id string) standing {
	b.t.Helper()
	return b.waitWithin(id, 3*patience)
}

func (b *belfry) waitWithin(id string, long time.Duration) standing {
	b.t.Helper()
	var n standing
	eventually(b.t, func() bool {
		response, text, err := b.request(http.MethodGet, "/v1/notifications/"+id, nil, nil)
		return err == nil && response.StatusCode == http.StatusOK && json.Unmarshal(text, &n) == nil && n.Status.Ended()
	}, long, 100*time.Millisecond, "notification "+id+" ends")
	return n
}

func (b *belfry) deliveries(id string) []delivery {
	b.t.Helper()
	var all []delivery
	for cursor := ""; ; {
		var page list[delivery]
		b.do(http.MethodGet, "/v1/notifications/"+id+"/deliveries?limit=200"+cursor, http.StatusOK, nil, &page)
		all = append(all, page.Items...)
		if page.NextCursor == "" {
			return all
		}
		cursor = "&cursor=" + page.NextCursor
	}
}

// A mail is one that the catcher took.
type mail struct {
	ID        string              `json:"id"`
	From      string              `json:"from"`
	To        []string            `json:"to"`
	Subject   string              `json:"subject"`
	MessageID string              `json:"message_id"`
	Headers   map[string][]string `json:"headers"`
	HTML      string              `json:"html"`
	Text      string              `json:"text"`
}

// mails are those to addresses of the domain, which belongs to one test.
func mails(t *testing.T, domain string) []mail {
	t.Helper()
	var all list[mail]
	readJSON(t, catcher(t)+"/messages", &all)
	var found []mail
	for _, m := range all.Items {
		if strings.HasSuffix(m.To[0], "@"+domain) {
			found = append(found, m)
		}
	}
	return found
}

func catcher(t *testing.T) string {
	t.Helper()
	url := os.Getenv("BELFRY_TEST_CATCHER")
	require.NotEmpty(t, url, "this test needs the mail catcher: run it with `make test`")
	return url
}

func readJSON(t *testing.T, url string, into any) {
	t.Helper()
	response, err := http.Get(url) // the test's own catcher
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.NoError(t, json.NewDecoder(response.Body).Decode(into))
}

// newDomain is a mail domain of one test.
func newDomain() string { return strings.ReplaceAll(uuid.NewString(), "-", "") + ".example" }
