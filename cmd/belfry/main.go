// Command belfry is Belfry: each of its roles, and the tools to use it, in one
// binary.
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

	"github.com/belfry-notify/belfry/internal/config"
)

// version is set at build time.
var version = "dev"

type cli struct {
	API        apiCommand        `cmd:"" help:"Answer the HTTP API."`
	Worker     workerCommand     `cmd:"" help:"Run the notifications: look up, render, send, record."`
	Starter    starterCommand    `cmd:"" help:"Take in events from RabbitMQ."`
	All        allCommand        `cmd:"" help:"api, worker and starter in one process."`
	IDP        idpCommand        `cmd:"" name:"idp" help:"Serve users from a file over the idp contract."`
	Codec      codecCommand      `cmd:"" help:"Decrypt what is encrypted in Temporal, for its UI and command line."`
	Send       sendCommand       `cmd:"" help:"Send a notification."`
	Audience   audienceCommand   `cmd:"" help:"Put, show and delete recipient lists of any length."`
	Status     statusCommand     `cmd:"" help:"See how a notification stands. Exit code 1: somebody was not reached."`
	List       listCommand       `cmd:"" help:"List notifications, newest first."`
	Template   templateCommand   `cmd:"" help:"List, show, put and preview templates."`
	Cancel     cancelCommand     `cmd:"" help:"Stop what is unsent of a notification."`
	Reschedule rescheduleCommand `cmd:"" help:"Move the time at which a waiting notification is to go out."`
	Pause      pauseCommand      `cmd:"" help:"Hold back what is not begun of a notification."`
	Resume     resumeCommand     `cmd:"" help:"Go on with a paused notification."`
	Schedule   scheduleCommand   `cmd:"" help:"Create, list, show, pause, unpause, trigger and delete schedules."`
	Trigger    triggerCommand    `cmd:"" help:"List, show, put, test and delete triggers, which make notifications of events."`
	Inbox      inboxCommand      `cmd:"" help:"List what is in a user's inbox, and mark it as read."`
	Listen     listenCommand     `cmd:"" help:"Print what comes into a user's inbox, live."`
	Key        keyCommand        `cmd:"" help:"Create, list and revoke API keys."`
	Emit       emitCommand       `cmd:"" help:"Publish events to RabbitMQ."`
	Health     healthCommand     `cmd:"" help:"Ask the API on this machine whether it is alive, as a container's health check."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(env *environment) error { return env.print(version + "\n") }

func main() { os.Exit(run()) }

// gcPercent takes a tenth off what sending costs, for some 30 MiB of memory.
// GOGC, where it is set, decides instead.
const gcPercent = 250

func run() int {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return execute(ctx, os.Args[1:], processEnvironment())
}

// Exit codes other than 0.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells have it for Ctrl-C
)

// errNotAllSent makes the exit code 1 and prints nothing: what was not sent has
// been printed.
var errNotAllSent = errors.New("not everything was sent")

// fromFile finds the value of a flag that a variable names a file for.
func fromFile(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if value, from, err := config.Read(os.LookupEnv, name); err != nil || from != name {
			return value, err
		}
	}
	return nil, nil
}

// A usageError says what is wrong with the arguments.
type usageError string

func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// execute runs a command line, prints what went wrong, and gives the exit code.
func execute(ctx context.Context, args []string, env *environment) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parser, err := kong.New(&cli{},
		kong.Name("belfry"),
		kong.Description("Durable notifications. Servers are set up by environment variables: see the README."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(env.out, env.err),
		kong.Resolvers(kong.ResolverFunc(fromFile)),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(env))
	if err != nil {
		env.complain(err.Error())
		return exitFailed
	}
	command, err := parser.Parse(args)
	if err != nil {
		env.complain(err.Error() + "\nTry belfry --help, or --help after a command.")
		return exitUsage
	}
	switch err = command.Run(); {
	case err == nil:
		return 0
	case errors.Is(err, errNotAllSent):
		return exitFailed
	case errors.Is(err, context.Canceled):
		env.complain(err.Error())
		return exitInterrupted
	}
	env.complain(err.Error())
	if _, wrong := errors.AsType[usageError](err); wrong {
		return exitUsage
	}
	return exitFailed
}
