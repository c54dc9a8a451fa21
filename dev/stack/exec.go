package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Exec starts the engines on free ports, with their data in a folder of their
// own that is deleted afterwards, and runs a command with the variables that
// say where they are. It returns the command's exit code, which is 128 and the
// signal's number where it was ended by one.
func Exec(ctx context.Context, config Config, watch, command []string) (code int, err error) {
	if config.Ports, err = freePorts(); err != nil {
		return 1, err
	}
	if config.Data, err = os.MkdirTemp("", "belfry-"); err != nil {
		return 1, fmt.Errorf("make a folder for the data: %w", err)
	}
	defer func() { _ = os.RemoveAll(config.Data) }()
	s, err := newStack(config, watch)
	if err != nil {
		return 1, err
	}
	defer s.stop()
	if err := s.startEngines(ctx); err != nil {
		return 1, err
	}
	c, err := s.startCommand(command)
	if err != nil {
		return 1, err
	}
	defer c.stop(5 * time.Second)
	select {
	case <-c.ended:
		return exitCode(c.err), nil
	case <-ctx.Done():
		c.stop(5 * time.Second)
		return exitCode(c.err), nil
	case dead := <-s.deaths:
		return 1, fmt.Errorf("%s ended by itself (%s)%s", dead.name, dead.ending(), tail(dead.log))
	}
}

// startCommand runs a command with the variables that say where the engines
// are, on the terminal.
func (s *Stack) startCommand(command []string) (*child, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = s.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input(), os.Stdout, os.Stderr
	return s.family.start(command[0], cmd, "")
}

// input is standard input, except where that is a terminal: a process group of
// its own cannot read from it.
func input() *os.File {
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return nil
	}
	return os.Stdin
}

// exitCode is what a shell would make of a command's end.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}
