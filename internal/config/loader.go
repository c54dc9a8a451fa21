package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// A loader keeps the first error.
type loader struct {
	lookup func(string) (string, bool)
	err    error
}

func (l *loader) text(name, fallback string) string {
	v, _, err := Read(l.lookup, Prefix+name)
	if err != nil && l.err == nil {
		l.err = err
	}
	return cmp.Or(v, fallback)
}

func (l *loader) fail(name, problem string, args ...any) {
	if l.err == nil {
		_, from, _ := Read(l.lookup, Prefix+name)
		l.err = &Error{Variable: from, Problem: fmt.Sprintf(problem, args...)}
	}
}

// quote is a value as an error may show it: that of a file is a secret.
func (l *loader) quote(name, value string) string {
	if _, from, _ := Read(l.lookup, Prefix+name); from != Prefix+name {
		return "what the file holds"
	}
	return strconv.Quote(value)
}

func (l *loader) address(name, fallback string) string {
	v := l.text(name, fallback)
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		l.fail(name, "%s is not host:port", l.quote(name, v))
	}
	return v
}

func (l *loader) url(name, fallback string, schemes ...string) string {
	v := l.text(name, fallback)
	if v == "" {
		return v
	}
	scheme, rest, found := strings.Cut(v, "://")
	if !found || !slices.Contains(schemes, scheme) || rest == "" {
		l.fail(name, "not a URL that begins with %s://", strings.Join(schemes, ":// or "))
	}
	return v
}

func (l *loader) duration(name string, fallback, least time.Duration) time.Duration {
	v, err := time.ParseDuration(l.text(name, fallback.String()))
	if err != nil || v < least {
		l.fail(name, "not a duration of at least %s, such as %s", least, fallback)
		return fallback
	}
	return v
}

func (l *loader) boolean(name string) bool {
	v, err := strconv.ParseBool(l.text(name, "false"))
	if err != nil {
		l.fail(name, "not true or false")
	}
	return v
}

func (l *loader) oneOf(name string, values ...string) string {
	v := l.text(name, values[0])
	if !slices.Contains(values, v) {
		l.fail(name, "%s is not one of %s", l.quote(name, v), strings.Join(values, ", "))
	}
	return v
}

// order reads a list of some of the values, each once, separated by commas.
func (l *loader) order(name string, values ...string) []string {
	var order []string
	for v := range strings.SplitSeq(l.text(name, values[0]), ",") {
		v = strings.TrimSpace(v)
		if !slices.Contains(values, v) || slices.Contains(order, v) {
			l.fail(name, "not an order of some of %s, such as %s", strings.Join(values, ", "), strings.Join(values, ","))
		}
		order = append(order, v)
	}
	return order
}

// periods are the units of rates.
var periods = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// rate reads "100/s", "100/m" or "100/h"; 0 where there is no limit.
func (l *loader) rate(name string) rate.Limit {
	v := l.text(name, "")
	if v == "" {
		return 0
	}
	number, unit, _ := strings.Cut(v, "/")
	n, err := strconv.ParseFloat(number, 64)
	per, known := periods[unit]
	if err != nil || !(n > 0) || math.IsInf(n, 0) || !known { // NaN is not above 0 either
		l.fail(name, "not a rate such as 100/s or 5000/m")
		return 0
	}
	return rate.Limit(n / per.Seconds())
}

func (l *loader) level(name string, fallback slog.Level) slog.Level {
	v := l.text(name, fallback.String())
	var level slog.Level
	if err := level.UnmarshalText([]byte(v)); err != nil {
		l.fail(name, "%s is not one of debug, info, warn, error", l.quote(name, v))
	}
	return level
}

func (l *loader) number(name string, fallback, least, most int) int {
	v, err := strconv.Atoi(l.text(name, strconv.Itoa(fallback)))
	if err != nil || v < least || v > most {
		l.fail(name, "not a number from %d to %d", least, most)
	}
	return v
}
