package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Rate is how many messages may go out in how long: "200/s" or "30/m". Empty,
// it sets no limit.
type Rate string

// MaxRate is the highest number that a Rate may name.
const MaxRate = 100_000

// ParseRate checks a rate.
func ParseRate(text string) (Rate, error) {
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	if err != nil || strings.HasPrefix(number, "+") || n < 1 || n > MaxRate || unit != "s" && unit != "m" {
		return "", fmt.Errorf("not a rate of 1 to %d messages a second or minute, such as 200/s or 30/m", MaxRate)
	}
	return Rate(text), nil
}

// PerSecond is the rate in messages a second, 0 where it sets no limit.
func (r Rate) PerSecond() float64 {
	number, unit, _ := strings.Cut(string(r), "/")
	n, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return 0
	case unit == "m":
		return float64(n) / 60
	default:
		return float64(n)
	}
}

// For is how long so many messages take at the rate, 0 where it sets no limit.
func (r Rate) For(messages int) time.Duration {
	if perSecond := r.PerSecond(); perSecond > 0 {
		return time.Duration(float64(messages) / perSecond * float64(time.Second))
	}
	return 0
}
