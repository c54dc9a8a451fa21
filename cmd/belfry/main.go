// Command belfry is Belfry: each of its roles, and the tools to use it, in one
// binary.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set at build time.
var version = "dev"

type cli struct {
	API     apiCommand     `cmd:"" help:"Answer the HTTP API."`
	Worker  workerCommand  `cmd:"" help:"Run the notifications: look up, render, send, record."`
	Starter starterCommand `cmd:"" help:"Take in events from RabbitMQ."`
	All     allCommand     `cmd:"" help:"api, worker and starter in one process."`
	IDP     idpCommand     `cmd:"" name:"idp" help:"Serve users from a file over the idp contract."`
	Send    sendCommand    `cmd:"" help:"Send a notification."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	fmt.Println(version)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "belfry:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	command := kong.Parse(&c,
		kong.Name("belfry"),
		kong.Description("Durable notifications. Servers are set up by environment variables: see the README."),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)))
	return command.Run()
}
