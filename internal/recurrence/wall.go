package recurrence

import (
	"iter"
	"math"
	"slices"
	"time"
)

// A wall is what a clock on the wall shows when something recurs. Its times
// are counted in seconds as if the wall were in UTC.
type wall struct {
	zone         *time.Location
	months, days uint64 // bit n: the nth
	weekdays     uint64 // bit 0: Sunday
	either       bool   // the day of month or the day of week will do, not both are needed
	minutesOfDay []int64
	onceADay     bool // each time once a local day, whatever becomes of the clock
}

const (
	minute = int64(60)
	day    = 24 * 60 * minute
	year   = 366 * day
)

// horizon is after how long without an instant no more are looked for. The
// longest that a date keeps one waiting is 40 years: a 29 February on a given
// day of the week, where 2100 is no leap year.
const horizon = 41 * year

// lookBack is before how long a change of the clock can matter. The greatest
// so far have been of a day.
const lookBack = 3 * day

// newWall makes a wall of bit sets. It says false where no date matches.
func newWall(months, days, weekdays uint64, either bool, hours, minutes uint64) (*wall, bool) {
	w := &wall{months: months, days: days, weekdays: weekdays, either: either}
	for h := range int64(24) {
		for m := range int64(60) {
			if hours>>h&1 == 1 && minutes>>m&1 == 1 {
				w.minutesOfDay = append(w.minutesOfDay, h*60+m)
			}
		}
	}
	// In the 28 years from 2000, each date falls on each day of the week.
	from := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).Unix()
	for range w.times(from, from+28*year) {
		return w, true
	}
	return nil, false
}

// instants are those from one Unix second to another, both included. The
// zone's time is taken apart into stretches of one offset from UTC.
func (w *wall) instants(from, to int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		last, giveUp, more := from-1, from+horizon, true
		emit := func(at int64) bool {
			if at > last && more {
				last, giveUp, more = at, at+horizon, at <= to && yield(at)
			}
			return more
		}
		at, shown := from, int64(math.MinInt64)
		if w.onceADay {
			at -= lookBack
		}
		for at <= min(to, giveUp) {
			offset, end := w.stretch(at)
			start := at + offset
			if w.onceADay {
				// shown is the latest time that the wall has shown. A time comes
				// when the wall first shows it or a later one.
				if shown != math.MinInt64 && w.leftOut(shown, start) && !emit(at) {
					return
				}
				start = max(start, shown)
				shown = max(shown, end+offset)
			}
			for local := range w.times(start, end+offset) {
				if !emit(local - offset) {
					return
				}
			}
			at = end
		}
	}
}

// stretch is the offset from UTC at a Unix second, and a later second up to
// which it stays.
func (w *wall) stretch(at int64) (offset, end int64) {
	t := time.Unix(at, 0).In(w.zone)
	_, seconds := t.Zone()
	end = at + year
	if _, bound := t.ZoneBounds(); !bound.IsZero() {
		end = min(end, bound.Unix())
	}
	if end <= at {
		// On the last day of a leap year, Go has the year end a day early.
		end = at + 60*minute
	}
	return int64(seconds), end
}

// leftOut says whether a time within a gap matches, from one wall time up to
// another. Days of which nothing remains do not count.
func (w *wall) leftOut(from, to int64) bool {
	for local := range w.times(from, to) {
		midnight := floor(local, day)
		if midnight < from || midnight+day > to {
			return true
		}
	}
	return false
}

// times are the wall times that match, from one up to but without another.
func (w *wall) times(from, to int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		date := time.Unix(floor(from, day), 0).UTC()
		for date.Unix() < to {
			if w.months>>date.Month()&1 == 0 {
				date = time.Date(date.Year(), date.Month()+1, 1, 0, 0, 0, 0, time.UTC)
				continue
			}
			if w.matches(date) {
				midnight := date.Unix()
				begin := max(0, (from-midnight+minute-1)/minute)
				i, _ := slices.BinarySearch(w.minutesOfDay, begin)
				for _, m := range w.minutesOfDay[i:] {
					local := midnight + m*minute
					if local >= to || !yield(local) {
						return
					}
				}
			}
			date = date.AddDate(0, 0, 1)
		}
	}
}

// matches says whether the day of a month that matches does so too.
func (w *wall) matches(date time.Time) bool {
	dayOfMonth := w.days>>date.Day()&1 == 1
	dayOfWeek := w.weekdays>>date.Weekday()&1 == 1
	if w.either {
		return dayOfMonth || dayOfWeek
	}
	return dayOfMonth && dayOfWeek
}
