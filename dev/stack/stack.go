package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/belfry-notify/belfry/dev/catcher"
	"github.com/belfry-notify/belfry/dev/ferret"
)

// A Stack is what is running.
type Stack struct {
	config Config
	env    environ // for Belfry: what was given, and where our engines are

	lock   *os.File // of the data folder
	logs   *os.File // of the engines inside this process
	family *family

	catcher  *catcher.Catcher
	ferret   *ferret.Server
	temporal *child
	idp      *child
	broker   broker
	epmd     *child
	rabbitmq *child
	belfry   *child

	printing sync.Mutex
	deaths   chan *child // children that ended by themselves
	stopping chan struct{}
}

// newStack takes the data folder and starts the watcher; what it returns must
// be stopped. watch is the command that calls Watch.
func newStack(config Config, watch []string) (*Stack, error) {
	s := &Stack{config: config, deaths: make(chan *child, 8), stopping: make(chan struct{})}
	var err error
	if s.lock, err = lock(s.config.data()); err != nil {
		return nil, err
	}
	s.broker, err = s.config.chooseBroker()
	if err == nil {
		s.env = s.offers()
		err = s.prepare(watch)
	}
	if err != nil {
		return nil, errors.Join(err, unlock(s.lock))
	}
	return s, nil
}

// prepare does what is left before the first engine starts.
func (s *Stack) prepare(watch []string) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.config.data("logs"), 0o755); err != nil {
		return fmt.Errorf("make the folder of the logs: %w", err)
	}
	if s.logs, err = os.Create(s.config.data("logs", "engines.log")); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	s.family, err = newFamily(s.lock, watch)
	return err
}

// startEngines starts all engines side by side and waits until each can be
// used. It stops none when one fails: the caller does.
func (s *Stack) startEngines(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	engines := s.engines()
	failures := make(chan error, len(engines))
	for _, e := range engines {
		go func() {
			begun := time.Now()
			err := e.start(ctx)
			if err == nil {
				s.printf("  %-20s ready in %.1f s   %s", e.name, time.Since(begun).Seconds(), e.where())
			}
			failures <- err
		}()
	}
	var errs []error
	for range engines {
		if err := <-failures; err != nil {
			errs = append(errs, err)
			cancel() // the others need not get ready any more
		}
	}
	return errors.Join(withoutCancelled(errs)...)
}

// withoutCancelled leaves out the engines that were not ready only because
// another had failed by then.
func withoutCancelled(errs []error) []error {
	var real []error
	for _, err := range errs {
		if !errors.Is(err, context.Canceled) {
			real = append(real, err)
		}
	}
	if len(real) == 0 {
		return errs
	}
	return real
}

func (s *Stack) startFerret(context.Context) (err error) {
	logger := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s.ferret, err = ferret.Start(ferret.Config{
		Dir: s.config.data("mongo"), Addr: address(s.config.Ports.Mongo), Logger: logger.With("engine", "mongo"),
	})
	return err
}

func (s *Stack) startCatcher(context.Context) (err error) {
	logger := slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s.catcher, err = catcher.Start(catcher.Config{
		Dir:      s.config.data("mail"),
		SMTPAddr: address(s.config.Ports.SMTP), HTTPAddr: address(s.config.Ports.Mail),
		Logger: logger.With("engine", "mail"),
	})
	return err
}

// startChild starts a process of the stack. When it ends by itself, deaths
// tells.
func (s *Stack) startChild(name string, cmd *exec.Cmd, log string) (*child, error) {
	c, err := s.family.start(name, cmd, log)
	if err != nil {
		return nil, err
	}
	go func() {
		<-c.ended
		select {
		case <-s.stopping:
		default:
			s.deaths <- c
		}
	}()
	return c, nil
}

// printf tells people a line.
func (s *Stack) printf(format string, args ...any) {
	s.printing.Lock()
	defer s.printing.Unlock()
	_, _ = fmt.Fprintf(s.config.Out, format+"\n", args...)
}

// Stop ends everything: those who use others first. All is gone within 10 s.
func (s *Stack) stop() {
	close(s.stopping)
	ctx, cancel := context.WithTimeout(context.Background(), stopDeadline)
	defer cancel()
	s.belfry.stop(5 * time.Second)
	if s.config.Persist && s.rabbitmq != nil {
		s.rabbitmq.signal(syscall.SIGTERM) // it takes a second, as the others do
	}
	s.idp.stop(time.Second)
	if s.config.Persist {
		s.temporal.stop(2 * time.Second)
	} else if s.temporal != nil {
		s.temporal.signal(syscall.SIGKILL) // it has nothing to save
		<-s.temporal.ended
	}
	if s.config.Persist {
		s.rabbitmq.stop(3 * time.Second)
	} else {
		s.rabbitmq.stop(0)
	}
	s.epmd.stop(0)
	if s.ferret != nil {
		if err := s.ferret.Stop(ctx); err != nil {
			s.printf("MongoDB: %v", err)
		}
	}
	if s.catcher != nil {
		if err := s.catcher.Stop(ctx); err != nil {
			s.printf("mail catcher: %v", err)
		}
	}
	s.family.close()
	_ = s.logs.Close()
	if err := unlock(s.lock); err != nil {
		s.printf("unlock the data folder: %v", err)
	}
}
