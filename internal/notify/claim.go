package notify

import (
	"fmt"
	"time"
)

// A Claim is the right to make one attempt at a delivery. It belongs to
// whoever inserts it first under its id; see the package activities for the
// rules. Claim n+1 may be inserted once claim n ended as transient or unknown,
// or once its deadline has passed without an outcome.
type Claim struct {
	ID     string    `json:"id" bson:"_id"`  // ClaimID of the delivery, and of Number less Base
	Number int       `json:"number"`         // from 1
	Base   int       `json:"base,omitempty"` // the claims of its chunk, which come before the delivery's own
	Token  string    `json:"token"`          // tells its inserter from everybody else
	At     time.Time `json:"at"`

	DeliveryID     string    `json:"delivery_id"`
	NotificationID string    `json:"notification_id"`
	UserID         string    `json:"user_id,omitempty"`
	Channel        Channel   `json:"channel"`
	CreatedAt      time.Time `json:"created_at"` // of the delivery

	Deadline time.Time     `json:"deadline"` // its inserter has stopped sending by then
	Provider string        `json:"provider,omitempty"`
	Address  string        `json:"address,omitempty"`
	Name     string        `json:"name,omitempty"`
	Content  *Bodies       `json:"content,omitempty"`  // as rendered; in claim 1 only
	Doubts   int           `json:"doubts"`             // earlier attempts that may have gone out
	Closed   Reason        `json:"closed,omitempty"`   // not a claim to send: it ends the delivery
	Reopened int           `json:"reopened"`           // the last claim, up to this one, that reopened an ended delivery
	Attempts []Attempt     `json:"attempts,omitempty"` // those before this one
	Outcome  *ClaimOutcome `json:"outcome,omitempty"`
	Entry    EntryRef      `json:"entry,omitempty"` // of one that was in a chunk
}

// A ClaimOutcome is what came of a claim. Its inserter alone records it; a
// claim that ended the delivery may have it in the delivery's document
// instead.
type ClaimOutcome struct {
	Kind  OutcomeKind `json:"kind"`
	At    time.Time   `json:"at"`
	Error string      `json:"error,omitempty"`

	// Untried says that its turn had not come: it was no attempt.
	Untried bool `json:"untried,omitempty"`
}

// ClaimID is the id of one of a delivery's own claims, which are counted from 1.
// Those of its chunk do not count: whoever knows the delivery's id finds them.
func ClaimID(deliveryID string, own int) string {
	return fmt.Sprintf("%s#%d", deliveryID, own)
}

// InDoubt says whether this attempt may have gone out, as far as the claim
// itself tells.
func (c *Claim) InDoubt() bool {
	return c.Closed == "" && (c.Outcome == nil || c.Outcome.Kind == OutcomeUnknown)
}

// Tried says whether this was an attempt.
func (c *Claim) Tried() bool { return !c.Reopens() && (c.Outcome == nil || !c.Outcome.Untried) }

// Reopens says whether this is not a claim to send, but has a delivery that
// had ended tried again.
func (c *Claim) Reopens() bool { return c.Reopened == c.Number && c.Number > 0 }

// Reopen is the claim with the number that has a delivery which ended as failed
// or unknown tried again, after those of its own claims that come before it.
// Where nothing is in doubt, the recipient is looked up and the content rendered
// anew.
func Reopen(ended *Delivery, own []Claim, number int, token string, now time.Time) *Claim {
	before, known := 0, *ended
	for before < len(own) && own[before].Number < number {
		before++
	}
	if before > 0 {
		known.AddDoubts(&own[before-1])
	}
	c := &Claim{
		ID: ClaimID(ended.ID, before+1), Number: number, Base: number - before - 1, Reopened: number,
		Token: token, At: now, Deadline: now,
		DeliveryID: ended.ID, NotificationID: ended.NotificationID, UserID: ended.UserID,
		Channel: ended.Channel, CreatedAt: ended.CreatedAt, Provider: ended.Provider, Address: ended.Address,
		Attempts: ended.Attempts, Entry: ended.Entry,
		Outcome: &ClaimOutcome{Kind: OutcomeTransient, At: now, Error: "tried again by hand"},
	}
	if known.State == StateUnknown {
		c.Doubts = 1
	}
	return c
}
