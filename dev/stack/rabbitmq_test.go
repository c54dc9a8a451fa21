package stack

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func TestRabbitMQKeepsWhatItHasOverARestart(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	config.Broker, config.Persist = AnyBroker, true
	config.Ports.Management, config.Ports.Epmd, config.Ports.ErlangDist = 0, 0, 0 // as in dev
	config.Environ = append(config.Environ, envMongo+"=x", envSMTP+"=x", envIDP+"=x")
	var pids []int
	for _, messages := range []int{0, 1} {
		s, err := newStack(config, watchTest)
		require.NoError(t, err)
		err = s.startEngines(t.Context())
		if err == nil {
			require.Equal(t, "amqp://guest:guest@"+address(config.Ports.AMQP)+"/", s.env.get(envAMQP))
			require.Empty(t, s.env.get(envRabbitMQ))
			require.Equal(t, messages, queued(t, s.env.get(envAMQP)))
			pids = append(pids, s.rabbitmq.cmd.Process.Pid, s.epmd.cmd.Process.Pid)

			// Another stack uses it too, and does not end it.
			other := config
			other.Data = t.TempDir()
			guest, err := newStack(other, watchTest)
			require.NoError(t, err)
			require.Empty(t, guest.engines())
			require.Equal(t, s.env.get(envAMQP), guest.env.get(envAMQP))
			guest.stop()
		}
		s.stop()
		require.NoError(t, err)
	}
	for _, pid := range pids {
		require.False(t, alive(pid), "process %d outlived the stack", pid)
	}
}

// queued is how many messages are in a queue, to which it adds one.
func queued(t *testing.T, url string) int {
	t.Helper()
	connection, err := amqp.Dial(url)
	require.NoError(t, err)
	defer connection.Close()
	channel, err := connection.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.Confirm(false))
	queue, err := channel.QueueDeclare("kept", true, false, false, false, nil)
	require.NoError(t, err)
	confirmation, err := channel.PublishWithDeferredConfirm("", "kept", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent})
	require.NoError(t, err)
	require.True(t, confirmation.Wait())
	return queue.Messages
}

func TestRabbitMQOfAKilledStackEnds(t *testing.T) {
	t.Parallel()
	pids, data := t.TempDir(), t.TempDir()
	stack := exec.Command(os.Args[0], "stack", data)
	stack.Env = append(os.Environ(), pidsVariable+"="+pids, brokerVariable+"=1")
	require.NoError(t, stack.Start())
	t.Cleanup(func() { _ = stack.Process.Kill() })
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(pids, "sleep"))
		return err == nil
	}, 60*time.Second, 10*time.Millisecond, "the stack did not start")
	text, err := os.ReadFile(filepath.Join(data, "rabbitmq", "pid"))
	require.NoError(t, err)
	server, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,comm=").Output()
	require.NoError(t, err)
	children := []int{server}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); fields[1] == strconv.Itoa(stack.Process.Pid) && strings.HasSuffix(fields[2], "epmd") {
			epmd, err := strconv.Atoi(fields[0])
			require.NoError(t, err)
			children = append(children, epmd)
		}
	}
	require.Len(t, children, 2, "no epmd of our own:\n%s", out)

	require.NoError(t, stack.Process.Kill())
	_ = stack.Wait() // it was killed
	require.Eventually(t, func() bool { return !alive(children[0]) && !alive(children[1]) }, 8*time.Second, 10*time.Millisecond,
		"some of %v outlived the stack", children)
}

func TestWithoutRabbitMQTheRestWorks(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	listener, err := net.Listen("tcp", address(config.Ports.AMQP))
	require.NoError(t, err)
	defer listener.Close()
	go func() { // it is no RabbitMQ
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail.example.com\r\n"))
			_ = conn.Close()
		}
	}()
	config.Broker = AnyBroker
	out := &buffer{}
	config.Out = out
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- Dev(ctx, config, watchTest) }()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "curl ") }, 30*time.Second, 10*time.Millisecond)
	require.Contains(t, out.String(), "events are off: what listens on port "+strconv.Itoa(config.Ports.AMQP)+" is no RabbitMQ for guest/guest")
	require.Contains(t, out.String(), "set BELFRY_AMQP_URL, or choose another port with --amqp-port or BELFRY_DEV_AMQP_PORT")
	cancel()
	require.NoError(t, <-ended)

	_, err = findRabbitMQ([]string{"/none", "none-such"})
	require.ErrorContains(t, err, "RabbitMQ is not installed: install it (Debian: apt-get install rabbitmq-server")
}
