package recurrence

import (
	"errors"
	"strings"
)

// Errors is what is wrong with a rule, all of it.
type Errors []FieldError

// A FieldError says what is wrong with one field.
type FieldError struct {
	Field   string // as the API names it, such as "calendar.hour"
	Message string // names the limit
}

// Error names each field and what is wrong with it.
func (e Errors) Error() string {
	var parts []string
	for _, f := range e {
		parts = append(parts, f.Field+": "+f.Message)
	}
	return strings.Join(parts, "; ")
}

func (e *Errors) refuse(field, message string) {
	*e = append(*e, FieldError{field, message})
}

// add appends what another function of this package refused.
func (e *Errors) add(err error) {
	var more Errors
	if errors.As(err, &more) {
		*e = append(*e, more...)
	}
}
