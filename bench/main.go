// Command bench measures Belfry against limits measured in the same run, on
// the same server. It runs inside `stack exec`, which starts the servers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// A Result is the last line that a scenario prints, as JSON. Ratio says how
// close to the limit the value is; more is better.
type Result struct {
	Scenario string             `json:"scenario"`
	Value    float64            `json:"value"`
	Unit     string             `json:"unit"`
	Limit    float64            `json:"limit"`
	Ratio    float64            `json:"ratio"`
	More     map[string]float64 `json:"more,omitempty"`
}

type cli struct {
	Belfry    string       `default:"bin/belfry" help:"The belfry binary." env:"BELFRY_BENCH_BINARY"`
	Runs      int          `default:"3" help:"Runs; the one with the median ratio is reported."`
	Single    singleCmd    `cmd:"" help:"Notifications/s to one recipient, against bare workflows/s."`
	Broadcast broadcastCmd `cmd:"" help:"Mails/s of a notification to many, against the same mails sent by go-mail in a loop."`
	Intake    intakeCmd    `cmd:"" help:"Events/s from a full queue until their workflows are started, against bare starts/s of the same workflow."`
	Latency   latencyCmd   `cmd:"" help:"From POST to mail accepted, against a bare workflow's start to end."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func run(ctx context.Context) error {
	if os.Getenv("TEMPORAL_ADDRESS") == "" || os.Getenv("BELFRY_MONGO_URI") == "" {
		return errors.New("the servers are missing: run it with `make bench`")
	}
	var c cli
	command := kong.Parse(&c, kong.Name("bench"), kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c))
	return command.Run()
}

// repeat measures some runs and reports the one with the median ratio.
func repeat(c *cli, measure func() (Result, error)) error {
	var results []Result
	for i := range c.Runs {
		r, err := measure()
		if err != nil {
			return err
		}
		fmt.Printf("run %d: %s\n", i+1, line(r))
		results = append(results, r)
	}
	slices.SortFunc(results, func(a, b Result) int {
		if a.Ratio < b.Ratio {
			return -1
		}
		return 1
	})
	median := results[len(results)/2]
	fmt.Printf("median: %s\n", line(median))
	text, err := json.Marshal(median)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

func line(r Result) string {
	var more []string
	for _, key := range slices.Sorted(mapKeys(r.More)) {
		more = append(more, fmt.Sprintf("%s %.4g", key, r.More[key]))
	}
	return fmt.Sprintf("%.1f %s, limit %.1f, ratio %.2f (%s)", r.Value, r.Unit, r.Limit, r.Ratio, strings.Join(more, ", "))
}
