// Package trigger knows the rules that turn incoming events into notifications:
// what they are, and what becomes of an event under them. Conditions, recipients
// and data are expressions in CEL.
package trigger

import (
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Limits of a trigger and of what comes of it.
const (
	MaxExpression = 4096    // characters of one expression
	MaxRecipients = 100_000 // that an expression may name
)

// A Definition is one immutable version of a trigger. Exactly one of Template
// and Content is set.
type Definition struct {
	Name      string           `json:"name"`
	Version   int              `json:"version"`
	CreatedAt time.Time        `json:"created_at"` // of this version
	EventType string           `json:"event_type"`
	Condition string           `json:"condition,omitempty"` // CEL; empty: always
	To        string           `json:"to"`                  // CEL
	Template  string           `json:"template,omitempty"`  // a name or name@version
	Content   *notify.Bodies   `json:"content,omitempty"`
	Channels  []notify.Channel `json:"channels,omitempty"`
	Data      string           `json:"data,omitempty"` // CEL; empty: no data
	Delay     time.Duration    `json:"delay,omitempty"`
	Enabled   bool             `json:"enabled"`
}
