package stack

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watchTest is how to run the watcher: the test binary plays it.
var watchTest = []string{os.Args[0], "watch"}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	listener, err := net.Listen("tcp", address(config.Ports.Mail))
	require.NoError(t, err)
	defer listener.Close()

	err = Engines(t.Context(), config, watchTest)
	require.ErrorContains(t, err, address(config.Ports.Mail)[len("127.0.0.1:"):])
	require.ErrorContains(t, err, "(mail page) is taken")
	require.ErrorContains(t, err, "--mail-port or BELFRY_DEV_MAIL_PORT")
	require.Len(t, strings.Split(err.Error(), "\n"), 1, "one line: %v", err)
}

func TestAMissingToolIsNamed(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.Belfry = "bin/none"
	config.Environ = []string{"TEMPORAL_CLI=/none"}
	err := Engines(t.Context(), config, watchTest)
	require.ErrorContains(t, err, "bin/none is missing: run make build")
	require.ErrorContains(t, err, "TEMPORAL_CLI: /none cannot be run")
}

func TestWhatIsGivenIsNotStarted(t *testing.T) {
	t.Parallel()
	given := map[string]string{
		envTemporal: "temporal.example:7233",
		envMongo:    "mongodb://mongo.example/x",
		envSMTP:     "smtp://mail.example",
		envIDP:      "idp.example:50051",
		envHTTP:     "127.0.0.1:9999",
		"OTHER":     "value",
	}
	config := testConfig(t)
	config.Environ, config.Belfry = nil, "bin/none" // nor is it needed
	for name, value := range given {
		config.Environ = append(config.Environ, name+"="+value)
	}
	s, err := newStack(config, watchTest)
	require.NoError(t, err)
	defer s.stop()
	require.Empty(t, s.engines())
	require.NoError(t, s.startEngines(t.Context()))
	for name, value := range given {
		require.Equal(t, value, s.env.get(name))
	}
	require.Empty(t, s.env.get(envCatcher))
	require.Empty(t, s.notDefault())
}

func TestAnEmptyVariableIsNotGiven(t *testing.T) {
	t.Parallel()
	env := environ{envMongo + "="}.offer(envMongo, "ours")
	require.Equal(t, "ours", env.get(envMongo))
	require.Len(t, environ{envMongo + "=theirs"}.offer(envMongo, "ours"), 1)
}

func TestDev(t *testing.T) {
	t.Parallel()
	pids := t.TempDir()
	config := testConfig(t)
	config.Environ = append(config.Environ, pidsVariable+"="+pids)
	out := &buffer{}
	config.Out = out
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- Dev(ctx, config, watchTest) }()

	require.Eventually(t, func() bool { return strings.Contains(out.String(), "curl ") }, 30*time.Second, 10*time.Millisecond)
	require.FileExists(t, filepath.Join(pids, "template"), "the welcome template was not asked for")
	require.Contains(t, out.String(), `-d '{"template":"welcome","to":[{"user_id":"4518e644-1ff3-4003-a14e-99dfe3fdd7ab"}],"data":{"film":"Solaris"}}'`)
	require.Contains(t, out.String(), "http://"+address(config.Ports.Mail))

	second := testConfig(t)
	second.Data = config.Data
	require.ErrorContains(t, Dev(t.Context(), second, watchTest), "is in use by another stack")

	running := []int{pidOf(t, pids, "all"), pidOf(t, pids, "idp")}
	cancel()
	require.NoError(t, <-ended)
	for _, pid := range running {
		require.False(t, alive(pid), "process %d outlived the stack", pid)
	}
}

func TestEnginesSeedABelfryThatIsStartedLater(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]int{ // to /readyz and to the template, in turns
		"at once":          {200, 201},
		"there already":    {200, 409},
		"not ready yet":    {503, 503, 200, 201},
		"fails, then does": {200, 500, 200, 201},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testConfig(t)
			out := &buffer{}
			config.Out = out
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error)
			go func() { ended <- Engines(ctx, config, watchTest) }()
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "Ctrl-C stops them.") }, 30*time.Second, 10*time.Millisecond)

			asked := make(chan string, 2*len(answers))
			left := slices.Clone(answers)
			api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.Method + " " + r.URL.Path
				if len(left) == 0 {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				w.WriteHeader(left[0]) // one request at a time
				left = left[1:]
			}))
			require.NoError(t, api.Listener.Close())
			var err error
			api.Listener, err = net.Listen("tcp", address(config.Ports.HTTP))
			require.NoError(t, err)
			api.Start()
			defer api.Close()

			for i := range answers {
				want := "GET /readyz"
				if i > 0 && answers[i-1] == http.StatusOK {
					want = "POST /v1/templates"
				}
				require.Equal(t, want, <-asked)
			}
			require.Never(t, func() bool { return len(asked) > 0 }, 2*seedEvery, seedEvery, "it goes on after it has worked")
			cancel()
			require.NoError(t, <-ended)
			require.NotContains(t, out.String(), "template")
		})
	}
}

func TestAPartThatEndsEndsTheStack(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	out := &buffer{}
	config.Out = out
	ended := make(chan error)
	go func() { ended <- Dev(t.Context(), config, watchTest) }()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "curl ") }, 30*time.Second, 10*time.Millisecond)
	_, err := http.Post("http://"+address(config.Ports.HTTP)+"/fail", "", nil)
	require.Error(t, err)
	require.ErrorIs(t, <-ended, errEnded)
	require.Contains(t, out.String(), "belfry ended by itself (exit status 3)")
}

func TestAnEngineThatFailsShowsItsLog(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	script := filepath.Join(t.TempDir(), "belfry")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho no users here >&2\nexit 4\n"), 0o700))
	config.Belfry = script
	err := Engines(t.Context(), config, watchTest)
	require.ErrorContains(t, err, "the idp ended while it started (exit status 4)")
	require.ErrorContains(t, err, "no users here")
}

func TestExec(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		code   int
	}{
		"success":    {`test -n "$BELFRY_MONGO_URI$BELFRY_SMTP_URL$BELFRY_TEST_CATCHER" && test "$TEMPORAL_ADDRESS" = 127.0.0.1:1`, 0},
		"its code":   {"exit 7", 7},
		"its signal": {"kill -KILL $$", 137},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, err := Exec(t.Context(), testConfig(t), watchTest, []string{"sh", "-c", test.script})
			require.NoError(t, err)
			require.Equal(t, test.code, code)
		})
	}
}

// testConfig is a stack whose belfry is this test binary and whose Temporal is
// given.
func testConfig(t *testing.T) Config {
	t.Helper()
	ports, err := freePorts()
	require.NoError(t, err)
	return Config{
		Root: t.TempDir(), Data: t.TempDir(), Belfry: os.Args[0], Users: "users.yaml",
		Ports: ports, Environ: []string{envTemporal + "=127.0.0.1:1", "PATH=" + os.Getenv("PATH")}, Out: &buffer{},
	}
}

// A buffer is written and read at the same time.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
