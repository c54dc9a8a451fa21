package notify

import "time"

// An Item is a message in a user's inbox. Its title and body are text; a client
// decides how to show them.
type Item struct {
	// ID is a version 7 UUID that the delivery's first claim fixes: the order of
	// an inbox, and what makes the item the same however often it is written.
	ID             string     `json:"id" bson:"_id"`
	NotificationID string     `json:"notification_id"`
	DeliveryID     string     `json:"-" bson:"delivery_id"`
	UserID         string     `json:"-" bson:"user_id"`
	Title          string     `json:"title"`
	Body           string     `json:"body"`
	URL            string     `json:"url,omitempty"`
	Data           Object     `json:"data"`
	CreatedAt      time.Time  `json:"created_at"`
	SeenAt         *time.Time `json:"seen_at,omitempty"`
	ReadAt         *time.Time `json:"read_at,omitempty"`
	ArchivedAt     *time.Time `json:"archived_at,omitempty"`
}
