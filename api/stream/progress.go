package stream

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/notify"
)

// See the package for what these are.
const (
	overlap = 30 * time.Second
	margin  = 15 * time.Second
)

// maxRemembered is how many items a connection remembers to have sent, so as not
// to send them again, and how many it knows that are not acknowledged.
const maxRemembered = 2048

// progress is how far the client of a connection has come.
type progress struct {
	mu      sync.Mutex
	greeted bool      // the hello is sent: nothing comes before it
	last    time.Time // of the cursors that were sent
	looked  time.Time // what was stored by then and could be seen has been sent
	looking bool      // catching up: until that is over, what comes is left to it
	again   bool      // something has come meanwhile
	over    bool      // the socket is closed: there is nothing to catch up with
	sent    *lru.Cache[string, struct{}]
	unacked []gateway.Item // in the order in which they were sent, without their JSON
}

// begin says what the client has. Nil: it wants what comes from now on.
func (c *connection) begin(after *cursor) {
	c.sent, _ = lru.New[string, struct{}](maxRemembered) // fails for a size below 1 only
	c.last = c.stream.Now()
	if after != nil && after.at.Before(c.last) {
		c.last = after.at
	}
	c.looking = true
}

// finish has nothing more begun.
func (c *connection) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
}

// hello greets the client, and has it told what becomes of items.
func (c *connection) hello(unread int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.offer(textOf(helloFrame{"hello", c.id, unread, cursor{at: c.last}.String()}))
	c.greeted = true
}

// position is the cursor as it stands, which came with no item.
func (c *connection) position() cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cursor{at: c.last}
}

// cursorFor is the cursor that goes with an item, where the client has what was
// stored until overlap before a moment. The mutex is held.
func (c *connection) cursorFor(item string, complete time.Time) string {
	if complete.After(c.last) {
		c.last = complete
	}
	id, err := uuid.Parse(item)
	if err != nil { // Belfry's ids are UUIDs
		id = uuid.Nil
	}
	return cursor{c.last, id}.String()
}

// Tell sends news to the client. It never waits: a client that does not read as
// fast as news come is disconnected.
func (c *connection) Tell(m *gateway.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var frame text
	switch {
	case m.State != nil && c.greeted:
		frame = stateText(m.State)
	case m.Item != nil:
		if c.looking {
			c.again = true
			return
		}
		if c.sent.Contains(m.Item.ID) {
			return
		}
		now := c.stream.Now()
		if late := c.looked.Add(margin); late.Before(now) {
			now = late
		}
		frame = itemText(m.Item, c.cursorFor(m.Item.ID, now))
		c.remember(m.Item)
	default:
		return
	}
	if !c.out.offer(frame) {
		c.stream.Log.Info("a socket is closed, as its client reads too slowly", "connection", c.id)
		c.out.end(&ending{closeTooMuch, "", "the client reads too slowly"}, []text{textOf(gapFrame{"gap", cursor{at: c.stream.Now()}.String()})})
	}
}

// remember notes that an item is sent. The mutex is held.
func (c *connection) remember(item *gateway.Item) {
	c.sent.Add(item.ID, struct{}{})
	if len(c.unacked) == maxRemembered {
		c.unacked = c.unacked[1:]
	}
	c.unacked = append(c.unacked, gateway.Item{ID: item.ID, NotificationID: item.NotificationID, DeliveryID: item.DeliveryID})
}

// upTo are the items that were sent up to one and are not acknowledged; none
// where it is not among them.
func (c *connection) upTo(id string) []notify.Item {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := slices.IndexFunc(c.unacked, func(item gateway.Item) bool { return item.ID == id })
	var items []notify.Item
	for _, item := range c.unacked[:last+1] {
		items = append(items, notify.Item{ID: item.ID, UserID: c.userID, NotificationID: item.NotificationID, DeliveryID: item.DeliveryID})
	}
	return items
}

// acknowledged notes that those are acknowledged.
func (c *connection) acknowledged(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := slices.IndexFunc(c.unacked, func(item gateway.Item) bool { return item.ID == id })
	if c.unacked = c.unacked[last+1:]; len(c.unacked) == 0 {
		c.unacked = nil
	}
}
