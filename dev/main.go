// Stack runs what Belfry needs on one machine, with Belfry or without.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/belfry-notify/belfry/dev/stack"
)

const description = `Temporal, MongoDB (FerretDB), RabbitMQ, a mail catcher and the idp, on this machine, with Belfry or without.

An engine whose address is in the environment is not started: TEMPORAL_ADDRESS, BELFRY_MONGO_URI,
BELFRY_SMTP_URL, BELFRY_IDP_ADDR, BELFRY_AMQP_URL. Every other BELFRY_ and TEMPORAL_ variable is passed on to Belfry.
The Temporal CLI is the one in TEMPORAL_CLI, on PATH, or in .tools.`

type cli struct {
	Dev     devCommand     `cmd:"" help:"Run everything, Belfry included, until Ctrl-C."`
	Engines enginesCommand `cmd:"" help:"Run everything but Belfry until Ctrl-C."`
	Exec    execCommand    `cmd:"" help:"Run a command with the engines on free ports and in a temporary folder, then stop them."`
	Watch   watchCommand   `cmd:"" hidden:""`
}

type places struct {
	Data   string `env:"BELFRY_DEV_DATA" default:".belfry" help:"Folder for what is kept between runs."`
	Belfry string `env:"BELFRY_DEV_BINARY" default:"bin/belfry" help:"The belfry binary."`
	Users  string `env:"BELFRY_DEV_USERS" default:"dev/users.yaml" help:"File of the idp's users."`
	stack.Ports
}

func (p places) config() (stack.Config, error) {
	root, err := os.Getwd()
	return stack.Config{
		Root: root, Data: p.Data, Belfry: p.Belfry, Users: p.Users, Ports: p.Ports,
		Persist: true, UI: true, Broker: stack.AnyBroker, Environ: os.Environ(), Out: os.Stdout,
	}, err
}

type devCommand struct{ places }

func (c *devCommand) Run(ctx context.Context) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	return stack.Dev(ctx, config, watch())
}

type enginesCommand struct{ places }

func (c *enginesCommand) Run(ctx context.Context) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	return stack.Engines(ctx, config, watch())
}

type execCommand struct {
	Belfry   string   `env:"BELFRY_DEV_BINARY" default:"bin/belfry" help:"The belfry binary, for the idp."`
	Users    string   `env:"BELFRY_DEV_USERS" default:"dev/users.yaml" help:"File of the idp's users."`
	RabbitMQ bool     `name:"rabbitmq" help:"RabbitMQ too, unless it is given."`
	Persist  bool     `help:"Temporal keeps its data on file, as in dev; in memory otherwise."`
	Command  []string `arg:"" passthrough:"" help:"What to run, after --."`
}

func (c *execCommand) Run(ctx context.Context) error {
	command := c.Command
	if command[0] == "--" { // kong keeps it
		command = command[1:]
	}
	if len(command) == 0 {
		return errors.New("exec: say what to run, after --")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	config := stack.Config{
		Root: root, Belfry: c.Belfry, Users: c.Users,
		Persist: c.Persist, Environ: os.Environ(), Out: os.Stderr,
	}
	if c.RabbitMQ {
		config.Broker = stack.OwnBroker
	}
	code, err := stack.Exec(ctx, config, watch(), command)
	if err != nil {
		return err
	}
	if code != 0 {
		return exit(code)
	}
	return nil
}

type watchCommand struct{}

func (watchCommand) Run() error { //nolint:unparam // kong wants one
	stack.Watch(os.Stdin)
	return nil
}

// watch is how to start the watcher: this program again.
func watch() []string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return []string{self, "watch"}
}

// An exit is the exit code of a command that was run.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	os.Exit(run())
}

// gcPercent takes a quarter off what FerretDB's bulk inserts cost, for some
// 100 MiB of memory. GOGC, where it is set, decides instead.
const gcPercent = 400

func run() int {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	var c cli
	parsed := kong.Parse(&c, kong.Name("stack"), kong.Description(description))
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once; the watcher ends the rest
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run()
	if code, ok := errors.AsType[exit](err); ok {
		return int(code)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "stack: %v\n", err)
		return 1
	}
	return 0
}
