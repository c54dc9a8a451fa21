// Package client listens to a user's inbox over Belfry's live socket.
//
//	listener, err := client.New(client.Config{
//		URL:    "https://belfry.example.org",
//		UserID: "4518e644-1ff3-4003-a14e-99dfe3fdd7ab",
//		Bearer: func(context.Context) (string, error) { return os.Getenv("BELFRY_KEY"), nil },
//	})
//	if err != nil {
//		return err
//	}
//	for event, err := range listener.Listen(ctx) {
//		if err != nil {
//			return err
//		}
//		if event.Item != nil {
//			fmt.Println(event.Item.Title)
//		}
//	}
//
// A Listener connects again by itself, from where it was, so each item that
// comes while it listens is given once, whatever becomes of the connection and
// of the server's instances. Items come in the order of their ids, but for those
// that Belfry could store only later than others that were begun after them.
package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gorilla/websocket"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Config says what to listen to. Only URL is needed, and UserID where the
// credentials are not those of the user.
type Config struct {
	URL    string // of Belfry's API, http or https
	UserID string // whose inbox
	After  string // the cursor to go on from; empty: what comes from now on
	Ack    bool   // acknowledge items, each once the next event is asked for

	// Bearer gives an API key or a token, and Ticket a ticket: one of them, asked
	// anew for each connection. Nil: none is shown.
	Bearer func(ctx context.Context) (string, error)
	Ticket func(ctx context.Context) (string, error)

	// Lost is told why a connection has ended or none came to be, and after how
	// long the next try is made. It may be nil.
	Lost func(err error, next time.Duration)

	Dialer *websocket.Dialer // nil: the default one
}

// remembered is how many items a Listener remembers, so that it gives none
// twice: more than the server sends again.
const remembered = 4096

// A Listener listens to one inbox. Its methods but Listen may be called at any
// time.
type Listener struct {
	cfg   Config
	url   string
	known *lru.Cache[string, struct{}]

	mu      sync.Mutex
	cursor  string
	current *connection // nil while there is none
}

// New makes a listener, which connects when Listen is ranged over.
func New(cfg Config) (*Listener, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("client: URL: needs an address such as https://belfry.example.org")
	}
	if cfg.Bearer != nil && cfg.Ticket != nil {
		return nil, errors.New("client: one of Bearer and Ticket")
	}
	if cfg.Dialer == nil {
		cfg.Dialer = &websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: handshakeTimeout}
	}
	known, err := lru.New[string, struct{}](remembered)
	if err != nil {
		return nil, err
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	return &Listener{cfg: cfg, url: u.JoinPath("v1", "stream").String(), known: known, cursor: cfg.After}, nil
}

// Cursor is where the listener is: Config.After of another one that goes on
// from here. It is empty until the first connection.
func (l *Listener) Cursor() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor
}

// The pauses between tries, as long as none comes to a hello.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 15 * time.Second
)

// Listen gives what comes, until ctx ends or the server refuses for good. The
// error is the last thing that it gives. It is for one loop at a time.
func (l *Listener) Listen(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		pauses := backoff.NewExponentialBackOff()
		pauses.InitialInterval, pauses.MaxInterval = firstPause, lastPause
		for {
			greeted, goOn, err := l.session(ctx, yield)
			if !goOn {
				return
			}
			if ctx.Err() != nil {
				yield(Event{}, context.Cause(ctx))
				return
			}
			if greeted {
				pauses.Reset()
			}
			if isRefusal(err) && !greeted { // after a hello, another token may be good
				yield(Event{}, err)
				return
			}
			pause := pauses.NextBackOff()
			if l.cfg.Lost != nil {
				l.cfg.Lost(err, pause)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// A Refusal is an error with which the server says that trying again is no use.
type Refusal struct {
	Code   int // with which it closed the socket, or HTTP's status
	Detail string
}

func (r *Refusal) Error() string { return fmt.Sprintf("Belfry refuses: %s (%d)", r.Detail, r.Code) }

func isRefusal(err error) bool {
	_, refused := errors.AsType[*Refusal](err)
	return refused
}

// errNotConnected says that there is no connection now.
var errNotConnected = errors.New("client: not connected now")

// Seen tells the server that an item was seen. The answer is a State for all of
// the user's sockets. It fails while there is no connection.
func (l *Listener) Seen(itemID string) error { return l.change("seen", itemID) }

// Read tells the server that an item was read.
func (l *Listener) Read(itemID string) error { return l.change("read", itemID) }

// Archive tells the server to archive an item.
func (l *Listener) Archive(itemID string) error { return l.change("archive", itemID) }

func (l *Listener) change(what, itemID string) error {
	l.mu.Lock()
	c := l.current
	l.mu.Unlock()
	if c == nil {
		return errNotConnected
	}
	return c.write(map[string]string{"type": what, "item_id": itemID})
}
