package notify

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// An Item is a message in a user's inbox. Its title and body are text; a client
// decides how to show them.
type Item struct {
	// ID is an ItemID: the order of an inbox, and what makes the item the same
	// however often it is written.
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

// ItemID is the id of the item that a delivery comes to which was first claimed
// at a moment: a version 7 UUID (RFC 9562, section 5.7) whose random bits are
// derived from the delivery.
func ItemID(deliveryID string, claimed time.Time) string {
	hash := sha256.Sum256([]byte(deliveryID))
	var u [16]byte
	binary.BigEndian.PutUint64(u[:], uint64(claimed.UnixMilli())<<16)
	copy(u[6:], hash[:])
	return formatUUID(u[:], 7)
}
