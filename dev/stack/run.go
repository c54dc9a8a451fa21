package stack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// errEnded is returned when a part of the stack ended by itself.
var errEnded = errors.New("stopped everything, since a part of it had ended")

// Dev runs everything until ctx ends. watch is the command that calls Watch.
func Dev(ctx context.Context, config Config, watch []string) error {
	config.belfry = true
	return run(ctx, config, watch, func(s *Stack) error {
		s.printf("starting belfry ...")
		if err := s.startBelfry(ctx); err != nil {
			return err
		}
		if err := s.seed(ctx); err != nil {
			s.printf("the welcome template could not be made: %v", err)
		}
		s.welcome()
		return nil
	})
}

// Engines runs everything but Belfry until ctx ends. Once a Belfry is started
// beside it, it gets the welcome template.
func Engines(ctx context.Context, config Config, watch []string) error {
	seeding, stopSeeding := context.WithCancel(ctx)
	var seeder sync.WaitGroup
	defer seeder.Wait()
	defer stopSeeding()
	return run(ctx, config, watch, func(s *Stack) error {
		s.printf("\nThe engines run; bin/belfry api, worker, ... can be started beside them.")
		if lines := s.notDefault(); len(lines) > 0 {
			s.printf("Give it these, since they differ from its defaults:\n  export %s", strings.Join(lines, "\n  export "))
		}
		s.printf("Ctrl-C stops them.")
		seeder.Go(func() { s.seedOnceReady(seeding) })
		return nil
	})
}

// run starts the engines, then what comes after them, and stops it all when
// ctx ends, which is no error, or when a part does.
func run(ctx context.Context, config Config, watch []string, then func(*Stack) error) error {
	s, err := newStack(config, watch)
	if err != nil {
		return err
	}
	defer s.stop()
	if s.broker.off != "" {
		s.printf("events are off: %s", s.broker.off)
	}
	s.printf("starting %s ...", s.names())
	err = s.startEngines(ctx)
	if err == nil {
		err = then(s)
	}
	if err == nil {
		err = s.wait(ctx)
	}
	if ctx.Err() == nil {
		return err
	}
	s.printf("\nstopping ...")
	return nil
}

// wait returns when ctx ends, or when a part of the stack does.
func (s *Stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case c := <-s.deaths:
		s.printf("%s ended by itself (%s)%s", c.name, c.ending(), tail(c.log))
		return errEnded
	}
}

// names lists the engines for people.
func (s *Stack) names() string {
	var names []string
	for _, e := range s.engines() {
		names = append(names, e.name)
	}
	if len(names) == 0 {
		return "no engines (all are given)"
	}
	return strings.Join(names, ", ")
}

// notDefault lists the variables that Belfry must be given to find the engines.
func (s *Stack) notDefault() []string {
	defaults := map[string]string{
		envHTTP:     "127.0.0.1:8080",
		envMongo:    "mongodb://127.0.0.1:27017/belfry",
		envSMTP:     "smtp://127.0.0.1:1025",
		envIDP:      "127.0.0.1:50051",
		envTemporal: "127.0.0.1:7233",
	}
	given := environ(s.config.Environ)
	var lines []string
	for _, name := range []string{envHTTP, envMongo, envSMTP, envIDP, envAMQP, envTemporal, envTemporalUI} {
		value := s.env.get(name)
		if value != "" && value != defaults[name] && !given.given(name) {
			lines = append(lines, fmt.Sprintf("%s='%s'", name, value))
		}
	}
	return lines
}
