package schedule

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/belfry-notify/belfry/internal/recurrence"
)

// How much of a schedule Temporal knows in advance: planAhead, and planRuns
// runs whatever the time they take. Once half of one is used up it is told more.
const (
	planAhead = 180 * 24 * time.Hour
	planRuns  = 10
)

// LastYear is the last one in which schedules run: Temporal knows no later.
const LastYear = 2100

// A Plan is when Temporal is to start the runs of one version of a schedule:
// at a period, or at the minutes of some calendars in UTC.
type Plan struct {
	Version       int
	Every, Offset time.Duration
	Calendars     []recurrence.UTCCalendar
	Until         *time.Time // the first time that it leaves out; nil: none
}

// Plan plans a schedule as of a moment. A run that jitter holds back at this
// moment is still in it.
func (s *Schedule) Plan(now time.Time) (*Plan, error) {
	r, err := s.recurrence()
	if err != nil {
		return nil, err
	}
	plan := &Plan{Version: s.Version}
	if every, offset, ok := r.Interval(); ok {
		plan.Every, plan.Offset = every, offset
		return plan, nil
	}
	var times []time.Time
	ahead := 0
	for at := range r.From(now.Add(-s.Jitter - time.Minute)) {
		if at.Year() > LastYear || ahead >= planRuns && at.Sub(now) > planAhead {
			plan.Until = &at
			break
		}
		if at.After(now) {
			ahead++
		}
		times = append(times, at)
	}
	plan.Calendars = recurrence.Calendars(times)
	return plan, nil
}

// Holds says whether Temporal, which was told of a version up to a time (nil:
// to its end), knows enough about the schedule at a moment.
func (s *Schedule) Holds(version int, until *time.Time, now time.Time) (bool, error) {
	if version != s.Version || until == nil {
		return version == s.Version, nil
	}
	next, err := s.NextRuns(now, planRuns/2)
	if err != nil {
		return false, err
	}
	known := len(next) == 0 || next[len(next)-1].Before(*until)
	return known && until.Sub(now) > planAhead/2, nil
}

// Note says about a schedule in Temporal what a person wants to know, and a
// sweep: of which version it was made, and until when it is planned.
func (s *Schedule) Note(until *time.Time) string {
	note := fmt.Sprintf("%s (version %d", s.When(), s.Version)
	if until != nil {
		note += ", planned until " + until.UTC().Format(time.RFC3339)
	}
	return note + ")"
}

var note = regexp.MustCompile(`\(version ([0-9]+)(?:, planned until ([0-9TZ:-]+))?\)$`)

// ParseNote reads what Note wrote. It is not ok for what somebody else did, as
// an operator who paused the schedule in Temporal.
func ParseNote(text string) (version int, until *time.Time, ok bool) {
	parts := note.FindStringSubmatch(text)
	if parts == nil {
		return 0, nil, false
	}
	version, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0, nil, false
	}
	if parts[2] != "" {
		at, err := time.Parse(time.RFC3339, parts[2])
		if err != nil {
			return 0, nil, false
		}
		until = &at
	}
	return version, until, true
}
