package recurrence_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/recurrence"
)

// Each case is the instants of a rule from one time to another, both in UTC,
// worked out by hand. The changes of the clock in 2026:
//
//	Europe/Berlin        29 March   02:00 +1 -> 03:00 +2          at 01:00 UTC
//	                     25 October 03:00 +2 -> 02:00 +1          at 01:00 UTC
//	America/New_York      8 March   02:00 -5 -> 03:00 -4          at 07:00 UTC
//	                      1 November 02:00 -4 -> 01:00 -5         at 06:00 UTC
//	Australia/Lord_Howe   5 April   02:00 +11 -> 01:30 +10:30     at 15:00 UTC on the 4th
//	                      4 October 02:00 +10:30 -> 02:30 +11     at 15:30 UTC on the 3rd
//	Africa/Cairo         24 April   00:00 +2 -> 01:00 +3          at 22:00 UTC on the 23rd
//	                     29 October 24:00 +3 -> 23:00 +2          at 21:00 UTC
//	America/Nuuk         28 March   23:00 -2 -> 24:00 -1          at 01:00 UTC on the 29th
func TestChangesOfTheClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone, cron, from, to string
		want                       []string
	}{
		{"fixed, before the gap", "Europe/Berlin", "59 1 * * *", "2026-03-28T00:00", "2026-03-30T12:00",
			[]string{"2026-03-28T00:59", "2026-03-29T00:59", "2026-03-29T23:59"}},
		{"fixed, in the gap", "Europe/Berlin", "30 2 * * *", "2026-03-28T00:00", "2026-03-31T00:00",
			[]string{"2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"}},
		{"fixed, at the end of the gap", "Europe/Berlin", "0 3 * * *", "2026-03-28T00:00", "2026-03-31T00:00",
			[]string{"2026-03-28T02:00", "2026-03-29T01:00", "2026-03-30T01:00"}},
		{"fixed, several in the gap are one", "Europe/Berlin", "0,20,40 2,3 * * *", "2026-03-29T00:00", "2026-03-29T12:00",
			[]string{"2026-03-29T01:00", "2026-03-29T01:20", "2026-03-29T01:40"}},
		{"fixed hour, every minute of it in the gap", "Europe/Berlin", "* 2 * * *", "2026-03-29T00:00", "2026-03-29T12:00",
			[]string{"2026-03-29T01:00"}},
		{"fixed, in the repeated hour", "Europe/Berlin", "30 2 * * *", "2026-10-24T00:00", "2026-10-27T00:00",
			[]string{"2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"}},
		{"fixed, at the start of the repeated hour", "Europe/Berlin", "0 2 * * *", "2026-10-24T00:00", "2026-10-27T00:00",
			[]string{"2026-10-24T00:00", "2026-10-25T00:00", "2026-10-26T01:00"}},
		{"fixed, after the repeated hour", "Europe/Berlin", "0 3 * * *", "2026-10-24T00:00", "2026-10-27T00:00",
			[]string{"2026-10-24T01:00", "2026-10-25T02:00", "2026-10-26T02:00"}},
		{"fixed quarters around the repeated hour", "Europe/Berlin", "*/30 1-3 * * *", "2026-10-24T23:00", "2026-10-25T12:00",
			[]string{"2026-10-24T23:00", "2026-10-24T23:30", "2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T02:00", "2026-10-25T02:30"}},
		{"quarters through the gap", "Europe/Berlin", "*/15 * * * *", "2026-03-29T00:30", "2026-03-29T01:30",
			[]string{"2026-03-29T00:30", "2026-03-29T00:45", "2026-03-29T01:00", "2026-03-29T01:15", "2026-03-29T01:30"}},
		{"quarters through the repeated hour", "Europe/Berlin", "*/15 * * * *", "2026-10-25T00:30", "2026-10-25T01:45",
			[]string{"2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:00", "2026-10-25T01:15", "2026-10-25T01:30", "2026-10-25T01:45"}},
		{"hours through the gap", "Europe/Berlin", "0 * * * *", "2026-03-29T00:00", "2026-03-29T02:00",
			[]string{"2026-03-29T00:00", "2026-03-29T01:00", "2026-03-29T02:00"}},
		{"hours through the repeated hour", "Europe/Berlin", "0 * * * *", "2026-10-25T00:00", "2026-10-25T02:00",
			[]string{"2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"}},
		{"even hours lose the one in the gap", "Europe/Berlin", "0 */2 * * *", "2026-03-28T23:00", "2026-03-29T04:00",
			[]string{"2026-03-28T23:00", "2026-03-29T02:00", "2026-03-29T04:00"}},
		{"even hours come twice in the repeated hour", "Europe/Berlin", "0 */2 * * *", "2026-10-24T22:00", "2026-10-25T03:00",
			[]string{"2026-10-24T22:00", "2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T03:00"}},
		{"a step within a range is none of the fixed", "Europe/Berlin", "0 2-6/4 * * *", "2026-10-24T22:00", "2026-10-25T12:00",
			[]string{"2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T05:00"}},

		{"fixed, in the gap", "America/New_York", "30 2 * * *", "2026-03-07T00:00", "2026-03-10T00:00",
			[]string{"2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30"}},
		{"fixed, in the repeated hour", "America/New_York", "30 1 * * *", "2026-10-31T00:00", "2026-11-03T00:00",
			[]string{"2026-10-31T05:30", "2026-11-01T05:30", "2026-11-02T06:30"}},
		{"fixed, on a day of the week", "America/New_York", "30 2 * * SUN", "2026-03-01T00:00", "2026-03-16T00:00",
			[]string{"2026-03-01T07:30", "2026-03-08T07:00", "2026-03-15T06:30"}},
		{"quarters through the gap", "America/New_York", "*/15 * * * *", "2026-03-08T06:45", "2026-03-08T07:15",
			[]string{"2026-03-08T06:45", "2026-03-08T07:00", "2026-03-08T07:15"}},
		{"hours through the repeated hour", "America/New_York", "0 * * * *", "2026-11-01T04:00", "2026-11-01T07:00",
			[]string{"2026-11-01T04:00", "2026-11-01T05:00", "2026-11-01T06:00", "2026-11-01T07:00"}},

		{"fixed, in the gap", "Australia/Lord_Howe", "15 2 * * *", "2026-10-02T00:00", "2026-10-05T00:00",
			[]string{"2026-10-02T15:45", "2026-10-03T15:30", "2026-10-04T15:15"}},
		{"fixed, in the repeated half hour", "Australia/Lord_Howe", "45 1 * * *", "2026-04-03T00:00", "2026-04-06T00:00",
			[]string{"2026-04-03T14:45", "2026-04-04T14:45", "2026-04-05T15:15"}},
		{"fixed, at the end of the repeated half hour", "Australia/Lord_Howe", "0 2 * * *", "2026-04-03T12:00", "2026-04-06T00:00",
			[]string{"2026-04-03T15:00", "2026-04-04T15:30", "2026-04-05T15:30"}},
		{"quarters through the gap", "Australia/Lord_Howe", "*/15 * * * *", "2026-10-03T15:00", "2026-10-03T16:00",
			[]string{"2026-10-03T15:00", "2026-10-03T15:15", "2026-10-03T15:30", "2026-10-03T15:45", "2026-10-03T16:00"}},
		{"hours through the gap", "Australia/Lord_Howe", "0 * * * *", "2026-10-03T14:00", "2026-10-03T18:00",
			[]string{"2026-10-03T14:30", "2026-10-03T16:00", "2026-10-03T17:00", "2026-10-03T18:00"}},
		{"hours through the repeated half hour", "Australia/Lord_Howe", "0 * * * *", "2026-04-04T13:00", "2026-04-04T17:00",
			[]string{"2026-04-04T13:00", "2026-04-04T14:00", "2026-04-04T15:30", "2026-04-04T16:30"}},
		{"half past through the repeated half hour", "Australia/Lord_Howe", "30 * * * *", "2026-04-04T13:30", "2026-04-04T16:30",
			[]string{"2026-04-04T13:30", "2026-04-04T14:30", "2026-04-04T15:00", "2026-04-04T16:00"}},

		{"fixed, midnight in the gap", "Africa/Cairo", "0 0 * * *", "2026-04-22T00:00", "2026-04-25T12:00",
			[]string{"2026-04-22T22:00", "2026-04-23T22:00", "2026-04-24T21:00"}},
		{"fixed, in the gap", "Africa/Cairo", "30 0 * * *", "2026-04-22T00:00", "2026-04-25T12:00",
			[]string{"2026-04-22T22:30", "2026-04-23T22:00", "2026-04-24T21:30"}},
		{"fixed, in the gap of a Friday", "Africa/Cairo", "30 0 * * FRI", "2026-04-17T00:00", "2026-05-02T00:00",
			[]string{"2026-04-23T22:00", "2026-04-30T21:30"}},
		{"fixed, in the repeated hour", "Africa/Cairo", "30 23 * * *", "2026-10-28T00:00", "2026-10-31T00:00",
			[]string{"2026-10-28T20:30", "2026-10-29T20:30", "2026-10-30T21:30"}},
		{"fixed, midnight after the repeated hour", "Africa/Cairo", "0 0 * * *", "2026-10-28T00:00", "2026-10-31T00:00",
			[]string{"2026-10-28T21:00", "2026-10-29T22:00", "2026-10-30T22:00"}},
		{"quarters through the repeated hour", "Africa/Cairo", "*/15 * * * *", "2026-10-29T20:45", "2026-10-29T21:15",
			[]string{"2026-10-29T20:45", "2026-10-29T21:00", "2026-10-29T21:15"}},
		{"hours through the gap", "Africa/Cairo", "0 * * * *", "2026-04-23T21:00", "2026-04-23T23:00",
			[]string{"2026-04-23T21:00", "2026-04-23T22:00", "2026-04-23T23:00"}},

		{"fixed, in a gap up to midnight", "America/Nuuk", "30 23 * * *", "2026-03-28T00:00", "2026-03-31T00:00",
			[]string{"2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"}},
		{"a day left out", "Pacific/Apia", "0 9 * * *", "2011-12-29T00:00", "2012-01-01T00:00",
			[]string{"2011-12-29T19:00", "2011-12-30T19:00", "2011-12-31T19:00"}},
		{"the end of a leap year", "Europe/Berlin", "0 0,12 * * *", "2028-12-30T12:00", "2029-01-01T00:00",
			[]string{"2028-12-30T23:00", "2028-12-31T11:00", "2028-12-31T23:00"}},
		{"no change", "UTC", "0 9 * * *", "2026-03-28T00:00", "2026-03-29T23:00", []string{"2026-03-28T09:00", "2026-03-29T09:00"}},
	} {
		t.Run(c.zone+" "+c.cron+", "+c.name, func(t *testing.T) {
			t.Parallel()
			r := compile(t, recurrence.Rule{Cron: c.cron, Zone: c.zone})
			got := r.Between(at(t, c.from), at(t, c.to), 1000)
			require.Equal(t, c.want, minutes(got))
			// The changes must not depend on where one begins to look.
			for i, instant := range got {
				require.Equal(t, got[i:], r.Next(instant.Add(-time.Second), len(got)-i))
			}
		})
	}
}

