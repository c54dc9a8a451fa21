// Package stream is the live socket of inboxes: a WebSocket over which a user's
// client learns of what comes into the inbox, and of what becomes of it on other
// sockets.
//
// # Nothing is missed
//
// Everything is stored before anybody is told, and being told is a matter of
// liveness only. What a client has is said by a cursor: a moment, such that the
// client has everything that was stored more than 30 s (overlap) before it. A
// client that comes back with a cursor gets what was stored from 30 s before it
// on, in the order of the items' ids, some of it again: it leaves out by id what
// it has.
//
// The moment is that of storing, not that in the item's id: the id says when an
// attempt at the delivery was claimed, and where MongoDB was away, or the
// claim's holder died, the item is stored long after.
//
// An item can be seen some seconds after the moment that it was stored at: the
// write takes its time, and clocks differ. 15 s (margin) are allowed for both.
// So who has looked at a moment has everything that was stored until 15 s before
// it; each socket is compared with what is stored every 10 s, and a cursor is
// never more than 15 s ahead of the last such look. These 15 s and the margin
// are the overlap. Cursors go forward only.
//
// A socket that opens is made known to others first, and looks at what is stored
// then; who stores an item stores it first, and looks who is there then. So one
// of the two sees the other, and there is no gap between catching up and being
// told.
package stream

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/gateway"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// Subprotocol is what client and server speak.
const Subprotocol = "belfry.v1"

// A Store keeps the inboxes and the tickets.
type Store interface {
	StoredSince(ctx context.Context, userIDs []string, since time.Time, limit int) ([]store.Stored, error)
	Items(ctx context.Context, ids []string) ([]notify.Item, error)
	Item(ctx context.Context, userID, itemID string) (*notify.Item, error)
	Unread(ctx context.Context, userID string) (int, error)
	ChangeItem(ctx context.Context, userID, itemID string, change store.ItemChange, at time.Time) (*notify.Item, error)
	AckItems(ctx context.Context, items []notify.Item, at time.Time) error
	InsertTicket(ctx context.Context, t *store.Ticket) error
	UseTicket(ctx context.Context, id string, now time.Time) (*store.Ticket, error)
}

// A Gateway tells sockets what others store.
type Gateway interface {
	Open(ctx context.Context, userID string, s gateway.Socket) error
	Close(userID string, s gateway.Socket)
}

// A Pusher tells other sockets what is stored here.
type Pusher interface {
	PushState(item *notify.Item, unread int)
}

// Config is what the socket needs to know and to call.
type Config struct {
	Store   Store
	Gateway Gateway
	Pusher  Pusher
	// Authenticate says who shows a bearer token; an error with
	// notify.CodeUnavailable that it cannot say so now. Nil: nobody is asked.
	Authenticate func(ctx context.Context, bearer string) (access.Caller, error)
	// Origins are those of other web pages than the server's own that may
	// connect, such as https://app.example.com.
	Origins         []string
	Connections     int           // of all users, at most
	UserConnections int           // of one user, at most
	LookEvery       time.Duration // at what is stored, 0: DefaultLookEvery
	Log             *slog.Logger
	Now             func() time.Time
}

// DefaultLookEvery is how often the sockets are compared with what is stored.
// See the package: it is less than the margin.
const DefaultLookEvery = 10 * time.Second

// A Stream serves the sockets of one instance.
type Stream struct {
	Config
	upgrader websocket.Upgrader
	reads    chan struct{} // one for each look at the store under way

	mu          sync.Mutex
	draining    bool
	places      int                  // that are taken
	greeting    int                  // of those, by connections that nobody knows who they are of
	connections map[*connection]bool // whether it is known
	users       map[string]int       // known connections, by user
	handlers    sync.WaitGroup
}

// maxReads is how many sockets ask the store at a time, when they open or catch
// up: where an instance has died, all of its clients come at once.
const maxReads = 8

// New makes a stream; Run has it find what it was not told.
func New(cfg Config) *Stream {
	if cfg.LookEvery == 0 {
		cfg.LookEvery = DefaultLookEvery
	}
	return &Stream{
		Config:      cfg,
		reads:       make(chan struct{}, maxReads),
		connections: map[*connection]bool{},
		users:       map[string]int{},
		upgrader: websocket.Upgrader{
			Subprotocols:    []string{Subprotocol},
			ReadBufferSize:  1024,
			WriteBufferSize: 4096,
			WriteBufferPool: &sync.Pool{},
			CheckOrigin:     func(*http.Request) bool { return true }, // was checked before
		},
	}
}

// ServeHTTP upgrades a request to a WebSocket and serves it to its end.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shown, refused := s.admit(r)
	if refused == nil {
		refused = s.enter()
	}
	if refused != nil {
		refused.write(w)
		return
	}
	defer s.handlers.Done()
	socket, err := s.upgrader.Upgrade(w, r, nil)
	var c *connection
	if err == nil { // else it has answered
		c = newConnection(s, socket)
		c.serve(context.WithoutCancel(r.Context()), shown)
	}
	s.left(c)
}

// enter takes a place for a connection that comes. Who has not said who they are
// takes a tenth of the places at most, or a hundred.
func (s *Stream) enter() *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return refuse(http.StatusServiceUnavailable, wordUnavailable, "this instance is going away")
	case s.places >= s.Connections, s.greeting >= max(s.Connections/10, 100):
		return refuse(http.StatusServiceUnavailable, wordUnavailable, "this instance has no place for another connection")
	}
	s.places++
	s.greeting++
	s.handlers.Add(1)
	return nil
}

// meet has a connection closed when this instance goes away.
func (s *Stream) meet(c *connection) *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return goingAway
	}
	s.connections[c] = false
	return nil
}

// join counts a connection as its user's, unless the user has enough of them.
func (s *Stream) join(c *connection) *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users[c.userID] >= s.UserConnections {
		return &ending{closeTooMuch, wordTooMuch, "this user has as many connections as one may have"}
	}
	s.users[c.userID]++
	s.greeting--
	s.connections[c] = true
	return nil
}

// left gives back what a connection has taken; nil: one that came to nothing.
func (s *Stream) left(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places--
	if !s.connections[c] {
		s.greeting--
	} else if s.users[c.userID]--; s.users[c.userID] == 0 {
		delete(s.users, c.userID)
	}
	delete(s.connections, c)
}

// Count is how many connections a user has here.
func (s *Stream) Count(userID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[userID]
}

// open are the connections, in no order, all or only those whose users are known.
func (s *Stream) open(onlyKnown bool) []*connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]*connection, 0, len(s.connections))
	for c, known := range s.connections {
		if known || !onlyKnown {
			found = append(found, c)
		}
	}
	return found
}

// The connections are closed one after the other, so that their clients do not
// come to another instance all at once: each so long after the one before, all
// within so long.
const (
	drainPause = 10 * time.Millisecond
	drainMost  = 5 * time.Second
)

// Drain lets nobody in any more, closes all connections with code 1012, and
// returns when they are closed, at the latest when ctx ends.
func (s *Stream) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	all := s.open(false)
	pause := min(drainPause, drainMost/time.Duration(max(len(all), 1)))
	for _, c := range all {
		c.end(goingAway)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	closed := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(closed)
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		for _, c := range s.open(false) {
			_ = c.socket.Close()
		}
	}
}
