package notify

import "time"

// A Message is what a delivery has to say, rendered and ready for a provider: a
// mail, or an item of an inbox.
type Message struct {
	DeliveryID     string
	NotificationID string
	Address        string        // bare address of the recipient
	Name           string        // display name of the recipient, may be empty
	Email          Email         // rendered; From may be empty: the provider's default then
	Date           time.Time     // of the first claim, however often it is sent
	Inbox          *InboxMessage // in place of Email
}

// An InboxMessage is what an item of an inbox is made of.
type InboxMessage struct {
	UserID  string
	Content InboxContent // rendered
	Data    Object       // of the notification
}

// An OutcomeKind sorts what a provider's attempt to send came to.
type OutcomeKind string

// What an attempt can come to.
const (
	OutcomeSent      OutcomeKind = "sent"      // the provider took it
	OutcomeTransient OutcomeKind = "transient" // definitely not sent; a retry can help
	OutcomePermanent OutcomeKind = "permanent" // definitely not sent; a retry cannot help
	OutcomeUnknown   OutcomeKind = "unknown"   // it may have been sent
)

// An Outcome is what one attempt to send came to.
type Outcome struct {
	Kind       OutcomeKind
	Reason     Reason        // with OutcomePermanent; with OutcomeTransient where our set-up is at fault
	Detail     string        // the provider's words, empty when sent
	ProviderID string        // the provider's id for the message, with OutcomeSent
	Down       bool          // the provider itself failed, whatever the message: unreachable, or set up wrongly
	RetryAfter time.Duration // with OutcomeTransient: no earlier than this; 0 when not told
}
