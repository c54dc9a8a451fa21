package stack

import (
	"slices"
	"strings"
)

// An environ is a set of environment variables.
type environ []string

// get is a variable's value; like Belfry itself, it takes an empty one for one
// that is not set.
func (e environ) get(name string) string {
	for _, variable := range slices.Backward(e) {
		if n, value, _ := strings.Cut(variable, "="); n == name {
			return value
		}
	}
	return ""
}

// given says whether a variable is set to something.
func (e environ) given(name string) bool { return e.get(name) != "" }

// offer is e with a variable set, unless it was given.
func (e environ) offer(name, value string) environ {
	if e.given(name) {
		return e
	}
	return append(slices.Clip(e), name+"="+value)
}
