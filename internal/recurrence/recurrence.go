// Package recurrence computes the instants at which something recurs, from a
// cron expression, an interval or a calendar, in a time zone. Schedules take
// them all from here, since Temporal reads a zone in its own way: it fires
// some local times never, or at the wrong one of two (temporal issue 8205).
// Nothing here reads a clock.
//
// A cron expression whose hour field has no star and no step, and every
// calendar, means times of the day: each comes once a local day. Where the
// clock is set forward over one, it comes at the first instant after the gap;
// where the clock is set back and one repeats, it comes the first time only.
// Any other cron expression ("*/15 * * * *") means every instant at which the
// local clock matches, and an interval counts elapsed time; both keep their
// pace through a change of the clock. A day that a zone left out altogether
// (30 December 2011 in Apia) has no instants.
package recurrence

import (
	"iter"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones are read on machines without the database too
)

// A Rule says when something recurs: by one of Cron, Every and Calendar. Its
// times are cut to the second.
type Rule struct {
	Cron     string        // five fields, or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually
	Every    time.Duration // whole seconds, a minute or more
	Calendar *Calendar
	Zone     string     // an IANA name; with Every too
	Anchor   time.Time  // what Every counts from, in both directions; if zero, StartAt, else the Unix epoch
	StartAt  *time.Time // no instant comes before
	EndAt    *time.Time // no instant comes after
}

// A Recurrence is a rule that has been checked. It is safe for use by several
// goroutines.
type Recurrence struct {
	every, offset int64 // seconds; without a wall
	wall          *wall
	first, last   int64 // Unix seconds, both included
}

const minEvery = time.Minute

// Unix seconds that no time.Time of the years 0 to 9999 reaches.
const (
	dawn = -1 << 40
	doom = 1 << 40
)

// Compile checks a rule. An error is of type Errors and names all that is
// wrong.
func Compile(rule Rule) (*Recurrence, error) {
	var wrong Errors
	r := &Recurrence{first: dawn, last: doom}
	zone, err := loadZone(rule.Zone)
	wrong.add(err)
	switch given := rule.given(); {
	case len(given) == 0:
		wrong.refuse("cron", "one of cron, every and calendar is required")
	case len(given) > 1:
		for _, extra := range given[1:] {
			wrong.refuse(extra, "cannot stand beside "+given[0]+": only one of cron, every and calendar may be given")
		}
	case rule.Every != 0:
		wrong.add(r.setEvery(rule))
	case rule.Calendar != nil:
		r.wall, err = rule.Calendar.wall()
		wrong.add(err)
	default:
		r.wall, err = parseCron(rule.Cron)
		wrong.add(err)
	}
	if rule.StartAt != nil {
		r.first = rule.StartAt.Unix()
	}
	if rule.EndAt != nil {
		r.last = rule.EndAt.Unix()
	}
	if rule.StartAt != nil && rule.EndAt != nil && r.last <= r.first {
		wrong.refuse("end_at", "must be after start_at")
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	if r.wall != nil {
		r.wall.zone = zone
	}
	return r, nil
}

// given names what says when.
func (rule *Rule) given() []string {
	var names []string
	if rule.Cron != "" {
		names = append(names, "cron")
	}
	if rule.Every != 0 {
		names = append(names, "every")
	}
	if rule.Calendar != nil {
		names = append(names, "calendar")
	}
	return names
}

func (r *Recurrence) setEvery(rule Rule) error {
	if rule.Every < minEvery || rule.Every%time.Second != 0 {
		return Errors{{"every", "must be one minute (1m) or more, in whole seconds"}}
	}
	anchor := int64(0)
	switch {
	case !rule.Anchor.IsZero():
		anchor = rule.Anchor.Unix()
	case rule.StartAt != nil:
		anchor = rule.StartAt.Unix()
	}
	r.every = int64(rule.Every / time.Second)
	r.offset = anchor - floor(anchor, r.every)
	return nil
}

// loadZone refuses what is no zone or, as Go's Local and Debian's localtime,
// another zone on another machine. Those below posix and right are not
// everywhere, and the latter count leap seconds.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	switch {
	case err != nil, name == "", name == "Local", name == "localtime", name == "posixrules", name == "Factory",
		strings.HasPrefix(name, "posix/"), strings.HasPrefix(name, "right/"):
		return nil, Errors{{"time_zone", "must be the name of a zone in the IANA database, such as Europe/Berlin or UTC"}}
	}
	return zone, nil
}

// Next is the first n instants strictly after a time, or as many as there are:
// soonest first, no two alike, in UTC and in whole seconds, as everywhere here.
func (r *Recurrence) Next(after time.Time, n int) []time.Time {
	return gather(r.instants(after.Unix()+1, doom), n)
}

// Between is the first limit instants from one time to another, both included.
func (r *Recurrence) Between(from, to time.Time, limit int) []time.Time {
	return gather(r.instants(secondFrom(from), to.Unix()), limit)
}

// From is all instants from a time on, itself included. They end with the
// rule, if it does.
func (r *Recurrence) From(from time.Time) iter.Seq[time.Time] {
	return inUTC(r.instants(secondFrom(from), doom))
}

// Interval is what Temporal needs of a rule with Every: its instants are the
// Unix epoch + offset + k*every, within StartAt and EndAt. It is not ok for
// other rules.
func (r *Recurrence) Interval() (every, offset time.Duration, ok bool) {
	return time.Duration(r.every) * time.Second, time.Duration(r.offset) * time.Second, r.wall == nil
}

func (r *Recurrence) instants(from, to int64) iter.Seq[int64] {
	from, to = max(from, r.first), min(to, r.last)
	if r.wall != nil {
		return r.wall.instants(from, to)
	}
	return func(yield func(int64) bool) {
		for at := floor(from-r.offset-1, r.every) + r.every + r.offset; at <= to; at += r.every {
			if !yield(at) {
				return
			}
		}
	}
}

func gather(instants iter.Seq[int64], limit int) []time.Time {
	if limit <= 0 {
		return nil
	}
	var times []time.Time
	for at := range inUTC(instants) {
		times = append(times, at)
		if len(times) == limit {
			break
		}
	}
	return slices.Clip(times)
}

func inUTC(instants iter.Seq[int64]) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for at := range instants {
			if !yield(time.Unix(at, 0).UTC()) {
				return
			}
		}
	}
}

// secondFrom is the first whole second that is not before t.
func secondFrom(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// floor is the greatest multiple of unit that is not above n.
func floor(n, unit int64) int64 {
	return n - (n%unit+unit)%unit
}
