package channel

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxTokenWait is how long a message may wait for its turn in memory. One that
// would wait longer waits in Temporal.
const maxTokenWait = 3 * time.Second

// comesBack is how long after it was refused a message is waited for: for as
// long again it waits in Temporal, then in memory, and some time is lost between.
const comesBack = 3 * maxTokenWait

// A level says who goes first: those of a lower one.
type level int

const (
	levelHigh level = iota
	levelNormal
	levelBulkHigh
	levelBulk
	levels
)

// A Limiter keeps the rate of one provider. All guards of the provider share
// it, and the direct messages among theirs go before the bulk ones.
type Limiter struct {
	total  rate.Limit
	tokens *rate.Limiter

	// A message takes the turn of its own level, then that of each one above but
	// the highest, which has none, and then the next token. So of all those of
	// lower levels one alone stands in the way of a message.
	turns [levels]chan struct{}

	mu  sync.Mutex
	due [levels]time.Time // until when a refused message of a level is expected back
}

// NewLimiter makes a limiter for so many messages a second. All of them may be
// used, until SetShare says otherwise.
func NewLimiter(total rate.Limit) *Limiter {
	l := &Limiter{total: total, tokens: rate.NewLimiter(total, burst(total))}
	for i := range l.turns {
		l.turns[i] = make(chan struct{}, 1)
	}
	return l
}

// burst is a tenth of a second's worth.
func burst(limit rate.Limit) int { return max(1, int(limit)/10) }

// SetShare sets which part of the rate, from 0 to 1, this process may use.
func (l *Limiter) SetShare(share float64) {
	limit := l.total * rate.Limit(share)
	l.tokens.SetLimit(limit)
	if limit > 0 {
		l.tokens.SetBurst(burst(limit))
	}
}

// wait waits for a token. It is false when there is none soon.
func (l *Limiter) wait(ctx context.Context, of level) bool {
	waiting, cancel := context.WithTimeout(ctx, maxTokenWait)
	defer cancel()
	if l.take(waiting, of) {
		return true
	}
	if ctx.Err() == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.due[of] = time.Now().Add(comesBack)
	}
	return false
}

func (l *Limiter) take(ctx context.Context, of level) bool {
	for next := of; ; next-- {
		for next < of && l.expects(next) {
			if !pause(ctx) {
				return false
			}
		}
		if next == levelHigh {
			break
		}
		select {
		case l.turns[next] <- struct{}{}:
			defer func() { <-l.turns[next] }()
		case <-ctx.Done():
			return false
		}
	}
	for l.tokens.Limit() == 0 || l.tokens.Wait(ctx) != nil { // the share may change meanwhile
		if !pause(ctx) {
			return false
		}
	}
	return true
}

// expects says whether lower levels are to stay back until a refused message of
// the level has had the time to come again from Temporal. They are where tokens
// are so rare that it could be refused over and over, and the many of a
// broadcast, of which some always wait in memory, would take all of them.
func (l *Limiter) expects(of level) bool {
	if float64(l.tokens.Limit())*maxTokenWait.Seconds() >= 2 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.due[of])
}

// pause waits a little; it is false when ctx has ended.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}
