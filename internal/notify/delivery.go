package notify

import (
	"crypto/sha1" //nolint:gosec // UUID version 5 is defined over SHA-1; nothing here is a secret
	"encoding/hex"
	"strings"
	"time"
)

// A State says where one delivery stands.
type State string

// The states of a delivery.
const (
	StateQueued    State = "queued"
	StateSent      State = "sent"
	StateDelivered State = "delivered" // the provider or the client confirmed
	StateFailed    State = "failed"
	StateSkipped   State = "skipped"
	StateUnknown   State = "unknown" // it may have gone out
)

// States lists all states of a delivery, for validation and schemas.
func States() []State {
	return []State{StateQueued, StateSent, StateDelivered, StateFailed, StateSkipped, StateUnknown}
}

// A Reason says why a delivery failed or was skipped.
type Reason string

// The reasons of a failed or skipped delivery.
const (
	ReasonUserNotFound  Reason = "user_not_found" // the idp does not know the user
	ReasonNoAddress     Reason = "no_address"     // the idp knows no address for the channel
	ReasonBadAddress    Reason = "bad_address"    // the address cannot be mailed to
	ReasonBadContent    Reason = "bad_content"    // rendering failed for this recipient
	ReasonRejected      Reason = "rejected"       // the provider refused it for good
	ReasonExpired       Reason = "expired"        // it could not go out in time
	ReasonCancelled     Reason = "cancelled"
	ReasonUnsubscribed  Reason = "unsubscribed"
	ReasonProviderError Reason = "provider_error" // the provider is set up wrongly
)

// A Delivery is one notification to one recipient over one channel: one
// document, one final state.
type Delivery struct {
	ID             string     `json:"id" bson:"_id"`
	NotificationID string     `json:"notification_id"`
	UserID         string     `json:"user_id,omitempty"`
	Channel        Channel    `json:"channel"`
	Provider       string     `json:"provider,omitempty"`
	Address        string     `json:"address,omitempty"`
	State          State      `json:"state"`
	Reason         Reason     `json:"reason,omitempty"`
	Resent         bool       `json:"resent" bson:"resent,omitempty"` // it was in doubt and went out again
	Attempts       []Attempt  `json:"attempts" bson:"attempts,omitempty"`
	ProviderID     string     `json:"provider_id,omitempty"`
	CreatedAt      time.Time  `json:"created_at"`
	SentAt         *time.Time `json:"sent_at,omitempty"`

	// Claim is the number of the claim under which this end was recorded; 0
	// for one that ended without.
	Claim int `json:"-" bson:"claim"`

	// Entry says where the content is of one that was in a chunk.
	Entry EntryRef `json:"-" bson:"entry,omitempty"`
}

// AddDoubts adds to a delivery that has ended under one claim that the sender
// with a later one may have sent it too and never came to say so. It says
// whether there is such a doubt that was not known.
func (d *Delivery) AddDoubts(last *Claim) bool {
	if last.Number <= d.Claim {
		return false
	}
	doubts := last.Doubts
	if d.Claim > 0 {
		doubts-- // those after it count the claim it ended under
	}
	if last.InDoubt() {
		doubts++
	}
	if doubts <= 0 {
		return false
	}
	d.Claim = last.Number
	if d.State == StateFailed {
		d.State, d.Reason = StateUnknown, ""
	} else {
		d.Resent = true
	}
	return true
}

// Recipient is who a delivery is for, without the name of one who was given by
// address. It is not ok where that was erased.
func (d *Delivery) Recipient() (to Recipient, ok bool) {
	to.UserID = d.UserID
	if to.UserID == "" {
		to.Email = d.Address
	}
	return to, DeliveryID(d.NotificationID, d.Channel, to) == d.ID
}

// An Attempt is one try to make a delivery. Provider is who answered: a
// provider's name, "idp" or "template". Error is empty when it succeeded.
type Attempt struct {
	At       time.Time `json:"at"`
	Provider string    `json:"provider"`
	Error    string    `json:"error,omitempty"`
}

// DeliveryID derives the id of the delivery to a recipient over a channel: a
// version 5 UUID (RFC 9562, section 5.5) in the notification's id as its name
// space. The same recipient gets the same id however often it is asked for,
// which is what makes a second delivery of the same thing impossible.
func DeliveryID(notificationID string, channel Channel, to Recipient) string {
	text := make([]byte, 0, 160)
	space, _ := hex.DecodeString(strings.ReplaceAll(notificationID, "-", ""))
	text = append(append(text, space...), channel...)
	if to.UserID != "" {
		text = append(append(text, "/user/"...), to.UserID...)
	} else {
		text = append(append(text, "/address/"...), strings.ToLower(to.Email)...)
	}
	sum := sha1.Sum(text) //nolint:gosec // see the import
	return formatUUID(sum[:16], 5)
}

// formatUUID writes 16 bytes as a UUID of a version.
func formatUUID(u []byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
