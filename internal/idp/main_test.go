package idp

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what is bound to happen.
const patience = 20 * time.Second

// usersYAML is what most tests serve.
const usersYAML = `
- {id: cy, email: cy@example.org}
- {id: ana, email: ana@example.org, name: Ana Łuć, locale: pt-BR, time_zone: Europe/Lisbon, phone: +351210000000}
- {id: bo}
`

// listen opens a free port on the loopback interface.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// serve runs the reference server until the test ends; its address is returned.
func serve(t *testing.T, config ServerConfig) string {
	t.Helper()
	if config.UsersFile == "" {
		config.UsersFile = writeFile(t, "users.yaml", usersYAML)
	}
	listener := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, config) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-served)
	})
	return listener.Addr().String()
}

// newClient makes a client that the test closes at its end.
func newClient(t *testing.T, config Config) *Client {
	t.Helper()
	client, err := New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// stubOf makes a client's stub for calls that Client has no method for.
func stubOf(t *testing.T, config Config) idppb.UserInfoClient {
	t.Helper()
	return newClient(t, config).users
}

// A fake is an idp whose answers a test decides. It counts what it is asked.
type fake struct {
	idppb.UnimplementedUserInfoServer
	answer  func(ctx context.Context, id string) (*idppb.Info, error)
	asked   atomic.Int32
	all     func(answers allUsers) error // nil: UNIMPLEMENTED
	streams atomic.Int32
}

type allUsers = grpc.BidiStreamingServer[idppb.GetUserRequest, idppb.Info]

func (f *fake) GetAllUsers(answers allUsers) error {
	f.streams.Add(1)
	if f.all == nil {
		return f.UnimplementedUserInfoServer.GetAllUsers(answers)
	}
	return f.all(answers)
}

func (f *fake) GetUser(ctx context.Context, request *idppb.GetUserRequest) (*idppb.Info, error) {
	f.asked.Add(1)
	return f.answer(ctx, request.GetId())
}

// start serves the fake on a listener; the function returned stops it.
func (f *fake) start(t *testing.T, listener net.Listener) func() {
	t.Helper()
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	idppb.RegisterUserInfoServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return func() {
		server.Stop()
		require.NoError(t, <-served)
	}
}

// newFake serves a fake until the test ends; its address is returned too.
func newFake(t *testing.T, answer func(context.Context, string) (*idppb.Info, error)) (*fake, string) {
	t.Helper()
	f := &fake{answer: answer}
	listener := listen(t)
	t.Cleanup(f.start(t, listener))
	return f, listener.Addr().String()
}

// known answers that every user exists.
func known(_ context.Context, id string) (*idppb.Info, error) {
	return &idppb.Info{Id: id, Email: id + "@example.org"}, nil
}

// A clock stands still until a test moves it.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(1_800_000_000, c.passed.Load()) }

func (c *clock) move(d time.Duration) { c.passed.Add(int64(d)) }
