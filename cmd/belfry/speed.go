package main

import "time"

// speedWindow is over how long a speed is measured.
const speedWindow = 10 * time.Second

// A speed is how fast a number grows, over the last seconds.
type speed struct{ marks []mark }

type mark struct {
	at     time.Time
	number int64
}

// at notes the number of a moment and gives what it grows by in a second; 0 in
// the first second, when nobody knows.
func (s *speed) at(now time.Time, number int64) float64 {
	s.marks = append(s.marks, mark{now, number})
	for len(s.marks) > 2 && now.Sub(s.marks[1].at) >= speedWindow {
		s.marks = s.marks[1:]
	}
	first := s.marks[0]
	took := now.Sub(first.at)
	if took < time.Second {
		return 0
	}
	return max(0, float64(number-first.number)/took.Seconds())
}

// decimals are how many digits a rate has after the point: a slow one says more
// with one.
func decimals(perSecond float64) int {
	if perSecond < 10 {
		return 1
	}
	return 0
}

// remaining is how long a number takes at so much a second, to the second.
func remaining(number int64, perSecond float64) time.Duration {
	seconds := min(float64(number)/perSecond, 1e9) // a duration holds no more than 292 years
	return time.Duration(seconds) * time.Second
}
