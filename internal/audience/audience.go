// Package audience takes in recipient lists that are too long to pass by value:
// it reads them line by line, and finds who is named twice, in the same memory
// whatever their length.
package audience

import (
	"fmt"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// PageSize is how many recipients a stored page holds; the last one of an
// audience may hold fewer.
const PageSize = notify.PageSize

// DefaultRetention is how long an audience is kept.
const DefaultRetention = 30 * 24 * time.Hour

// MaxLine is how many bytes a line may have, in CSV a record.
const MaxLine = 64 << 10

// An Audience is a recipient list that is stored in pages.
type Audience struct {
	ID         string    `json:"id" bson:"_id"`
	Total      int       `json:"total"`      // who is kept
	Duplicates int       `json:"duplicates"` // who was named again, and is not kept twice
	Pages      int       `json:"pages"`      // of PageSize, numbered from 0
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// KeptAfter is how long after a notification expires its audience must be kept:
// until then it has ended.
const KeptAfter = 24 * time.Hour

// KeptFor says whether the audience is there until a notification to it has
// ended.
func (a *Audience) KeptFor(n *notify.Notification) bool {
	return !a.ExpiresAt.Before(n.ExpiresAt.Add(KeptAfter))
}

// A Line is a recipient and where it was read. The recipient has not been
// checked: what its fields hold may be anything, and any of them be empty.
type Line struct {
	Number    int // from 1
	Recipient notify.Recipient
}

// A LineError says in which line something is wrong, and what.
type LineError struct {
	Line    int
	Problem string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// tooLong is what is wrong with a line of more than MaxLine bytes.
func tooLong(line int) error {
	return &LineError{Line: line, Problem: fmt.Sprintf("is longer than %d bytes", MaxLine)}
}

// set puts a value into the field that a key or a column names, and says
// whether there is such a field.
func set(r *notify.Recipient, field, value string) bool {
	switch field {
	case "user_id":
		r.UserID = value
	case "email":
		r.Email = value
	case "name":
		r.Name = value
	default:
		return false
	}
	return true
}
