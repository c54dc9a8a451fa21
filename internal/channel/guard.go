package channel

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"

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
	Limiter  *Limiter      // shared by the guards of one provider; nil: no limit
	Bulk     bool          // its messages are broadcasts', which leave direct ones the turn
	Failures uint32        // in a row, until the provider is taken for down
	Pause    time.Duration // between a provider's failure and the next probe of it
}

// Defaults of GuardConfig.
const (
	DefaultFailures = 5
	DefaultPause    = 5 * time.Second
)

// A Guard is a provider behind a rate limit and a circuit breaker: while the
// provider is down, messages are refused before they are claimed, but for one
// probe at a time.
type Guard struct {
	Provider
	limiter *Limiter
	bulk    bool
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
	g := &Guard{Provider: p, limiter: config.Limiter, bulk: config.Bulk}
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

// Ready waits for the message's turn, direct ones before bulk ones and high
// priority first. It answers false when there is none soon, and after how long
// to ask again (0: by the caller's own back-off), or when the provider is down.
func (g *Guard) Ready(ctx context.Context, high bool) (ready bool, after time.Duration) {
	if g.breaker.State() == gobreaker.StateOpen {
		return false, 0
	}
	if g.limiter == nil || g.limiter.wait(ctx, g.level(high)) {
		return true, 0
	}
	if ctx.Err() != nil {
		return false, 0
	}
	return false, maxTokenWait
}

func (g *Guard) level(high bool) level {
	switch {
	case g.bulk && high:
		return levelBulkHigh
	case g.bulk:
		return levelBulk
	case high:
		return levelHigh
	default:
		return levelNormal
	}
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

// allow asks the breaker, and asks again while a probe is under way.
func (g *Guard) allow(ctx context.Context) (done func(error), err error) {
	ctx, cancel := context.WithTimeout(ctx, maxTokenWait)
	defer cancel()
	for {
		done, err = g.breaker.Allow()
		if !errors.Is(err, gobreaker.ErrTooManyRequests) {
			return done, err
		}
		if !pause(ctx) {
			return nil, err
		}
	}
}
