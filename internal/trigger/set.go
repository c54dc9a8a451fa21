package trigger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// How old what a Set knows may be: it looks again after freshFor, and knows
// nothing after staleAfter.
const (
	freshFor   = 2 * time.Second
	staleAfter = 5 * time.Second
)

// pageOfTriggers is how many triggers are listed at a time.
const pageOfTriggers = 500

// A Store lists the newest versions of up to limit triggers whose names come
// after the given one, in the order of their names.
type Store interface {
	ListTriggers(ctx context.Context, after string, limit int) ([]Definition, error)
}

// A Set knows all triggers, compiled. A change of one takes effect within
// staleAfter. It is safe for concurrent use.
type Set struct {
	store Store
	log   *slog.Logger
	Now   func() time.Time

	mu       sync.Mutex
	versions map[string]*Program   // by name@version
	enabled  map[string][]*Program // by the type of their events, in the order of their names
	listed   time.Time             // as of when
	tried    time.Time             // the last time
	err      error                 // of the last time
}

// NewSet makes a Set that lists the triggers when it is first asked.
func NewSet(store Store, log *slog.Logger) *Set { return &Set{store: store, log: log, Now: time.Now} }

// For gives the enabled triggers for events of a type. It is from memory, but
// for a look every freshFor. While the store is away it fails once what it knows
// is older than staleAfter: then no event can be told to have no trigger.
func (s *Set) For(ctx context.Context, eventType string) ([]*Program, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.Now(); now.Sub(s.tried) >= freshFor {
		s.tried, s.err = now, s.list(ctx, now)
		if s.err != nil {
			if ctx.Err() != nil { // it is this caller who gave up
				s.tried = time.Time{}
				return nil, s.err
			}
			s.tried = s.Now() // it may have taken long
			s.log.WarnContext(ctx, "triggers cannot be listed", "error", s.err)
		}
	}
	if s.err != nil && s.Now().Sub(s.listed) > staleAfter {
		return nil, s.err
	}
	return s.enabled[eventType], nil
}

func (s *Set) list(ctx context.Context, now time.Time) error {
	versions, enabled := map[string]*Program{}, map[string][]*Program{}
	for after, more := "", true; more; {
		page, err := s.store.ListTriggers(ctx, after, pageOfTriggers)
		if err != nil {
			return fmt.Errorf("list triggers: %w", err)
		}
		for i := range page {
			d := &page[i]
			id := fmt.Sprintf("%s@%d", d.Name, d.Version)
			program := s.versions[id]
			if program == nil {
				program = s.compile(ctx, d)
			}
			versions[id] = program
			if d.Enabled {
				enabled[d.EventType] = append(enabled[d.EventType], program)
			}
			after = d.Name
		}
		more = len(page) == pageOfTriggers
	}
	s.versions, s.enabled, s.listed = versions, enabled, now
	return nil
}

// compile gives a program that fails on every event where a trigger was stored
// that does not compile any more: its events are not lost in silence.
func (s *Set) compile(ctx context.Context, d *Definition) *Program {
	program, err := Compile(d)
	if err == nil {
		return program
	}
	s.log.ErrorContext(ctx, "trigger does not compile", "trigger", d.Name, "version", d.Version, "error", err)
	return &Program{Definition: d, broken: &notify.Error{
		Code: notify.CodeInvalid, Detail: fmt.Sprintf("trigger %q does not compile", d.Name), Err: err,
	}}
}
