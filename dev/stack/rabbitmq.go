package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Broker says which RabbitMQ a stack has, where none is given.
type Broker int

// The choices.
const (
	NoBroker  Broker = iota // none: events are off
	AnyBroker               // one that answers on the port, else our own, else none
	OwnBroker               // our own
)

// A broker is where the events of a stack come from.
type broker struct {
	server string // the rabbitmq-server that the stack runs; empty: somebody else's is used
	url    string // empty: there is none, or it is given
	off    string // for people: why there is none
}

// installHint says how to get RabbitMQ.
const installHint = "install it (Debian: apt-get install rabbitmq-server, macOS: brew install rabbitmq), or set " + envAMQP

// noBusyWaiting has Erlang's schedulers sleep when they have nothing to do.
const noBusyWaiting = "+sbwt none +sbwtdcpu none +sbwtdio none"

// chooseBroker finds a RabbitMQ, or says why there is none.
func (c *Config) chooseBroker() (broker, error) {
	if c.Broker == NoBroker || environ(c.Environ).given(envAMQP) {
		return broker{}, nil
	}
	port := c.Ports.AMQP
	url := "amqp://guest:guest@" + address(port) + "/"
	server, missing := findRabbitMQ(rabbitmqServers)
	if c.Broker == OwnBroker {
		return broker{server: server, url: url}, missing
	}
	switch err := answersAMQP(url); {
	case err == nil:
		return broker{url: url}, nil
	case taken(port):
		return broker{off: fmt.Sprintf("what listens on port %d is no RabbitMQ for guest/guest (%v): set %s, or choose another port with %s",
			port, err, envAMQP, listener{flag: "amqp-port"}.change())}, nil
	case missing != nil:
		return broker{off: missing.Error()}, nil //nolint:nilerr // people are told
	}
	return broker{server: server, url: url}, nil
}

// answersAMQP succeeds where a RabbitMQ lets us in.
func answersAMQP(url string) error {
	connection, err := amqp.DialConfig(url, amqp.Config{
		Properties: amqp.Table{"connection_name": "belfry stack"}, Dial: amqp.DefaultDial(2 * time.Second),
	})
	if err != nil {
		return err
	}
	return connection.Close()
}

// rabbitmqServers are where the server's own script may be. Those on PATH of
// Debian and Red Hat are wrappers that only root may use, and that change the
// user.
var rabbitmqServers = []string{
	"/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server",
	"/opt/homebrew/sbin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server",
}

// findRabbitMQ finds the first server that is there, or says how to get one.
func findRabbitMQ(candidates []string) (string, error) {
	for _, candidate := range candidates {
		if found, err := exec.LookPath(candidate); err == nil {
			if _, err := exec.LookPath("epmd"); err != nil {
				return "", errors.New("RabbitMQ is installed, but not Erlang's epmd, which it needs")
			}
			return found, nil
		}
	}
	return "", errors.New("RabbitMQ is not installed: " + installHint)
}

// startRabbitMQ runs a rabbitmq-server of our own: its Erlang cookie, its epmd
// and all ports are its alone, and it listens on this machine only. It runs as
// whoever runs the stack, and is the child itself, no script around it.
func (s *Stack) startRabbitMQ(ctx context.Context) error {
	dir := s.config.data("rabbitmq")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make RabbitMQ's folder: %w", err)
	}
	ports := s.config.Ports
	if ports.Epmd == 0 {
		if err := findPorts(&ports.Epmd, &ports.ErlangDist); err != nil {
			return err
		}
	}
	conf := fmt.Sprintf("listeners.tcp.1 = %s\nraft.wal_max_size_bytes = 67108864\n", address(ports.AMQP))
	plugins := "[].\n"
	if ports.Management != 0 { // not without need: with it RabbitMQ takes 5 s longer to stop
		conf += fmt.Sprintf("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n", ports.Management)
		plugins = "[rabbitmq_management].\n"
	}
	for name, text := range map[string]string{"rabbitmq.conf": conf, "enabled_plugins": plugins} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("configure RabbitMQ: %w", err)
		}
	}
	env := withoutPrefix(s.env, "RABBITMQ_", "ERL_")
	for name, value := range map[string]string{
		"HOME":                                dir, // where Erlang keeps its cookie
		"ERL_EPMD_ADDRESS":                    "127.0.0.1",
		"ERL_EPMD_PORT":                       fmt.Sprint(ports.Epmd),
		"RABBITMQ_DIST_PORT":                  fmt.Sprint(ports.ErlangDist),
		"RABBITMQ_NODENAME":                   "belfry@localhost", // the data belong to it
		"RABBITMQ_CONF_ENV_FILE":              os.DevNull,
		"RABBITMQ_CONFIG_FILE":                filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE":       filepath.Join(dir, "advanced.config"), // there is none
		"RABBITMQ_ENABLED_PLUGINS_FILE":       filepath.Join(dir, "enabled_plugins"),
		"RABBITMQ_FEATURE_FLAGS_FILE":         filepath.Join(dir, "feature_flags"),
		"RABBITMQ_MNESIA_BASE":                filepath.Join(dir, "mnesia"),
		"RABBITMQ_PID_FILE":                   filepath.Join(dir, "pid"),
		"RABBITMQ_LOG_BASE":                   dir,
		"RABBITMQ_LOGS":                       "-",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} " + noBusyWaiting,
		"RUNNING_UNDER_SYSTEMD":               "true", // has the script become the server
	} {
		env = append(env, name+"="+value)
	}
	// Erlang would start epmd by itself, as a daemon that outlives it.
	epmd := exec.Command("epmd", "-address", "127.0.0.1", "-port", fmt.Sprint(ports.Epmd))
	server := exec.Command(s.broker.server)
	epmd.Dir, epmd.Env, server.Dir, server.Env = dir, env, dir, env
	var err error
	if s.epmd, err = s.startChild("epmd", epmd, s.config.data("logs", "epmd.log")); err != nil {
		return err
	}
	if err := s.untilReady(ctx, s.epmd, func(ctx context.Context) error { return accepts(ctx, address(ports.Epmd)) }); err != nil {
		return err
	}
	if s.rabbitmq, err = s.startChild("RabbitMQ", server, s.config.data("logs", "rabbitmq.log")); err != nil {
		return err
	}
	return s.untilReady(ctx, s.rabbitmq, func(ctx context.Context) error {
		if err := accepts(ctx, address(ports.AMQP)); err != nil {
			return err // amqp091 would take seconds to say so
		}
		if err := answersAMQP(s.broker.url); err != nil || ports.Management == 0 {
			return err
		}
		return managed(ctx, s.managementURL())
	})
}

// managementURL is the HTTP API of our own RabbitMQ.
func (s *Stack) managementURL() string {
	return "http://guest:guest@" + address(s.config.Ports.Management)
}

// managed succeeds once RabbitMQ's HTTP API answers.
func managed(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/overview", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("RabbitMQ's management answers %s", answer.Status)
	}
	return nil
}

// accepts succeeds where somebody listens.
func accepts(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// withoutPrefix is e without the variables whose names begin so.
func withoutPrefix(e environ, prefixes ...string) environ {
	var rest environ
	for _, variable := range e {
		if !hasAnyPrefix(variable, prefixes) {
			rest = append(rest, variable)
		}
	}
	return rest
}

func hasAnyPrefix(text string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}
