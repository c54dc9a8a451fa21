package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// subprotocol is what server and client speak.
const subprotocol = "belfry.v1"

// Limits of a connection.
const (
	handshakeTimeout = 15 * time.Second
	writeTimeout     = 10 * time.Second
	silence          = 60 * time.Second // without a sign of life; the server pings every 25 s
	maxFrame         = 4 << 20          // bytes
)

// ackPause is within which time acknowledgements go together.
const ackPause = 100 * time.Millisecond

// The codes with which the server says that trying again is no use.
const (
	closeBadFrame        = 4400
	closeUnauthenticated = 4401
)

// A connection is one socket.
type connection struct {
	socket *websocket.Conn

	mu    sync.Mutex // for writes
	acked string     // the cursor to acknowledge
	acks  *time.Timer
}

// session is one connection from its beginning to its end. It says whether the
// server has greeted us, and whether the loop goes on.
func (l *Listener) session(ctx context.Context, yield func(Event, error) bool) (greeted, goOn bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := l.connect(ctx)
	if err != nil {
		return false, true, err
	}
	defer c.close()
	defer context.AfterFunc(ctx, c.close)()
	defer l.use(nil)
	if greeted, goOn, err = l.hello(c, yield); err != nil || !goOn {
		return greeted, goOn, err
	}
	for {
		event, cursor, err := c.read()
		if err != nil {
			return true, true, err
		}
		goOn := l.give(event, yield)
		if event.Item != nil && l.cfg.Ack {
			c.ackSoon(cursor)
		}
		l.advance(cursor)
		if !goOn {
			return true, false, nil
		}
	}
}

// connect opens a socket and says who we are.
func (l *Listener) connect(ctx context.Context) (*connection, error) {
	hello := map[string]string{"type": "hello"}
	header := http.Header{}
	for name, value := range map[string]string{"user_id": l.cfg.UserID, "after": l.Cursor()} {
		if value != "" {
			hello[name] = value
		}
	}
	if l.cfg.Bearer != nil {
		bearer, err := l.cfg.Bearer(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask for a token: %w", err)
		}
		if bearer != "" {
			header.Set("Authorization", "Bearer "+bearer)
		}
	}
	if l.cfg.Ticket != nil {
		ticket, err := l.cfg.Ticket(ctx)
		if err != nil {
			return nil, fmt.Errorf("ask for a ticket: %w", err)
		}
		hello["ticket"] = ticket
	}
	dialer := *l.cfg.Dialer
	dialer.Subprotocols = []string{subprotocol}
	socket, response, err := dialer.DialContext(ctx, l.url, header)
	if err != nil {
		return nil, refusalOf(response, err)
	}
	socket.SetReadLimit(maxFrame)
	c := &connection{socket: socket}
	socket.SetPingHandler(func(data string) error {
		_ = socket.SetReadDeadline(time.Now().Add(silence))
		err := socket.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		if errors.Is(err, websocket.ErrCloseSent) {
			return nil
		}
		return err
	})
	if err := c.write(hello); err != nil {
		_ = socket.Close()
		return nil, err
	}
	return c, nil
}

// refusalOf is what a server says that opens no socket.
func refusalOf(response *http.Response, err error) error {
	if response == nil {
		return fmt.Errorf("connect to Belfry: %w", err)
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // the dialer has read what it keeps of it
	_ = response.Body.Close()
	problem := Problem{Detail: response.Status}
	_ = json.Unmarshal(text, &problem) // it need not be one
	if s := response.StatusCode; s >= 400 && s < 500 && s != http.StatusRequestTimeout && s != http.StatusTooManyRequests {
		return &Refusal{Code: s, Detail: problem.Detail}
	}
	return fmt.Errorf("connect to Belfry: %s (%d)", problem.Detail, response.StatusCode)
}

// hello waits for the server's, and gives it.
func (l *Listener) hello(c *connection, yield func(Event, error) bool) (greeted, goOn bool, err error) {
	event, cursor, err := c.read()
	for err == nil && event.Connected == nil { // a complaint, before the server closes the socket
		event, cursor, err = c.read()
	}
	if err != nil {
		return false, true, err
	}
	l.use(c)
	l.advance(cursor)
	return true, yield(event, nil), nil
}

// use has frames of ours go over a connection; nil: over none.
func (l *Listener) use(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = c
}

// give gives an event, unless it is of no type that is known, or an item that
// was given before.
func (l *Listener) give(event Event, yield func(Event, error) bool) bool {
	if event.Frame == nil {
		return true
	}
	if event.Item != nil {
		if l.known.Contains(event.Item.ID) {
			return true
		}
		l.known.Add(event.Item.ID, struct{}{})
	}
	return yield(event, nil)
}

// advance notes the cursor that came with what has been given.
func (l *Listener) advance(cursor string) {
	if cursor == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursor = cursor
}

func (c *connection) read() (Event, string, error) {
	_ = c.socket.SetReadDeadline(time.Now().Add(silence))
	_, text, err := c.socket.ReadMessage()
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok && (closed.Code == closeUnauthenticated || closed.Code == closeBadFrame) {
		return Event{}, "", &Refusal{Code: closed.Code, Detail: closed.Text}
	}
	if err != nil {
		return Event{}, "", fmt.Errorf("listen to Belfry: %w", err)
	}
	return readFrame(text)
}

func (c *connection) write(frame map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(frame)
}

func (c *connection) writeLocked(frame map[string]string) error {
	_ = c.socket.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := c.socket.WriteJSON(frame); err != nil {
		return fmt.Errorf("tell Belfry: %w", err)
	}
	return nil
}

// ackSoon acknowledges the item that came with a cursor, and all before it.
// Where that does not come to be, the server sends them again.
func (c *connection) ackSoon(cursor string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked = cursor; c.acks == nil {
		c.acks = time.AfterFunc(ackPause, c.ack)
	}
}

func (c *connection) ack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acks = nil; c.acked != "" {
		_ = c.writeLocked(map[string]string{"type": "ack", "cursor": c.acked}) // who reads finds out
		c.acked = ""
	}
}

// close acknowledges what is to be, and closes the socket.
func (c *connection) close() {
	c.mu.Lock()
	if c.acks != nil {
		c.acks.Stop()
	}
	c.mu.Unlock()
	c.ack()
	_ = c.socket.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	_ = c.socket.Close()
}
