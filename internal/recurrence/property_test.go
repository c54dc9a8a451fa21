package recurrence_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/recurrence"
)

// Zones with unusual changes: of half an hour, at midnight, of two hours, over
// Ramadan, twice a year in either order, for a while only, or of a whole day.
var zones = []string{
	"UTC", "Europe/Berlin", "Europe/Dublin", "Europe/Istanbul", "Europe/Moscow", "Atlantic/Azores", "America/New_York",
	"America/St_Johns", "America/Havana", "America/Sao_Paulo", "America/Santiago", "America/Asuncion", "America/Caracas",
	"America/Nuuk", "America/Scoresbysund", "Africa/Cairo", "Africa/Casablanca", "Africa/Juba", "Asia/Gaza", "Asia/Beirut",
	"Asia/Tehran", "Asia/Kathmandu", "Asia/Pyongyang", "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Norfolk",
	"Pacific/Chatham", "Pacific/Apia", "Pacific/Kiritimati", "Antarctica/Troll", "Antarctica/Casey", "Antarctica/Macquarie",
}

// forRandomZones runs a check with random numbers that are the same each time.
func forRandomZones(t *testing.T, times int, check func(t *testing.T, random *rand.Rand, zone *time.Location)) {
	for i, name := range zones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(name)
			require.NoError(t, err)
			random := rand.New(rand.NewPCG(uint64(i), 2026))
			for range times {
				check(t, random, zone)
			}
		})
	}
}

// changesOf is the days before which the clock of a zone changes in a year, and
// its start.
func changesOf(zone *time.Location, year int) []time.Time {
	start := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
	changes := []time.Time{start}
	_, before := start.In(zone).Zone()
	for date := start; date.Year() == year; date = date.AddDate(0, 0, 1) {
		_, offset := date.In(zone).Zone()
		if offset != before {
			changes = append(changes, date)
		}
		before = offset
	}
	return changes
}

func randomCron(random *rand.Rand) string {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	n := random.IntN
	minute := pick("*", "0", "*/15", "*/7", fmt.Sprint(n(60)), fmt.Sprintf("%d,%d", n(60), n(60)), fmt.Sprintf("%d-59", n(60)))
	hour := pick("*", "*/2", "*/5", "0", "1-3/2", fmt.Sprint(n(4)), fmt.Sprint(n(24)), fmt.Sprintf("%d,%d", n(24), n(24)), fmt.Sprintf("0-%d", n(24)))
	dayOfMonth := pick("*", "*", "*", fmt.Sprint(1+n(31)), fmt.Sprintf("1-%d", 1+n(31)), "*/3")
	month := pick("*", "*", "*", fmt.Sprintf("%d,%d", 1+n(12), 1+n(12)), "*/2")
	dayOfWeek := pick("*", "*", "*", fmt.Sprint(n(8)), "1-5", "6-7")
	return fmt.Sprintf("%s %s %s %s %s", minute, hour, dayOfMonth, month, dayOfWeek)
}

func TestAgreesWithWatchingTheClock(t *testing.T) {
	t.Parallel()
	forRandomZones(t, 12, func(t *testing.T, random *rand.Rand, zone *time.Location) {
		cron := randomCron(random)
		r, err := recurrence.Compile(recurrence.Rule{Cron: cron, Zone: zone.String()})
		if err != nil {
			require.ErrorContains(t, err, "never comes")
			return
		}
		changes := changesOf(zone, 1994+random.IntN(60))
		from := changes[random.IntN(len(changes))].Add(-time.Duration(random.IntN(3*24*60)) * time.Minute)
		to := from.Add(5 * 24 * time.Hour)
		require.Equal(t, watch(t, cron, zone, from, to), r.Between(from, to, 1<<20), "%s from %s", cron, from)
	})
}

// watch is the instants of a cron expression as someone notes them who looks at
// the clock each minute.
func watch(t *testing.T, cron string, zone *time.Location, from, to time.Time) []time.Time {
	shows := func(wall time.Time) time.Time { // the wall time as if it were in UTC
		wall = wall.In(zone)
		return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, time.UTC)
	}
	// In UTC there are no changes: this tells which wall times match.
	due := compile(t, recurrence.Rule{Cron: cron, Zone: "UTC"}).Between(from.Add(-72*time.Hour), to.Add(72*time.Hour), 1<<20)
	isDue := map[time.Time]bool{}
	for _, wall := range due {
		isDue[wall] = true
	}
	var noted []time.Time
	if fixed := !containsAny(cron, 1, "*/"); !fixed {
		for now := from; !now.After(to); now = now.Add(time.Minute) {
			if isDue[shows(now)] {
				noted = append(noted, now)
			}
		}
		return noted
	}
	next := shows(from.Add(-48 * time.Hour)) // what has not been shown yet
	for now := from.Add(-48 * time.Hour); !now.After(to); now = now.Add(time.Minute) {
		shown := shows(now)
		leapt := shown.Sub(next)
		came := false
		for ; !next.After(shown); next = next.Add(time.Minute) {
			dayLeftOut := leapt >= 24*time.Hour && next.Before(shown)
			came = came || isDue[next] && !dayLeftOut
		}
		if came && !now.Before(from) {
			noted = append(noted, now)
		}
	}
	return noted
}

