package notify

import "time"

// An IdempotencyKey holds what was decided when a request came first under a
// caller's key, so that a replay makes the very same notification.
type IdempotencyKey struct {
	ID             string       `json:"id" bson:"_id"` // caller and key
	RequestHash    string       `json:"request_hash"`  // SHA-256 of the decoded request, hex
	NotificationID string       `json:"notification_id"`
	Template       *TemplateRef `json:"template,omitempty"`
	CreatedAt      time.Time    `json:"created_at"`
}
