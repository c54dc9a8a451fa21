package template

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/osteele/tuesday"
)

// Limits of the date filter's format.
const (
	maxFormatBytes = 1024
	maxFormatWidth = 99 // of one directive: %99d
)

// date formats a time by Ruby's strftime. Without a zone of its own a time is
// in UTC. There is no "now": the same delivery must render the same again.
func date(_ *run, in any, args []any) (any, error) {
	format := "%a, %b %d, %y"
	if len(args) > 0 {
		format = toText(args[0])
	}
	if err := checkFormat(format); err != nil {
		return nil, err
	}
	moment, err := parseTime(in)
	if err != nil {
		return nil, err
	}
	return tuesday.Strftime(format, moment)
}

// checkFormat keeps widths in bounds, which the library would pad to.
func checkFormat(format string) error {
	if len(format) > maxFormatBytes {
		return fmt.Errorf("a format of more than %d bytes", maxFormatBytes)
	}
	digits := 0
	for i := range len(format) {
		if format[i] < '0' || format[i] > '9' {
			digits = 0
			continue
		}
		if digits++; digits > len(strconv.Itoa(maxFormatWidth)) && isWidth(format[:i-digits+1]) {
			return fmt.Errorf("a width of more than %d", maxFormatWidth)
		}
	}
	return nil
}

// isWidth says whether digits after before are the width of a directive.
func isWidth(before string) bool {
	for i := len(before) - 1; i >= 0; i-- {
		switch before[i] {
		case '%':
			return true
		case '-', '_', '^', '#', ':':
		default:
			return false
		}
	}
	return false
}

// layouts are those of the library, and the ones of other services' JSON.
var layouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02T15:04:05-0700", "20060102T150405Z",
	time.DateOnly, time.DateTime, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -07:00",
	"2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST", "2006-01-02 15:04",
	time.RFC1123, time.RFC1123Z, time.RFC822, time.RFC822Z, time.RFC850,
	time.ANSIC, time.UnixDate, time.RubyDate,
	"02 January 2006", "02 Jan 2006", "January 2, 2006", "January 2 2006", "Jan 2, 2006", "Jan 2 2006",
}

// parseTime reads a time: text in one of the layouts, or seconds since 1970.
func parseTime(value any) (time.Time, error) {
	switch v := value.(type) {
	case int:
		return time.Unix(int64(v), 0).UTC(), nil
	case float64:
		return time.UnixMilli(int64(v * 1000)).UTC(), nil
	}
	text := toText(value)
	switch text {
	case "":
		return time.Time{}, errors.New("there is no date")
	case "now", "today":
		return time.Time{}, fmt.Errorf("%q is not available: pass the time in data", text)
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC(), nil
	}
	for _, layout := range layouts {
		if moment, err := time.ParseInLocation(layout, text, time.UTC); err == nil {
			return moment, nil
		}
	}
	return time.Time{}, errors.New("a value that is not a date")
}
