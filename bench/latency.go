package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

type latencyCmd struct {
	N    int `default:"600" short:"n" help:"Notifications a run."`
	Rate int `default:"20" help:"A second."`
}

// Run measures.
func (l *latencyCmd) Run(ctx context.Context, c *cli) (err error) {
	fmt.Printf("latency: %d notifications at %d/s; Temporal dev server in memory, FerretDB on file, belfry all as one process\n", l.N, l.Rate)
	sink, err := newSink()
	if err != nil {
		return err
	}
	b, err := startBelfry(ctx, c.Belfry, "all", sink.addr, 50)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	bare, err := newBare()
	if err != nil {
		return err
	}
	defer bare.stop()
	return repeat(c, func() (Result, error) {
		limit, err := l.measure(func(string) (func() (time.Time, bool), error) {
			id, err := bare.start(ctx)
			return func() (time.Time, bool) {
				bare.mu.Lock()
				defer bare.mu.Unlock()
				at, ok := bare.ended[id]
				return at, ok
			}, err
		})
		if err != nil {
			return Result{}, err
		}
		value, err := l.measure(func(to string) (func() (time.Time, bool), error) {
			_, err := b.send(to, "latency")
			return func() (time.Time, bool) { return sink.at(to) }, err
		})
		if err != nil {
			return Result{}, err
		}
		return Result{
			Scenario: "latency", Value: ms(value, 0.5), Unit: "ms", Limit: ms(limit, 0.5), Ratio: ms(limit, 0.5) / ms(value, 0.5),
			More: map[string]float64{
				"p95": ms(value, 0.95), "p99": ms(value, 0.99), "bare_p95": ms(limit, 0.95), "bare_p99": ms(limit, 0.99),
				"p99_to_bare": ms(value, 0.99) / ms(limit, 0.99),
			},
		}, nil
	})
}

// ms is a quantile in milliseconds; all are sorted.
func ms(all []time.Duration, q float64) float64 {
	return float64(all[min(int(q*float64(len(all))), len(all)-1)].Microseconds()) / 1000
}

// measure begins something at the rate and gives how long each took until it
// was seen to have ended, shortest first.
func (l *latencyCmd) measure(begin func(to string) (ended func() (time.Time, bool), err error)) ([]time.Duration, error) {
	run := uuid.NewString()
	took := make([]time.Duration, l.N)
	errs := make(chan error, l.N)
	ticker := time.NewTicker(time.Second / time.Duration(l.Rate))
	defer ticker.Stop()
	var group sync.WaitGroup
	for i := range l.N {
		<-ticker.C
		group.Go(func() {
			began := time.Now()
			ended, err := begin(fmt.Sprintf("u%d@%s.example", i, run))
			if err != nil {
				errs <- err
				return
			}
			for deadline := began.Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
				if at, ok := ended(); ok {
					took[i] = at.Sub(began)
					return
				}
				if time.Now().After(deadline) {
					errs <- errors.New("not ended after a minute")
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	slices.Sort(took)
	return took, <-errs
}
