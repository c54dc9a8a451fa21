package recurrence

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/robfig/cron/v3"
)

// maxCron is the longest cron expression, in bytes. All 60 minutes spelled out
// take 169.
const maxCron = 512

var nicknames = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

// The fields of a cron expression, in their order.
const (
	minuteField = iota
	hourField
	dayOfMonthField
	monthField
	dayOfWeekField
)

var cronFields = [...]struct {
	name   string
	parser cron.Parser
	bits   func(*cron.SpecSchedule) uint64
	limits string
}{
	{"minute", cron.NewParser(cron.Minute), func(s *cron.SpecSchedule) uint64 { return s.Minute }, "from 0 to 59"},
	{"hour", cron.NewParser(cron.Hour), func(s *cron.SpecSchedule) uint64 { return s.Hour }, "from 0 to 23"},
	{"day of month", cron.NewParser(cron.Dom), func(s *cron.SpecSchedule) uint64 { return s.Dom }, "from 1 to 31"},
	{"month", cron.NewParser(cron.Month), func(s *cron.SpecSchedule) uint64 { return s.Month }, "from 1 to 12 (or JAN to DEC)"},
	{"day of week", cron.NewParser(cron.Dow), func(s *cron.SpecSchedule) uint64 { return s.Dow }, "from 0 to 7 (or SUN to SAT; 0 and 7 are Sunday)"},
}

// parseCron reads an expression as Vixie's cron does (man 5 crontab).
func parseCron(expression string) (*wall, error) {
	refuse := func(format string, args ...any) error {
		return Errors{{"cron", fmt.Sprintf(format, args...)}}
	}
	text := strings.TrimSpace(expression)
	switch {
	case len(text) > maxCron:
		return nil, refuse("must be at most %d bytes long", maxCron)
	case strings.Contains(text, "TZ="):
		return nil, refuse("cannot name a zone: that belongs in time_zone")
	case strings.HasPrefix(text, "@every"):
		return nil, refuse("cannot be @every: that belongs in every")
	case strings.HasPrefix(text, "@"):
		plain, ok := nicknames[text]
		if !ok {
			return nil, refuse("must have five fields, or be one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually")
		}
		text = plain
	}
	fields := strings.Fields(text)
	if len(fields) != len(cronFields) {
		return nil, refuse("must have five fields (minute, hour, day of month, month, day of week), not %d", len(fields))
	}
	var sets [len(cronFields)]uint64
	for i, field := range cronFields {
		for term := range strings.SplitSeq(fields[i], ",") {
			bits, ok := parseTerm(i, term)
			if !ok {
				return nil, refuse("the %s %q cannot be read: it takes numbers %s, ranges (1-5), steps (*/2) and lists of them (1,3)",
					field.name, fields[i], field.limits)
			}
			sets[i] |= bits
		}
	}
	// Vixie's cron takes either day, unless one field begins with a star: then
	// both have to match, a step or not.
	either := !strings.ContainsAny(fields[dayOfMonthField][:1], "*?") && !strings.ContainsAny(fields[dayOfWeekField][:1], "*?")
	w, ok := newWall(sets[monthField], sets[dayOfMonthField], sets[dayOfWeekField], either, sets[hourField], sets[minuteField])
	if !ok {
		return nil, refuse("never comes: no year has such a day")
	}
	w.onceADay = !strings.ContainsAny(fields[hourField], "*?/")
	return w, nil
}

var (
	// The parser takes more than this, such as "*-x" and "+5".
	termShape = regexp.MustCompile(`^([*?]|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?$`)
	// The parser has no Sunday at the end of a week.
	lateSunday = regexp.MustCompile(`^([0-7]-)?7(/[0-9]+)?$`)
)

// parseTerm is the bit set of one term of the list that is field i.
func parseTerm(i int, term string) (uint64, bool) {
	if !termShape.MatchString(term) {
		return 0, false
	}
	field := cronFields[i]
	late := i == dayOfWeekField && lateSunday.MatchString(term)
	if late {
		field = cronFields[hourField] // where 7 is a number as any other
	}
	parsed, err := field.parser.Parse(term)
	schedule, ok := parsed.(*cron.SpecSchedule)
	if err != nil || !ok {
		return 0, false
	}
	set := field.bits(schedule)
	if late {
		set = sundayFirst(set)
	}
	return set, true
}

// sundayFirst has day 7 of the week be day 0.
func sundayFirst(weekdays uint64) uint64 {
	return weekdays&0x7f | weekdays>>7&1
}
