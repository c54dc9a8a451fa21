// Package notify holds Belfry's words as Go types: notifications, recipients,
// deliveries, claims, templates and errors. It knows no technology and imports
// the standard library only; every other package may import it.
package notify

import "time"

// Limits of a request and of what rendering may produce. Each refusal names
// the field and the limit.
const (
	MaxRecipients   = 1000     // recipients passed by value in one request
	MaxDataBytes    = 64 << 10 // the JSON text of "data"
	MaxSubjectBytes = 998      // a rendered subject (RFC 5322, section 2.1.1), or title of an item
	MaxBodyBytes    = 1 << 20  // a rendered HTML or text part, and a template's source
	MaxItemBytes    = 64 << 10 // a rendered body of an item
	MaxURLBytes     = 2048     // a rendered URL of an item
	MaxTags         = 16
	MaxTagLength    = 64 // characters
	MaxMetadataKeys = 16
	MaxMetadataKey  = 64  // characters
	MaxMetadata     = 512 // characters of one metadata value
	MaxNameLength   = 256 // characters of a recipient's name
)

// Horizon is how far ahead a notification may reach.
const Horizon = 2 * 365 * 24 * time.Hour

// DefaultExpiry is how long after acceptance a notification may still go out.
const DefaultExpiry = 24 * time.Hour

// A Channel is a kind of delivery.
type Channel string

// The channels Belfry knows.
const (
	ChannelEmail Channel = "email"
	ChannelInbox Channel = "inbox" // kept for the user to read
)

// A Status says where a notification as a whole stands.
type Status string

// The states of a notification.
const (
	StatusScheduled Status = "scheduled"
	StatusSending   Status = "sending"
	StatusPaused    Status = "paused"
	StatusDone      Status = "done"      // every delivery ended, at least one was sent
	StatusCancelled Status = "cancelled" // a cancel stopped something
	StatusExpired   Status = "expired"   // the time came and nothing was sent
	StatusFailed    Status = "failed"    // nothing could be sent at all
)

// Statuses lists all states of a notification, for validation and schemas.
func Statuses() []Status {
	return []Status{
		StatusScheduled, StatusSending, StatusPaused, StatusDone,
		StatusCancelled, StatusExpired, StatusFailed,
	}
}

// Ended says whether a notification in this state is finished for good.
func (s Status) Ended() bool {
	return s == StatusDone || s == StatusCancelled || s == StatusExpired || s == StatusFailed
}

// A Priority says how a notification is carried: high takes the rate limit's
// tokens before normal, low goes with the broadcasts.
type Priority string

// The priorities.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = "normal"
	PriorityLow    Priority = "low"
)

// OnUnknown says what to do about a delivery of which nobody knows whether it
// went out.
type OnUnknown string

// What to do about it.
const (
	OnUnknownResend OnUnknown = "resend" // send it again, under the same Message-ID
	OnUnknownSkip   OnUnknown = "skip"   // leave it as unknown
)

// A Recipient is somebody to tell: either a user the idp knows, or an address
// given inline. Exactly one of UserID and Email is set in a request.
type Recipient struct {
	UserID string `json:"user_id,omitempty"`
	Email  string `json:"email,omitempty"`
	Name   string `json:"name,omitempty"`
}

// A User is what the idp answers about a user id. All but ID may be empty.
type User struct {
	ID       string
	Email    string
	Name     string
	Locale   string // BCP 47
	TimeZone string // IANA
	Phone    string // E.164
}

// An AudienceRef says who is told by a notification that has its recipients in
// stored pages.
type AudienceRef struct {
	ID       string `json:"id"`                  // whose pages they are
	AllUsers bool   `json:"all_users,omitempty"` // who the idp knows when it goes out; the pages are of this notification
	Total    int    `json:"total"`               // recipients; 0 until all users are listed
}