func containsAny(cron string, field int, characters string) bool {
	start := 0
	for range field {
		start += slices.Index([]byte(cron[start:]), ' ') + 1
	}
	end := start + slices.Index([]byte(cron[start:]), ' ')
	return slices.ContainsFunc([]byte(cron[start:end]), func(b byte) bool { return slices.Contains([]byte(characters), b) })
}

func TestFixedTimesComeOnceADay(t *testing.T) {
	t.Parallel()
	forRandomZones(t, 6, func(t *testing.T, random *rand.Rand, zone *time.Location) {
		hour, minute := random.IntN(24), random.IntN(60)
		if random.IntN(2) == 0 {
			hour = random.IntN(4)
		}
		r := compile(t, recurrence.Rule{Calendar: &recurrence.Calendar{Hour: one(hour), Minute: one(minute)}, Zone: zone.String()})
		year := 1994 + random.IntN(60)
		from := time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC)
		came := map[string]int{}
		for _, instant := range r.Between(from, from.AddDate(1, 0, 0), 1000) {
			wall := instant.In(zone)
			if wall.Hour() != hour || wall.Minute() != minute {
				// Left out: the minute before showed an earlier time, of its day.
				before := instant.Add(-time.Minute).In(zone)
				_, offset := wall.Zone()
				_, offsetBefore := before.Zone()
				require.Greater(t, offset, offsetBefore, "%02d:%02d came at %s", hour, minute, wall)
				due := time.Date(before.Year(), before.Month(), before.Day(), hour, minute, 0, 0, time.UTC)
				if due.Before(time.Date(before.Year(), before.Month(), before.Day(), before.Hour(), before.Minute(), 0, 0, time.UTC)) {
					due = due.AddDate(0, 0, 1)
				}
				wall = due
			}
			came[wall.Format(time.DateOnly)]++
		}
		for noon := from.AddDate(0, 0, 2); noon.Before(from.AddDate(1, 0, -2)); noon = noon.AddDate(0, 0, 1) {
			date := noon.In(zone).Format(time.DateOnly)
			require.Equal(t, 1, came[date], "%02d:%02d on %s", hour, minute, date)
		}
	})
}

func TestPartsMakeTheWhole(t *testing.T) {
	t.Parallel()
	forRandomZones(t, 10, func(t *testing.T, random *rand.Rand, zone *time.Location) {
		rule := recurrence.Rule{Zone: zone.String()}
		if random.IntN(5) == 0 {
			rule.Every = time.Minute + time.Duration(random.IntN(100_000))*time.Second
			rule.Anchor = time.Unix(random.Int64N(4e9)-2e9, 0)
		} else {
			rule.Cron = randomCron(random)
		}
		r, err := recurrence.Compile(rule)
		if err != nil {
			require.ErrorContains(t, err, "never comes")
			return
		}
		changes := changesOf(zone, 1994+random.IntN(60))
		middle := changes[random.IntN(len(changes))].Add(time.Duration(random.IntN(48*60*60)-24*60*60) * time.Second)
		from, to := middle.Add(-time.Duration(random.IntN(10*24))*time.Hour), middle.Add(time.Duration(random.IntN(60*24))*time.Hour)

		whole := r.Between(from, to, 1<<20)
		parts := append(r.Between(from, middle, 1<<20), r.Between(middle.Add(time.Second), to, 1<<20)...)
		require.Equal(t, whole, parts)
		for i, instant := range whole {
			if instant.Location() != time.UTC || instant.Nanosecond() != 0 || i > 0 && !whole[i-1].Before(instant) {
				require.Fail(t, "no whole second of UTC, or not later than the one before", instant)
			}
		}
		few := r.Next(from.Add(-time.Nanosecond), min(20, len(whole)))
		require.Equal(t, whole[:len(few)], few)
		if len(whole) > 0 {
			after := random.IntN(len(whole))
			require.Equal(t, whole[after+1:], append([]time.Time{}, r.Next(whole[after], len(whole)-after-1)...))
		}
		if rule.Every == 0 {
			require.Equal(t, whole, expand(recurrence.Calendars(whole)))
		}
		every, offset, ok := r.Interval()
		require.Equal(t, rule.Every, every)
		for _, instant := range whole {
			if ok && instant.Add(-offset).Unix()%int64(every/time.Second) != 0 {
				require.Fail(t, "not within the interval", instant)
			}
		}
	})
}

func TestCalendarsOfAnyInstants(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(8205, 2026))
	for range 30 {
		start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
		var instants []time.Time
		for range 1 + random.IntN(60) {
			instants = append(instants, start.AddDate(0, random.IntN(6), random.IntN(3)).Add(time.Duration(random.IntN(4*60))*time.Minute))
		}
		slices.SortFunc(instants, time.Time.Compare)
		instants = slices.Compact(instants)
		require.Equal(t, instants, expand(recurrence.Calendars(instants)))
	}
}
