package recurrence

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// A UTCCalendar is the minutes, in UTC, of one year that match all of its
// fields: what Temporal calls a calendar spec.
type UTCCalendar struct {
	Year    int
	Months  []Range
	Days    []Range // of the month
	Hours   []Range
	Minutes []Range
}

// A block is minutes of hours of days of months, as bit sets. Bit n is the nth.
type block struct {
	year                         int
	months, days, hours, minutes uint64
}

// Calendars is a few calendars with just the given instants between them, which
// are cut to the minute, as those of a cron expression or a Calendar are. The
// order and repetitions do not matter.
func Calendars(instants []time.Time) []UTCCalendar {
	// Days of a month on which an hour has the same minutes go together, then
	// hours with the same days, then months with the same of both.
	var calendars []UTCCalendar
	for _, b := range mergeMonths(mergeHours(mergeDays(instants))) {
		calendars = append(calendars, UTCCalendar{
			Year: b.year, Months: ranges(b.months), Days: ranges(b.days), Hours: ranges(b.hours), Minutes: ranges(b.minutes),
		})
	}
	return calendars
}

func mergeDays(instants []time.Time) []block {
	type date struct {
		year  int
		month time.Month
		day   int
	}
	type hour struct {
		date date
		hour int
	}
	minutes := map[hour]uint64{}
	for _, at := range instants {
		at = at.UTC()
		minutes[hour{date{at.Year(), at.Month(), at.Day()}, at.Hour()}] |= 1 << at.Minute()
	}
	days := map[block]uint64{}
	for at, set := range minutes {
		days[block{year: at.date.year, months: 1 << at.date.month, hours: 1 << at.hour, minutes: set}] |= 1 << at.date.day
	}
	return filled(days, func(b *block, days uint64) { b.days = days })
}

func mergeHours(blocks []block) []block {
	hours := map[block]uint64{}
	for _, b := range blocks {
		key := b
		key.hours = 0
		hours[key] |= b.hours
	}
	return filled(hours, func(b *block, hours uint64) { b.hours = hours })
}

// mergeMonths also joins months whose days differ only in that one is shorter:
// 1 to 31 of January and February are just their days.
func mergeMonths(blocks []block) []block {
	var merged []block
	for _, b := range blocks {
		i := slices.IndexFunc(merged, func(m block) bool { return m.canTake(b) })
		if i < 0 {
			merged = append(merged, b)
			continue
		}
		merged[i].months |= b.months
		merged[i].days |= b.days
	}
	return merged
}

// canTake says whether a and b are, joined, no more than both of them.
func (a block) canTake(b block) bool {
	if a.year != b.year || a.hours != b.hours || a.minutes != b.minutes {
		return false
	}
	both := a.days | b.days
	return both&monthDays(a.year, a.months) == a.days&monthDays(a.year, a.months) &&
		both&monthDays(b.year, b.months) == b.days
}

// monthDays is the days of the longest of the months.
func monthDays(year int, months uint64) uint64 {
	var days uint64
	for m := time.January; m <= time.December; m++ {
		if months>>m&1 == 1 {
			length := time.Date(year, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
			days |= 1<<(length+1) - 2
		}
	}
	return days
}

// filled is the keys with the sets under them filled in, in order of time.
func filled(sets map[block]uint64, fill func(b *block, set uint64)) []block {
	blocks := make([]block, 0, len(sets))
	for b, set := range sets {
		fill(&b, set)
		blocks = append(blocks, b)
	}
	slices.SortFunc(blocks, func(a, b block) int {
		return cmp.Or(cmp.Compare(a.year, b.year), cmp.Compare(a.months, b.months),
			cmp.Compare(a.days, b.days), cmp.Compare(a.hours, b.hours), cmp.Compare(a.minutes, b.minutes))
	})
	return blocks
}

// ranges is a bit set as ranges.
func ranges(set uint64) []Range {
	var all []Range
	for start := 0; set>>start != 0; {
		start += bits.TrailingZeros64(set >> start)
		length := bits.TrailingZeros64(^(set >> start))
		all = append(all, Range{start, start + length - 1})
		start += length
	}
	return all
}