// A Notification is one request to tell somebody something, as accepted.
// Exactly one of Template and Content is set.
type Notification struct {
	ID       string       `json:"id" bson:"_id"`
	Template *TemplateRef `json:"template,omitempty"`
	Content  *Bodies      `json:"content,omitempty"`
	To       []Recipient  `json:"to"` // or else Audience
	Audience *AudienceRef `json:"audience,omitempty"`
	Channels []Channel    `json:"channels"`
	Data     Object       `json:"data"`
	Tags     []string     `json:"tags"`
	Metadata Object       `json:"metadata"`

	Priority  Priority  `json:"priority,omitempty"`   // empty: normal
	Provider  string    `json:"provider,omitempty"`   // forces one; empty: as configured
	OnUnknown OnUnknown `json:"on_unknown,omitempty"` // empty: resend
	Rate      Rate      `json:"rate,omitempty"`       // at most; empty: as fast as it goes

	// Bulk says that it goes in pages of chunks, with the broadcasts; else its
	// first attempt is made at once, each delivery on its own.
	Bulk bool `json:"bulk,omitempty"`

	Schedule    string     `json:"schedule,omitempty"` // which schedule it is a run of
	ScheduledAt *time.Time `json:"scheduled_at,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	SendAt    time.Time `json:"send_at"`
	ExpiresAt time.Time `json:"expires_at"`
	// ExpiresByDefault says that nobody asked for this expiry: it moves with
	// SendAt.
	ExpiresByDefault bool `json:"expires_by_default,omitempty"`
}

// Recipients is how many are told.
func (n *Notification) Recipients() int {
	if n.Audience != nil {
		return n.Audience.Total
	}
	return len(n.To)
}

// Deliveries is how many deliveries the notification has in all.
func (n *Notification) Deliveries() int { return n.Recipients() * len(n.Channels) }

// Counts says how many deliveries are in each state. The numbers are disjoint
// and sum to Total.
type Counts struct {
	Total     int `json:"total"`
	Queued    int `json:"queued"`
	Sent      int `json:"sent"`
	Delivered int `json:"delivered"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
	Unknown   int `json:"unknown"`
}

// Add counts n more deliveries that are in the given state.
func (c *Counts) Add(state State, n int) {
	c.Total += n
	switch state {
	case StateQueued:
		c.Queued += n
	case StateSent:
		c.Sent += n
	case StateDelivered:
		c.Delivered += n
	case StateFailed:
		c.Failed += n
	case StateSkipped:
		c.Skipped += n
	case StateUnknown:
		c.Unknown += n
	}
}

// Status is the end state of a notification whose deliveries have all ended
// so. Expired says that some of the skipped ones were so for want of time.
func (c Counts) Status(expired bool) Status {
	switch {
	case c.Sent+c.Delivered+c.Unknown > 0: // what may have been sent counts as sent
		return StatusDone
	case expired && (c.Skipped > 0 || c.Total == 0):
		return StatusExpired
	default:
		return StatusFailed
	}
}

// Sum adds the numbers of other to c.
func (c *Counts) Sum(other Counts) {
	c.Total += other.Total
	c.Queued += other.Queued
	c.Sent += other.Sent
	c.Delivered += other.Delivered
	c.Failed += other.Failed
	c.Skipped += other.Skipped
	c.Unknown += other.Unknown
}

// PageCounts says how the deliveries of one page stand that have ended, of a
// notification that runs.
type PageCounts struct {
	ID             string    `json:"id" bson:"_id"` // <notification>/<page>
	NotificationID string    `json:"notification_id"`
	Counts         Counts    `json:"counts"`
	ExpiresAt      time.Time `json:"expires_at"`
}

// A Progress says how far a notification has come. Its counts are final once
// Status is an end state.
type Progress struct {
	Status     Status     `json:"status"`
	Counts     Counts     `json:"counts"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// A Record is a notification as it is kept: what was accepted, and how far it
// has come.
type Record struct {
	Notification `bson:",inline"`
	Progress     `bson:",inline"`
}
