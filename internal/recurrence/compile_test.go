package recurrence_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/recurrence"
)

func TestRefusedRules(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	before := start.Add(-time.Hour)
	calendar := func(month, dayOfMonth, dayOfWeek, hour, minute *recurrence.Range) *recurrence.Calendar {
		return &recurrence.Calendar{Month: month, DayOfMonth: dayOfMonth, DayOfWeek: dayOfWeek, Hour: hour, Minute: minute}
	}
	for _, c := range []struct {
		name           string
		rule           recurrence.Rule
		field, message string
	}{
		{"no zone", recurrence.Rule{Cron: "@daily"}, "time_zone", "IANA"},
		{"no zone with every", recurrence.Rule{Every: time.Hour}, "time_zone", "IANA"},
		{"unknown zone", recurrence.Rule{Cron: "@daily", Zone: "Europe/Belin"}, "time_zone", "IANA"},
		{"zone of the machine", recurrence.Rule{Cron: "@daily", Zone: "Local"}, "time_zone", "IANA"},
		{"zone file of the machine", recurrence.Rule{Cron: "@daily", Zone: "localtime"}, "time_zone", "IANA"},
		{"zone with leap seconds", recurrence.Rule{Cron: "@daily", Zone: "right/Europe/Berlin"}, "time_zone", "IANA"},
		{"a path", recurrence.Rule{Cron: "@daily", Zone: "../etc/passwd"}, "time_zone", "IANA"},
		{"an offset", recurrence.Rule{Cron: "@daily", Zone: "+02:00"}, "time_zone", "IANA"},
		{"nothing", recurrence.Rule{Zone: "UTC"}, "cron", "one of cron, every and calendar is required"},
		{"cron and every", recurrence.Rule{Cron: "@daily", Every: time.Hour, Zone: "UTC"}, "every", "beside cron"},
		{"cron and calendar", recurrence.Rule{Cron: "@daily", Calendar: calendar(nil, nil, nil, one(1), one(1)), Zone: "UTC"}, "calendar", "beside cron"},
		{"every and calendar", recurrence.Rule{Every: time.Hour, Calendar: calendar(nil, nil, nil, one(1), one(1)), Zone: "UTC"}, "calendar", "beside every"},
		{"every too short", recurrence.Rule{Every: 59 * time.Second, Zone: "UTC"}, "every", "one minute"},
		{"every below nothing", recurrence.Rule{Every: -time.Hour, Zone: "UTC"}, "every", "one minute"},
		{"every of half seconds", recurrence.Rule{Every: 90500 * time.Millisecond, Zone: "UTC"}, "every", "whole seconds"},
		{"end before start", recurrence.Rule{Cron: "@daily", Zone: "UTC", StartAt: &start, EndAt: &before}, "end_at", "after start_at"},
		{"end at start", recurrence.Rule{Cron: "@daily", Zone: "UTC", StartAt: &start, EndAt: &start}, "end_at", "after start_at"},

		{"four fields", recurrence.Rule{Cron: "0 9 * *", Zone: "UTC"}, "cron", "five fields (minute, hour, day of month, month, day of week), not 4"},
		{"six fields", recurrence.Rule{Cron: "0 0 9 * * *", Zone: "UTC"}, "cron", "not 6"},
		{"blank", recurrence.Rule{Cron: "  ", Zone: "UTC"}, "cron", "not 0"},
		{"minute 60", recurrence.Rule{Cron: "60 * * * *", Zone: "UTC"}, "cron", `minute "60" cannot be read: it takes numbers from 0 to 59`},
		{"hour 24", recurrence.Rule{Cron: "0 24 * * *", Zone: "UTC"}, "cron", `hour "24" cannot be read: it takes numbers from 0 to 23`},
		{"day 0", recurrence.Rule{Cron: "0 0 0 * *", Zone: "UTC"}, "cron", "from 1 to 31"},
		{"month 13", recurrence.Rule{Cron: "0 0 1 13 *", Zone: "UTC"}, "cron", "from 1 to 12"},
		{"day of week 8", recurrence.Rule{Cron: "0 0 * * 8", Zone: "UTC"}, "cron", "from 0 to 7"},
		{"backwards", recurrence.Rule{Cron: "0 0 * * 5-1", Zone: "UTC"}, "cron", "day of week"},
		{"Sunday backwards", recurrence.Rule{Cron: "0 0 * * 7-7/0", Zone: "UTC"}, "cron", "day of week"},
		{"empty list", recurrence.Rule{Cron: ", * * * *", Zone: "UTC"}, "cron", "minute"},
		{"list with a hole", recurrence.Rule{Cron: "1,,2 * * * *", Zone: "UTC"}, "cron", "minute"},
		{"star to nowhere", recurrence.Rule{Cron: "*-x * * * *", Zone: "UTC"}, "cron", "minute"},
		{"a sign", recurrence.Rule{Cron: "+5 * * * *", Zone: "UTC"}, "cron", "minute"},
		{"step of nothing", recurrence.Rule{Cron: "*/0 * * * *", Zone: "UTC"}, "cron", "minute"},
		{"number without end", recurrence.Rule{Cron: "0-99999999999999999999 * * * *", Zone: "UTC"}, "cron", "minute"},
		{"last day", recurrence.Rule{Cron: "0 0 L * *", Zone: "UTC"}, "cron", "day of month"},
		{"too long", recurrence.Rule{Cron: strings.Repeat("1,", 300) + "1 * * * *", Zone: "UTC"}, "cron", "512 bytes"},
		{"every in cron", recurrence.Rule{Cron: "@every 1h", Zone: "UTC"}, "cron", "belongs in every"},
		{"zone in cron", recurrence.Rule{Cron: "TZ=Asia/Tokyo 0 9 * * *", Zone: "UTC"}, "cron", "belongs in time_zone"},
		{"cron's zone in cron", recurrence.Rule{Cron: "CRON_TZ=Asia/Tokyo 0 9 * * *", Zone: "UTC"}, "cron", "belongs in time_zone"},
		{"zone and no more in cron", recurrence.Rule{Cron: "TZ=", Zone: "UTC"}, "cron", "belongs in time_zone"},
		{"reboot", recurrence.Rule{Cron: "@reboot", Zone: "UTC"}, "cron", "@hourly, @daily"},
		{"31 February", recurrence.Rule{Cron: "0 0 31 2 *", Zone: "UTC"}, "cron", "never comes"},
		{"31st of short months", recurrence.Rule{Cron: "0 0 31 2,4,6,9,11 *", Zone: "UTC"}, "cron", "never comes"},
		{"30 February, any day", recurrence.Rule{Cron: "0 0 30 2 */2", Zone: "UTC"}, "cron", "never comes"},

		{"calendar without hour", recurrence.Rule{Calendar: calendar(nil, nil, nil, nil, one(0)), Zone: "UTC"}, "calendar.hour", "from 0 to 23"},
		{"calendar without minute", recurrence.Rule{Calendar: calendar(nil, nil, nil, one(0), nil), Zone: "UTC"}, "calendar.minute", "from 0 to 59"},
		{"calendar hour 24", recurrence.Rule{Calendar: calendar(nil, nil, nil, one(24), one(0)), Zone: "UTC"}, "calendar.hour", "from 0 to 23"},
		{"calendar month 0", recurrence.Rule{Calendar: calendar(one(0), nil, nil, one(1), one(0)), Zone: "UTC"}, "calendar.month", "from 1 to 12"},
		{"calendar day 32", recurrence.Rule{Calendar: calendar(nil, one(32), nil, one(1), one(0)), Zone: "UTC"}, "calendar.day_of_month", "from 1 to 31"},
		{"calendar day of week 8", recurrence.Rule{Calendar: calendar(nil, nil, one(8), one(1), one(0)), Zone: "UTC"}, "calendar.day_of_week", "from 0 to 7"},
		{"calendar below", recurrence.Rule{Calendar: calendar(nil, nil, nil, one(-1), one(0)), Zone: "UTC"}, "calendar.hour", "from 0 to 23"},
		{"calendar backwards", recurrence.Rule{Calendar: calendar(nil, nil, nil, &recurrence.Range{Start: 5, End: 1}, one(0)), Zone: "UTC"}, "calendar.hour", "lower one first"},
		{"calendar 31 June", recurrence.Rule{Calendar: calendar(one(6), one(31), nil, one(0), one(0)), Zone: "UTC"}, "calendar", "never comes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := recurrence.Compile(c.rule)
			var wrong recurrence.Errors
			require.ErrorAs(t, err, &wrong)
			require.Len(t, wrong, 1)
			require.Equal(t, c.field, wrong[0].Field)
			require.Contains(t, wrong[0].Message, c.message)
		})
	}
}

func TestAllThatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	end := time.Unix(0, 0)
	start := end.Add(time.Second)
	_, err := recurrence.Compile(recurrence.Rule{Calendar: &recurrence.Calendar{Hour: one(99)}, StartAt: &start, EndAt: &end})
	var wrong recurrence.Errors
	require.ErrorAs(t, err, &wrong)
	var fields []string
	for _, w := range wrong {
		fields = append(fields, w.Field)
	}
	require.Equal(t, []string{"time_zone", "calendar.hour", "calendar.minute", "end_at"}, fields)
}

// Each case is the first instants after 2026-01-01T00:00 UTC, which was a
// Thursday.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cron string
		want []string
	}{
		{"@hourly", []string{"2026-01-01T01:00", "2026-01-01T02:00"}},
		{"@daily", []string{"2026-01-02T00:00", "2026-01-03T00:00"}},
		{"@midnight", []string{"2026-01-02T00:00", "2026-01-03T00:00"}},
		{"@weekly", []string{"2026-01-04T00:00", "2026-01-11T00:00"}},
		{"@monthly", []string{"2026-02-01T00:00", "2026-03-01T00:00"}},
		{"@yearly", []string{"2027-01-01T00:00", "2028-01-01T00:00"}},
		{"@annually", []string{"2027-01-01T00:00", "2028-01-01T00:00"}},
		{"\t0  9 * * 1-5 ", []string{"2026-01-01T09:00", "2026-01-02T09:00", "2026-01-05T09:00"}},
		{"0 9 * jan mon-FRI", []string{"2026-01-01T09:00", "2026-01-02T09:00", "2026-01-05T09:00"}},
		{"0 0 * * 7", []string{"2026-01-04T00:00", "2026-01-11T00:00"}},
		{"0 0 * * 5-7", []string{"2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00", "2026-01-09T00:00"}},
		{"0 0 * * 3-7/2", []string{"2026-01-02T00:00", "2026-01-04T00:00", "2026-01-07T00:00"}},
		{"0 0 * * 0-7", []string{"2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00"}},
		{"0 0 13 * FRI", []string{"2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00", "2026-01-16T00:00"}},
		{"0 0 */10 * FRI", []string{"2026-05-01T00:00", "2026-07-31T00:00", "2026-08-21T00:00"}},
		{"0 0 1-7 * */7", []string{"2026-01-04T00:00", "2026-02-01T00:00", "2026-03-01T00:00", "2026-04-05T00:00"}},
		{"0 0 13,* * FRI", []string{"2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00"}},
		{"0 0 30 2 MON", []string{"2026-02-02T00:00", "2026-02-09T00:00"}},
		{"0 0 31 * *", []string{"2026-01-31T00:00", "2026-03-31T00:00", "2026-05-31T00:00"}},
		{"0 0 29 2 *", []string{"2028-02-29T00:00", "2032-02-29T00:00"}},
		{"50/5 22/1 * * ?", []string{"2026-01-01T22:50", "2026-01-01T22:55", "2026-01-01T23:50"}},
	} {
		t.Run(c.cron, func(t *testing.T) {
			t.Parallel()
			r := compile(t, recurrence.Rule{Cron: c.cron, Zone: "UTC"})
			require.Equal(t, c.want, minutes(r.Next(at(t, "2026-01-01T00:00"), len(c.want))))
			_, _, ok := r.Interval()
			require.False(t, ok)
		})
	}
}

