package channel

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A Provider carries messages of one channel.
type Provider interface {
	Name() string
	Send(ctx context.Context, m notify.Message) notify.Outcome
	Close() error
}

// GuardConfig protects a provider, and what depends on it. Zero means the
// default.
type GuardConfig struct {
	Rate     rate.Limit    // messages a second of this process; 0: no limit
	Failures uint32        // in a row, until the provider is taken for down
	Pause    time.Duration // between a provider's failure and the next probe of it
}

// Defaults of GuardConfig.
const (
	DefaultFailures = 5
	DefaultPause    = 5 * time.Second
)

// maxTokenWait is how long a message may wait for its turn in memory. One that
// would wait longer waits in Temporal.
const maxTokenWait = 3 * time.Second

// A Guard is a provider behind a rate limit and a circuit breaker: while the
// provider is down, messages are refused before they are claimed, but for one
// probe at a time.
type Guard struct {
	Provider
	limit   *rate.Limiter
	normal  chan struct{} // held by the one message of normal priority that has the next token
	breaker *gobreaker.TwoStepCircuitBreaker[notify.Outcome]
}

// NewGuard guards a provider. Changed is called when its breaker opens or
// closes; it may be nil.
func NewGuard(p Provider, config GuardConfig, changed func(provider, from, to string)) *Guard {
	if config.Failures == 0 {
		config.Failures = DefaultFailures
	}
	if config.Pause == 0 {
		config.Pause = DefaultPause
	}
	g := &Guard{Provider: p, normal: make(chan struct{}, 1)}
	if config.Rate > 0 {
		g.limit = rate.NewLimiter(config.Rate, max(1, int(config.Rate)/10)) // a tenth of a second's worth at once
	}
	g.breaker = gobreaker.NewTwoStepCircuitBreaker[notify.Outcome](gobreaker.Settings{
		Name:        p.Name(),
		MaxRequests: 1,
		Timeout:     config.Pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= config.Failures },
		OnStateChange: func(name string, from, to gobreaker.State) {
			if changed != nil {
				changed(name, from.String(), to.String())
			}
		},
	})
	return g
}

// Ready waits for the message's turn, high priority first. It answers false
// when there is none soon, and after how long to ask again (0: by the caller's
// own back-off), or when the provider is down.
func (g *Guard) Ready(ctx context.Context, high bool) (ready bool, after time.Duration) {
	if g.breaker.State() == gobreaker.StateOpen {
		return false, 0
	}
	if g.limit == nil {
		return true, 0
	}
	if !high {
		timer := time.NewTimer(maxTokenWait)
		defer timer.Stop()
		select {
		case g.normal <- struct{}{}:
			defer func() { <-g.normal }()
		case <-timer.C:
			return false, maxTokenWait
		case <-ctx.Done():
			return false, 0
		}
	}
	waiting, cancel := context.WithTimeout(ctx, maxTokenWait)
	defer cancel()
	if err := g.limit.Wait(waiting); err != nil {
		return false, maxTokenWait
	}
	return true, 0
}

// Send sends through the breaker: while it is open it refuses without a try,
// and while there is a probe it waits a little for what becomes of that.
func (g *Guard) Send(ctx context.Context, m notify.Message) notify.Outcome {
	done, err := g.allow(ctx)
	if err != nil {
		return notify.Outcome{Kind: notify.OutcomeTransient, Detail: g.Name() + " is down: waiting for a probe of it"}
	}
	outcome := g.Provider.Send(ctx, m)
	if outcome.Down {
		done(errors.New(outcome.Detail))
	} else {
		done(nil)
	}
	return outcome
}

// probePoll is how often those who wait for a probe look what became of it.
const probePoll = 20 * time.Millisecond

// allow asks the breaker, and asks again while a probe is under way.
func (g *Guard) allow(ctx context.Context) (done func(error), err error) {
	ctx, cancel := context.WithTimeout(ctx, maxTokenWait)
	defer cancel()
	for {
		done, err = g.breaker.Allow()
		if !errors.Is(err, gobreaker.ErrTooManyRequests) {
			return done, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(probePoll):
		}
	}
}