func TestCalendarInTheGap(t *testing.T) {
	t.Parallel()
	calendar := &recurrence.Calendar{Hour: one(2), Minute: &recurrence.Range{Start: 0, End: 59}}
	r := compile(t, recurrence.Rule{Calendar: calendar, Zone: "Europe/Berlin"})
	require.Equal(t, []string{"2026-03-29T01:00"}, minutes(r.Between(at(t, "2026-03-29T00:00"), at(t, "2026-03-29T23:59"), 1000)))
	require.Len(t, r.Between(at(t, "2026-10-25T00:00"), at(t, "2026-10-25T23:59"), 1000), 60)
}

func TestEveryKeepsItsPace(t *testing.T) {
	t.Parallel()
	start := at(t, "2026-03-28T23:10")
	r := compile(t, recurrence.Rule{Every: 50 * time.Minute, Zone: "Europe/Berlin", StartAt: &start})
	require.Equal(t, []string{"2026-03-28T23:10", "2026-03-29T00:00", "2026-03-29T00:50", "2026-03-29T01:40", "2026-03-29T02:30"},
		minutes(r.Next(at(t, "2026-01-01T00:00"), 5)))
	every, offset, ok := r.Interval()
	require.True(t, ok)
	require.Equal(t, 50*time.Minute, every)
	require.Equal(t, start, time.Unix(0, 0).UTC().Add(offset+start.Sub(time.Unix(0, 0)).Truncate(every)))

	created := at(t, "2026-03-28T10:07").Add(900 * time.Millisecond)
	r = compile(t, recurrence.Rule{Every: 24 * time.Hour, Zone: "Europe/Berlin", Anchor: created})
	require.Equal(t, []string{"2026-03-29T10:07", "2026-03-30T10:07"}, minutes(r.Next(created, 2)))
	require.Equal(t, []string{"2026-03-27T10:07"}, minutes(r.Between(at(t, "2026-03-27T10:07"), at(t, "2026-03-28T10:06"), 9)))

	r = compile(t, recurrence.Rule{Every: 24 * time.Hour, Zone: "Europe/Berlin"})
	require.Equal(t, []string{"1969-12-31T00:00", "1970-01-01T00:00", "1970-01-02T00:00"},
		minutes(r.Between(at(t, "1969-12-30T12:00"), at(t, "1970-01-02T00:00"), 9)))
}

func compile(t testing.TB, rule recurrence.Rule) *recurrence.Recurrence {
	t.Helper()
	r, err := recurrence.Compile(rule)
	require.NoError(t, err)
	return r
}

func one(n int) *recurrence.Range { return &recurrence.Range{Start: n, End: n} }

const toTheMinute = "2006-01-02T15:04"

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(toTheMinute, text)
	require.NoError(t, err)
	return parsed
}

func minutes(instants []time.Time) []string {
	var texts []string
	for _, instant := range instants {
		texts = append(texts, instant.Format(toTheMinute))
	}
	return texts
}
