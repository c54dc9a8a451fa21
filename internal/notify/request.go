package notify

import "time"

// A Request is what a program asks for, well-formed but not yet accepted: which
// version of the template is meant, and whether it is there, shows then. A zero
// field stands for its default.
type Request struct {
	Template  string      `json:"template,omitempty"` // a name or name@version
	Content   *Bodies     `json:"content,omitempty"`
	To        []Recipient `json:"to"` // each once
	Audience  *Audience   `json:"audience,omitempty"`
	Channels  []Channel   `json:"channels,omitempty"`
	Data      Object      `json:"data,omitempty"`
	SendAt    *time.Time  `json:"send_at,omitempty"`    // nil or past: now
	ExpiresAt *time.Time  `json:"expires_at,omitempty"` // nil: DefaultExpiry after it is to go out
	Priority  Priority    `json:"priority,omitempty"`
	Provider  string      `json:"provider,omitempty"`
	OnUnknown OnUnknown   `json:"on_unknown,omitempty"`
	Rate      Rate        `json:"rate,omitempty"`
	Tags      []string    `json:"tags,omitempty"`
	Metadata  Object      `json:"metadata,omitempty"`
}

// An Audience says who is told in place of a list of recipients: those of a
// stored audience, or all users that the idp knows. Exactly one is set.
type Audience struct {
	ID       string `json:"id,omitempty"`
	AllUsers bool   `json:"all_users,omitempty"`
}
