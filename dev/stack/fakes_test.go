package stack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// pidsVariable names the folder where the fakes write their process ids.
const pidsVariable = "FAKE_PIDS"

// brokerVariable has the fake stack run a RabbitMQ.
const brokerVariable = "FAKE_BROKER"

// TestMain lets the test binary stand in for the processes of a stack.
func TestMain(m *testing.M) {
	role := ""
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	switch role {
	case "watch":
		report(role)
		Watch(os.Stdin)
	case "idp": // idp --addr HOST:PORT --users FILE
		report(role)
		fakeIDP(os.Args[3])
	case "all":
		report(role)
		fakeBelfry(os.Getenv(envHTTP))
	case "sleep": // and does not want to be woken
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		report(role)
		select {}
	case "stack": // stack DATA: exec with a command that sleeps
		fakeStack(os.Args[2])
	default:
		code := m.Run()
		http.DefaultClient.CloseIdleConnections()
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
}

func report(role string) {
	if dir := os.Getenv(pidsVariable); dir != "" {
		must(os.WriteFile(filepath.Join(dir, role+".new"), []byte(strconv.Itoa(os.Getpid())), 0o600))
		must(os.Rename(filepath.Join(dir, role+".new"), filepath.Join(dir, role)))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func fakeIDP(addr string) {
	listener, err := net.Listen("tcp", addr)
	must(err)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	must(server.Serve(listener))
}

// fakeBelfry fails as soon as it is asked to.
func fakeBelfry(addr string) {
	http.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /v1/templates", func(w http.ResponseWriter, _ *http.Request) {
		report("template")
		w.WriteHeader(http.StatusCreated)
	})
	http.HandleFunc("POST /fail", func(http.ResponseWriter, *http.Request) {
		fmt.Fprintln(os.Stderr, "belfry: told to fail")
		os.Exit(3)
	})
	must(http.ListenAndServe(addr, nil))
}

func fakeStack(data string) {
	ports, err := freePorts()
	must(err)
	config := Config{
		Root: filepath.Dir(data), Data: data, Belfry: os.Args[0], Ports: ports,
		Environ: append(os.Environ(), envTemporal+"=127.0.0.1:1"), Out: os.Stderr,
	}
	if os.Getenv(brokerVariable) != "" {
		config.Broker, config.Persist = OwnBroker, true
	}
	must(runWith(context.Background(), config, func(s *Stack) error {
		_, err := s.startCommand([]string{os.Args[0], "sleep"})
		return err
	}))
}

// runWith is run with the test binary as the watcher.
func runWith(ctx context.Context, config Config, then func(*Stack) error) error {
	return run(ctx, config, []string{os.Args[0], "watch"}, then)
}
