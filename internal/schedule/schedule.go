// Package schedule knows recurring notifications: what they are, when they run,
// and what Temporal is told about that.
package schedule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/recurrence"
)

// DefaultCatchupWindow is how late a run may start by default.
const DefaultCatchupWindow = time.Hour

// Limits of a definition. Temporal plans at least half of planAhead, which is
// longer than any run can be late.
const (
	MaxJitter        = 24 * time.Hour
	MinCatchupWindow = time.Minute
	MaxCatchupWindow = 30 * 24 * time.Hour
)

// An Overlap says what becomes of a run while the notification of the run
// before it has not ended.
type Overlap string

// What becomes of it.
const (
	OverlapAllowAll Overlap = "allow_all" // it runs beside it
	OverlapSkip     Overlap = "skip"      // it is skipped
)

// A Definition is what a caller says of a schedule. Exactly one of Cron, Every
// and Calendar is set.
type Definition struct {
	Cron          string               `json:"cron,omitempty"`
	Every         time.Duration        `json:"every,omitempty"`
	Calendar      *recurrence.Calendar `json:"calendar,omitempty"`
	TimeZone      string               `json:"time_zone"`
	StartAt       *time.Time           `json:"start_at,omitempty"`
	EndAt         *time.Time           `json:"end_at,omitempty"`
	Jitter        time.Duration        `json:"jitter,omitempty"`
	CatchupWindow time.Duration        `json:"catchup_window"`
	Overlap       Overlap              `json:"overlap"`
	Notification  notify.Request       `json:"notification"` // its template is pinned by each run
}

// Same says whether two definitions mean the same.
func (d Definition) Same(other Definition) bool {
	one, oneErr := json.Marshal(d)
	two, twoErr := json.Marshal(other)
	return oneErr == nil && twoErr == nil && bytes.Equal(one, two)
}

// A Schedule is one immutable version of a recurring notification. Pausing it
// makes another version.
type Schedule struct {
	Name       string    `json:"name"`
	Version    int       `json:"version"`
	CreatedAt  time.Time `json:"created_at"` // of the schedule, not of this version
	Definition `bson:",inline"`
	Paused     bool `json:"paused"`
}

// Rule is when the schedule runs. A period is counted from the schedule's
// start, or else from its creation.
func (s *Schedule) Rule() recurrence.Rule {
	rule := recurrence.Rule{
		Cron: s.Cron, Every: s.Every, Calendar: s.Calendar, Zone: s.TimeZone, StartAt: s.StartAt, EndAt: s.EndAt,
	}
	if s.StartAt == nil {
		rule.Anchor = s.CreatedAt
	}
	return rule
}

// NextRuns are the next n times after a moment at which the schedule runs, or
// would if it were not paused.
func (s *Schedule) NextRuns(after time.Time, n int) ([]time.Time, error) {
	r, err := s.recurrence()
	if err != nil {
		return nil, err
	}
	return r.Next(after, n), nil
}

// RunsBetween are the first limit times from one moment up to, but without,
// another.
func (s *Schedule) RunsBetween(from, to time.Time, limit int) ([]time.Time, error) {
	r, err := s.recurrence()
	if err != nil {
		return nil, err
	}
	return r.Between(from, to.Add(-time.Nanosecond), limit), nil
}

// RunsAt says whether a moment is one at which the schedule runs.
func (s *Schedule) RunsAt(at time.Time) bool {
	runs, err := s.RunsBetween(at, at.Add(time.Second), 1)
	return err == nil && len(runs) == 1
}

// recurrence was checked when the schedule was accepted, but maybe with other
// data of the time zones.
func (s *Schedule) recurrence() (*recurrence.Recurrence, error) {
	r, err := recurrence.Compile(s.Rule())
	if err != nil {
		return nil, fmt.Errorf("schedule %s@%d: %w", s.Name, s.Version, err)
	}
	return r, nil
}

// When says in a few words when the schedule runs, such as "0 9 * * 1-5 in
// Europe/Berlin".
func (s *Schedule) When() string {
	switch {
	case s.Every != 0:
		return "every " + Short(s.Every)
	case s.Calendar != nil:
		text, err := json.Marshal(s.Calendar)
		if err != nil { // it is numbers
			panic(err)
		}
		return string(text) + " in " + s.TimeZone
	}
	return s.Cron + " in " + s.TimeZone
}

// Short is a duration as people write it: 1h, not 1h0m0s.
func Short(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}
