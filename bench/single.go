package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
)

var activityName = activity.RegisterOptions{Name: "Nothing"}

type singleCmd struct {
	N           int    `default:"2000" short:"n" help:"Notifications a run."`
	Concurrency int    `default:"50" short:"c" help:"Requests at a time."`
	Env         string `help:"Variables for belfry, NAME=value, separated by commas."`

	last string // the id of the last notification
}

// Run measures.
func (s *singleCmd) Run(ctx context.Context, c *cli) (err error) {
	fmt.Printf("single: %d notifications to one recipient, %d at a time; Temporal dev server in memory, FerretDB on file, belfry all as one process\n", s.N, s.Concurrency)
	sink, err := newSink()
	if err != nil {
		return err
	}
	var variables []string
	if s.Env != "" {
		variables = strings.Split(s.Env, ",")
	}
	b, err := startBelfry(ctx, c.Belfry, "all", sink.addr, s.Concurrency, variables...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	bare, err := newBare()
	if err != nil {
		return err
	}
	defer bare.stop()
	if _, err := s.belfry(b, sink, max(s.N/10, 1)); err != nil { // warm up
		return err
	}
	if _, err := s.bare(ctx, bare, max(s.N/10, 1)); err != nil {
		return err
	}
	return repeat(c, func() (Result, error) {
		limit, err := s.bare(ctx, bare, s.N)
		if err != nil {
			return Result{}, err
		}
		before := b.cpuSeconds()
		value, err := s.belfry(b, sink, s.N)
		if err != nil {
			return Result{}, err
		}
		events, err := bare.historyEvents(ctx, "notification/"+s.last)
		if err != nil {
			return Result{}, err
		}
		return Result{
			Scenario: "single", Value: value, Unit: "notifications/s", Limit: limit, Ratio: value / limit,
			More: map[string]float64{
				"cpu_ms_per_notification": (b.cpuSeconds() - before) * 1000 / float64(s.N),
				"peak_memory_mib":         b.peakMemory(),
				"history_events":          events,
			},
		}, nil
	})
}

// belfry gives notifications/s, from the first POST to the last one recorded.
func (s *singleCmd) belfry(b *belfry, sink *sink, n int) (float64, error) {
	run := uuid.NewString()
	ids := make([]string, n)
	began := time.Now()
	err := spread(n, s.Concurrency, func(i int) (err error) {
		ids[i], err = b.send(fmt.Sprintf("u%d@%s.example", i, run), "bench")
		return err
	})
	if err != nil {
		return 0, err
	}
	s.last = ids[n-1]
	sink.wait(run+".example", n) // looking at the records before would disturb those who write them
	last, err := b.finished(ids)
	return float64(n) / last.Sub(began).Seconds(), err
}

// bare gives bare workflows/s, from the first start to the last one's end.
func (s *singleCmd) bare(ctx context.Context, b *bare, n int) (float64, error) {
	ids := make([]string, n)
	began := time.Now()
	err := spread(n, s.Concurrency, func(i int) (err error) {
		ids[i], err = b.start(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	last, err := b.wait(ids)
	return float64(n) / last.Sub(began).Seconds(), err
}

// spread calls a function n times, some at a time, and gives its first error.
func spread(n, concurrency int, call func(i int) error) error {
	work := make(chan int)
	errs := make(chan error, n)
	var group sync.WaitGroup
	for range concurrency {
		group.Go(func() {
			for i := range work {
				if err := call(i); err != nil {
					errs <- err
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
	close(errs)
	return <-errs
}