func TestLongWaits(t *testing.T) {
	t.Parallel()
	r := compile(t, recurrence.Rule{Cron: "0 0 29 2 *", Zone: "Europe/Berlin"})
	require.Equal(t, []string{"2096-02-28T23:00", "2104-02-28T23:00"}, minutes(r.Next(at(t, "2092-03-01T00:00"), 2)))
	// 29 February 2088 is a Sunday, as no other one is before 2128.
	r = compile(t, recurrence.Rule{Zone: "UTC", Calendar: &recurrence.Calendar{
		Month: one(2), DayOfMonth: one(29), DayOfWeek: one(0), Hour: one(12), Minute: one(30)}})
	require.Equal(t, []string{"2088-02-29T12:30", "2128-02-29T12:30"}, minutes(r.Next(at(t, "2088-01-01T00:00"), 2)))
}

func TestStartAndEnd(t *testing.T) {
	t.Parallel()
	start, end := at(t, "2026-05-02T09:00"), at(t, "2026-05-04T09:00")
	r := compile(t, recurrence.Rule{Cron: "0 9 * * *", Zone: "UTC", StartAt: &start, EndAt: &end})
	all := []string{"2026-05-02T09:00", "2026-05-03T09:00", "2026-05-04T09:00"}
	require.Equal(t, all, minutes(r.Next(at(t, "2020-01-01T00:00"), 5)))
	require.Equal(t, all[1:], minutes(r.Next(start, 5)))
	require.Equal(t, all[:2], minutes(r.Between(start, end, 2)))
	require.Equal(t, all[2:], minutes(r.Between(end, end, 2)))
	require.Empty(t, r.Next(end, 5))
	require.Empty(t, r.Next(start, 0))
	require.Empty(t, r.Between(end, start, 5))
	var got []time.Time
	for instant := range r.From(start.Add(time.Millisecond)) {
		got = append(got, instant)
	}
	require.Equal(t, all[1:], minutes(got))
}

func TestCalendarJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, given, want string }{
		{"numbers", `{"hour":9,"minute":0}`, ""},
		{"ranges", `{"month":"6-8","day_of_month":1,"day_of_week":"1-5","hour":"9-17","minute":30}`, ""},
		{"one number as a string", `{"hour":"9","minute":"00"}`, `{"hour":9,"minute":0}`},
		{"null is absent", `{"month":null,"hour":9,"minute":0}`, `{"hour":9,"minute":0}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calendar *recurrence.Calendar
			require.NoError(t, json.Unmarshal([]byte(c.given), &calendar))
			compile(t, recurrence.Rule{Calendar: calendar, Zone: "UTC"})
			if c.want == "" {
				c.want = c.given
			}
			got, err := json.Marshal(calendar)
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(got))
		})
	}
	for _, c := range []struct{ name, given, want string }{
		{"no object", `"9:00"`, "calendar: must be an object"},
		{"no hour", `{"minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"null hour", `{"hour":null,"minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"word", `{"hour":"nine","minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"fraction", `{"hour":9.5,"minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"list", `{"hour":[9],"minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"true", `{"hour":true,"minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"below", `{"hour":-1,"minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"half a range", `{"hour":"9-","minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"three", `{"hour":"1-2-3","minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"backwards", `{"hour":"5-1","minute":0}`, "calendar.hour: must be a number from 0 to 23 or"},
		{"above", `{"hour":9,"minute":"0-60"}`, "calendar.minute: must be a number from 0 to 59 or"},
		{"huge", `{"hour":9,"minute":10000000000000000000000}`, "calendar.minute: must be a number from 0 to 59 or"},
		{"Sunday", `{"hour":9,"minute":0,"day_of_week":"6-8"}`, "calendar.day_of_week: must be a number from 0 to 7 (0 and 7 are Sunday) or"},
		{"unknown field", `{"hour":9,"minute":0,"second":0}`, "calendar.second: is not a field"},
		{"several", `{"hour":99,"minute":99}`, "; calendar.minute: must be"},
	} {
		t.Run("refused: "+c.name, func(t *testing.T) {
			t.Parallel()
			var calendar recurrence.Calendar
			err := json.Unmarshal([]byte(c.given), &calendar)
			var wrong recurrence.Errors
			require.ErrorAs(t, err, &wrong)
			require.ErrorContains(t, err, c.want)
		})
	}
}
