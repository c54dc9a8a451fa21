package recurrence_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/recurrence"
)

func TestCalendars(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone, cron, from, to string
		most                       int // calendars
	}{
		{"every five minutes of four months", "Europe/Berlin", "*/5 * * * *", "2026-02-01T00:00", "2026-05-31T23:59", 1},
		{"every five minutes, from within an hour", "Europe/Berlin", "*/5 * * * *", "2026-02-10T10:37", "2026-06-10T10:37", 7},
		{"every five minutes over a new year", "UTC", "*/5 * * * *", "2026-11-01T00:00", "2027-02-28T23:59", 2},
		{"working days of a year", "Europe/Berlin", "0 9 * * 1-5", "2026-01-01T00:00", "2026-12-31T23:59", 14},
		{"daily over a year", "America/New_York", "30 2 * * *", "2026-01-01T00:00", "2026-12-31T23:59", 6},
		{"working hours on both sides of midnight", "Pacific/Auckland", "0 9-17 * * 1-5", "2026-07-01T00:00", "2026-07-31T23:59", 2},
		{"even hours where they become odd", "Europe/Berlin", "0 */2 * * *", "2026-03-01T00:00", "2026-04-30T23:59", 4},
		{"29 February", "UTC", "0 0 29 2 *", "2026-01-01T00:00", "2036-12-31T00:00", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			instants := compile(t, recurrence.Rule{Cron: c.cron, Zone: c.zone}).Between(at(t, c.from), at(t, c.to), 1<<20)
			calendars := recurrence.Calendars(instants)
			require.LessOrEqual(t, len(calendars), c.most)
			require.Equal(t, instants, expand(calendars))
		})
	}
	require.Empty(t, recurrence.Calendars(nil))
	require.Equal(t, []recurrence.UTCCalendar{{
		Year: 2026, Months: []recurrence.Range{{Start: 3, End: 4}}, Days: []recurrence.Range{{Start: 1, End: 2}, {Start: 4, End: 4}},
		Hours: []recurrence.Range{{Start: 0, End: 0}, {Start: 23, End: 23}}, Minutes: []recurrence.Range{{Start: 58, End: 59}},
	}}, recurrence.Calendars(compile(t, recurrence.Rule{Cron: "58,59 0,23 1,2,4 3,4 *", Zone: "UTC"}).Next(at(t, "2026-01-01T00:00"), 24)))
}

// expand is the instants of calendars in order, with repetitions, read as
// Temporal reads a calendar spec: minute by minute.
func expand(calendars []recurrence.UTCCalendar) []time.Time {
	in := func(ranges []recurrence.Range, n int) bool {
		return slices.ContainsFunc(ranges, func(r recurrence.Range) bool { return r.Start <= n && n <= r.End })
	}
	var instants []time.Time
	for _, c := range calendars {
		for date := time.Date(c.Year, 1, 1, 0, 0, 0, 0, time.UTC); date.Year() == c.Year; date = date.AddDate(0, 0, 1) {
			if !in(c.Months, int(date.Month())) || !in(c.Days, date.Day()) {
				continue
			}
			for minute := range 24 * 60 {
				if in(c.Hours, minute/60) && in(c.Minutes, minute%60) {
					instants = append(instants, date.Add(time.Duration(minute)*time.Minute))
				}
			}
		}
	}
	slices.SortFunc(instants, time.Time.Compare)
	return instants
}
