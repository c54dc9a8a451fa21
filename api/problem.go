package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A problem is an error as RFC 9457 shapes it.
type problem struct {
	Title  string              `json:"title" example:"Unprocessable Entity"`
	Status int                 `json:"status" example:"422"`
	Detail string              `json:"detail" example:"the request is not valid"`
	Code   string              `json:"code" example:"invalid" doc:"A stable word for what went wrong"`
	Errors []notify.FieldError `json:"errors,omitempty" doc:"What is wrong where, all of it"`
	Counts *notify.Counts      `json:"counts,omitempty" doc:"With too_late: how the deliveries stand"`

	retryAfter string
	challenge  string
}

func (p *problem) Error() string                { return p.Detail }
func (p *problem) GetStatus() int               { return p.Status }
func (p *problem) ContentType(ct string) string { return "application/problem+json" }

// GetHeaders are those that the answer has besides.
func (p *problem) GetHeaders() http.Header {
	header := http.Header{}
	if p.retryAfter != "" {
		header.Set("Retry-After", p.retryAfter)
	}
	if p.challenge != "" {
		header.Set("WWW-Authenticate", p.challenge)
	}
	return header
}

// huma has no other place to say how its errors look, and that "TO" is not
// "to": encoding/json would take the one for the other.
func init() {
	huma.NewError = newProblem
	huma.ValidateStrictCasing = true
}

// maxEcho is how much of a wrong value is shown to the caller.
const maxEcho = 200

// newProblem makes a problem of what huma found wrong with a request.
func newProblem(status int, message string, causes ...error) huma.StatusError {
	undecoded := status == http.StatusBadRequest // huma's word for JSON that does not parse
	if undecoded {
		status = http.StatusUnprocessableEntity
	}
	if status == http.StatusRequestEntityTooLarge {
		message = tooLarge(message)
	}
	p := &problem{Title: http.StatusText(status), Status: status, Detail: message, Code: codeFor(status)}
	for _, cause := range causes {
		if cause == nil {
			continue
		}
		var detailer huma.ErrorDetailer
		if !errors.As(cause, &detailer) {
			if status < http.StatusInternalServerError {
				p.Errors = append(p.Errors, notify.FieldError{Location: "body", Message: cause.Error()})
			}
			continue
		}
		d := detailer.ErrorDetail()
		undecoded = undecoded || d.Location == "body" && d.Message == validation.MsgExpectedObject
		p.Errors = append(p.Errors, notify.FieldError{Location: d.Location, Message: d.Message, Value: echo(d.Value)})
	}
	if undecoded { // then it says nothing that this or that is not in it
		p.Errors = slices.DeleteFunc(p.Errors, func(e notify.FieldError) bool { return strings.HasPrefix(e.Location, "body.") })
	}
	return p
}

// humaTooLarge is what huma says of a body; its limit is the first length that
// is too much.
const humaTooLarge = "request body is too large limit=%d bytes"

// tooLarge words that for people.
func tooLarge(message string) string {
	var limit int
	if _, err := fmt.Sscanf(message, humaTooLarge, &limit); err != nil {
		return message
	}
	bytes := strconv.Itoa(limit - 1)
	for i := len(bytes) - 3; i > 0; i -= 3 {
		bytes = bytes[:i] + "," + bytes[i:]
	}
	return "the body is longer than " + bytes + " bytes"
}

// echo keeps a wrong value if it is short.
func echo(value any) any {
	switch v := value.(type) {
	case string:
		if len(v) > maxEcho {
			return v[:maxEcho] + "..."
		}
		return v
	case bool, float64, int, int64:
		return v
	}
	return nil
}

func codeFor(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return string(notify.CodeUnauthorized)
	case http.StatusForbidden:
		return string(notify.CodeForbidden)
	case http.StatusNotFound:
		return string(notify.CodeNotFound)
	case http.StatusMethodNotAllowed:
		return "method_not_allowed"
	case http.StatusConflict:
		return string(notify.CodeConflict)
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusUnprocessableEntity:
		return string(notify.CodeInvalid)
	case http.StatusServiceUnavailable:
		return string(notify.CodeUnavailable)
	case http.StatusRequestTimeout:
		return "timeout"
	case http.StatusTooManyRequests:
		return "too_many_requests"
	}
	return string(notify.CodeInternal)
}

// retryAfterSeconds is what a caller is asked to wait while a neighbour is
// away.
const retryAfterSeconds = "5"

// statusFor maps Belfry's codes to HTTP. All others are errors of ours.
func statusFor(code notify.Code) int {
	switch code {
	case notify.CodeInvalid:
		return http.StatusUnprocessableEntity
	case notify.CodeNotFound, notify.CodeTemplateNotFound, notify.CodeUserNotFound:
		return http.StatusNotFound
	case notify.CodeConflict, notify.CodeIdempotencyConflict, notify.CodeTooLate:
		return http.StatusConflict
	case notify.CodeUnauthorized:
		return http.StatusUnauthorized
	case notify.CodeScopeMissing, notify.CodeForbidden:
		return http.StatusForbidden
	case notify.CodeUnavailable:
		return http.StatusServiceUnavailable
	case notify.CodeInternal:
	}
	return http.StatusInternalServerError
}

// fail maps an error to its HTTP answer. What a caller cannot help is logged
// here and not told to it.
func (s *Server) fail(err error) huma.StatusError {
	var e *notify.Error
	if !errors.As(err, &e) {
		e = &notify.Error{Code: notify.CodeInternal, Err: err}
	}
	status := statusFor(e.Code)
	p := &problem{
		Title:  http.StatusText(status),
		Status: status,
		Detail: e.Detail,
		Code:   string(e.Code),
		Errors: e.Fields,
		Counts: e.Counts,
	}
	switch e.Code {
	case notify.CodeUnavailable:
		s.log.Warn("neighbour unavailable", "error", err)
		p.Detail = "a service that Belfry needs cannot be reached; try again"
		p.retryAfter = retryAfterSeconds
	case notify.CodeInternal:
		s.log.Error("request failed", "error", err)
		p.Detail = "something went wrong inside Belfry"
	case notify.CodeInvalid:
		if p.Detail == "" {
			p.Detail = "the request is not valid"
		}
	case notify.CodeUnauthorized, notify.CodeScopeMissing:
		p.challenge = challenge(e)
	case notify.CodeNotFound, notify.CodeTemplateNotFound, notify.CodeUserNotFound, notify.CodeForbidden,
		notify.CodeConflict, notify.CodeIdempotencyConflict, notify.CodeTooLate:
	}
	return p
}
