package notify

import "errors"

// A Code is a stable word for what went wrong.
type Code string

// The codes of errors that cross a package border.
const (
	CodeInvalid             Code = "invalid"
	CodeNotFound            Code = "not_found"
	CodeTemplateNotFound    Code = "template_not_found"
	CodeConflict            Code = "conflict"
	CodeIdempotencyConflict Code = "idempotency_conflict"
	CodeUserNotFound        Code = "user_not_found"
	CodeTooLate             Code = "too_late"      // there is nothing left to stop or to move
	CodeUnauthorized        Code = "unauthorized"  // nobody knows who asks
	CodeScopeMissing        Code = "scope_missing" // who asks may not do this
	CodeForbidden           Code = "forbidden"     // who asks may do this, but not here: with another user's data
	CodeUnavailable         Code = "unavailable"   // a neighbour cannot be reached; trying again can help
	CodeInternal            Code = "internal"
)

// An Error is made once, where something goes wrong, and mapped once: to HTTP
// by the API and to Temporal by the activities.
type Error struct {
	Code   Code
	Detail string       // for a person; never holds a secret
	Fields []FieldError // with CodeInvalid: what is wrong where, all of it
	Counts *Counts      // with CodeTooLate: how the deliveries stand
	Err    error        // the cause, may be nil
}

// A FieldError says what is wrong with one part of a request.
type FieldError struct {
	Location string `json:"location"` // such as "to[3].email"
	Message  string `json:"message"`
	Value    any    `json:"value,omitempty"`
}

// Error says what went wrong and, if known, why.
func (e *Error) Error() string {
	s := e.Detail
	if s == "" {
		s = string(e.Code)
	}
	for _, f := range e.Fields {
		s += "; " + f.Location + ": " + f.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the code of the first Error in err's chain, CodeInternal when
// there is none, and empty for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
