package notify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PageSize is how many recipients of a notification to many are delivered by
// one activity.
const PageSize = 500

// Pages is how many pages so many recipients fill.
func Pages(recipients int) int { return (recipients + PageSize - 1) / PageSize }

// PageOrder is the order in which the channels of a notification to many go out,
// each in pages of its own: inboxes first, since nothing holds them back.
func PageOrder(channels []Channel) []Channel {
	ordered := slices.Clone(channels)
	slices.SortStableFunc(ordered, func(a, b Channel) int {
		switch {
		case a == b || a != ChannelInbox && b != ChannelInbox:
			return 0
		case a == ChannelInbox:
			return -1
		default:
			return 1
		}
	})
	return ordered
}

// Pages is how many pages the notification has over all of its channels.
func (n *Notification) Pages() int { return Pages(n.Recipients()) * len(n.Channels) }

// Page says what is on the page with the number: over which channel it goes, and
// which PageSize of the recipients it is to.
func (n *Notification) Page(number int) (over Channel, of int) {
	each := Pages(n.Recipients())
	return PageOrder(n.Channels)[number/each], number % each
}

// ChunkSize is how many deliveries of a broadcast are claimed together, at
// most. So many may go out twice when a sender dies.
const ChunkSize = 50

// A Chunk is the right to make one attempt at each of up to ChunkSize
// deliveries together, or says that there is nothing more to do about them
// together. It belongs to whoever inserts it first under its id; nobody changes
// it. See the package activities for the rules.
type Chunk struct {
	ID             string    `json:"id" bson:"_id"` // ChunkID of notification, page, chunk and number
	Number         int       `json:"number"`        // from 1
	Token          string    `json:"token"`         // tells its inserter from everybody else
	At             time.Time `json:"at"`
	NotificationID string    `json:"notification_id"`
	CreatedAt      time.Time `json:"created_at"` // of the deliveries

	Deadline time.Time `json:"deadline"` // its inserter has stopped sending by then
	Provider string    `json:"provider,omitempty"`
	Doubts   int       `json:"doubts"`             // earlier claims whose messages may have gone out
	Closed   Reason    `json:"closed,omitempty"`   // not a claim to send: it ends the deliveries
	Attempts []Attempt `json:"attempts,omitempty"` // those before this one, at each delivery in doubt
	Resent   []int     `json:"resent,omitempty"`   // from claim 2 on: the entries that it sends again

	// Entries are the deliveries. They are stored with claim 1 only.
	Entries []Entry `json:"-" bson:"-"`

	// End is set where this is no claim: what the claim before it came to.
	End *ChunkEnd `json:"end,omitempty"`
}

// An Entry is one delivery of a chunk: what there is to send and to whom, or
// why there is nothing. One with neither content nor reason could not be looked
// up or rendered at the time. One that was erased has a DeliveryID.
type Entry struct {
	UserID  string   `json:"user_id,omitempty"`
	Channel Channel  `json:"channel"`
	Address string   `json:"address,omitempty"`
	Name    string   `json:"name,omitempty"`
	Content *Bodies  `json:"content,omitempty"` // as rendered
	Reason  Reason   `json:"reason,omitempty"`  // why it cannot be sent
	Refused *Attempt `json:"refused,omitempty"` // with Reason: who said so

	DeliveryID string `json:"delivery_id,omitempty"` // where the recipient does not say it any more
}

// Gone says whether an entry had content that was erased: what may have been
// sent cannot be sent again.
func (e *Entry) Gone() bool { return e.Content != nil && *e.Content == (Bodies{}) }

// A ChunkEnd says that every delivery of a chunk has ended and is recorded, but
// for those left for later. These go on alone.
type ChunkEnd struct {
	Later     []Left `json:"later,omitempty"`
	Counts    Counts `json:"counts"`    // of those that have ended
	Expired   int    `json:"expired"`   // of the skipped ones, for want of time
	Cancelled int    `json:"cancelled"` // of the skipped ones, because somebody stopped the notification
}

// A Left is a delivery that its chunk has left for later.
type Left struct {
	Entry   int          `json:"entry"`
	Outcome ClaimOutcome `json:"outcome"`
}

// ChunkID is the id of a chunk's claim with the given number.
func ChunkID(notificationID string, page, chunk, number int) string {
	return fmt.Sprintf("%s/%d/%d#%d", notificationID, page, chunk, number)
}

// InDoubt says whether a message of this entry may have gone out under the
// claim, as far as the claim itself tells.
func (c *Chunk) InDoubt(entry int) bool {
	return c.Closed == "" && c.End == nil && c.Entries[entry].Content != nil &&
		(c.Number == 1 || slices.Contains(c.Resent, entry))
}

// Claim is what the chunk's claim is to one of its deliveries: a claim of the
// same number, which is not stored and has no id. The delivery's own claims
// follow it.
func (c *Chunk) Claim(entry int) *Claim {
	e := c.Entries[entry]
	claim := &Claim{
		Number: c.Number, Base: c.Number, Token: c.Token, At: c.At,
		DeliveryID: c.deliveryID(entry), NotificationID: c.NotificationID, UserID: e.UserID, Channel: e.Channel, CreatedAt: c.CreatedAt,
		Deadline: c.Deadline, Provider: c.Provider, Address: e.Address, Name: e.Name, Content: e.Content, Closed: c.Closed,
	}
	if e.Gone() {
		claim.Content = nil
	}
	switch {
	case e.Reason != "":
		claim.Closed = e.Reason
		if e.Refused != nil {
			claim.Attempts = []Attempt{*e.Refused}
		}
	case e.Content != nil:
		claim.Doubts, claim.Attempts = c.Doubts, c.Attempts
	}
	return claim
}

func (c *Chunk) deliveryID(entry int) string {
	e := c.Entries[entry]
	if e.DeliveryID != "" {
		return e.DeliveryID
	}
	return DeliveryID(c.NotificationID, e.Channel, Recipient{UserID: e.UserID, Email: e.Address})
}

// Erase removes from an entry who it is for and what there was to send, and
// says whether there was any of that.
func (c *Chunk) Erase(entry int) bool {
	e := &c.Entries[entry]
	if e.DeliveryID != "" {
		return false
	}
	erased := Entry{DeliveryID: c.deliveryID(entry), Channel: e.Channel, Reason: e.Reason}
	if e.Content != nil {
		erased.Content = &Bodies{}
	}
	*e = erased
	return true
}

// An EntryRef says where a delivery's content is: "page/chunk/entry" of its
// notification. It is empty for a delivery that was never in a chunk.
type EntryRef string

// EntryOf refers to an entry.
func EntryOf(page, chunk, entry int) EntryRef {
	return EntryRef(strconv.Itoa(page) + "/" + strconv.Itoa(chunk) + "/" + strconv.Itoa(entry))
}

// First is the id of the chunk's claim that holds the entry's content, and which
// of its entries that is.
func (r EntryRef) First(notificationID string) (chunkID string, entry int, err error) {
	return r.In(notificationID, 1)
}

// In is the id of the chunk's claim with the number, and which of its entries
// the delivery is.
func (r EntryRef) In(notificationID string, number int) (chunkID string, entry int, err error) {
	chunk, place, found := cutLast(string(r), "/")
	if !found {
		return "", 0, fmt.Errorf("no entry of a chunk: %q", r)
	}
	if entry, err = strconv.Atoi(place); err != nil {
		return "", 0, fmt.Errorf("no entry of a chunk: %q", r)
	}
	return fmt.Sprintf("%s/%s#%d", notificationID, chunk, number), entry, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
