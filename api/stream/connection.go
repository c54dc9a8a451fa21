package stream

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/access"
)

// Limits of a connection.
const (
	helloTimeout = 5 * time.Second
	writeTimeout = 10 * time.Second // of one frame
	closeTimeout = 2 * time.Second  // for the client to close after the server has
	pingEvery    = 25 * time.Second
	pongTimeout  = 60 * time.Second // without a sign of life
	storeTimeout = 10 * time.Second // of what a frame asks for
	recheckEvery = 2 * time.Minute  // whether a token is still good

	maxFrameSize = 16 << 10 // bytes of a client's frame: a token is the largest thing in one
	framesRate   = 50       // client's frames a second
	framesBurst  = 1000     // at once, so that each item that was missed can be acknowledged
)

// A connection is one socket. Its handler reads, one goroutine writes, and one
// catches up when there may be something to catch up with.
type connection struct {
	stream *Stream
	socket *websocket.Conn
	id     string
	out    *outbox
	frames *rate.Limiter
	group  sync.WaitGroup
	gone   context.Context // until nothing more is read
	leave  context.CancelFunc

	deadline sync.Mutex // for what the socket's deadline is
	ending   bool

	// From the hello on.
	bearer string // empty: none was shown
	caller access.Caller
	userID string
	progress
}

func newConnection(s *Stream, socket *websocket.Conn) *connection {
	return &connection{
		stream: s, socket: socket, id: uuid.NewString(), out: newOutbox(),
		frames: rate.NewLimiter(framesRate, framesBurst),
	}
}

// serve is the life of a connection. Shown is what the request's header said.
func (c *connection) serve(ctx context.Context, shown *credentials) {
	c.gone, c.leave = context.WithCancel(ctx)
	c.socket.SetReadLimit(maxFrameSize)
	c.socket.SetPingHandler(c.pinged)
	c.socket.SetPongHandler(func(string) error { return c.extend(pongTimeout) })
	c.group.Go(c.write)
	end := c.stream.meet(c)
	if end == nil {
		end = c.listen(shown) //nolint:contextcheck // c.gone is made of ctx
	}
	if end == clientGone {
		c.out.end(end, []text{})
	} else {
		c.end(end)
		c.readOut()
	}
	c.leave()
	c.finish()
	c.group.Wait()
}

// clientGone is the end of a connection that the client has ended.
var clientGone = &ending{code: websocket.CloseNormalClosure}

// listen greets the client and does what it says, until it is gone or the
// connection is to end.
func (c *connection) listen(shown *credentials) *ending {
	_ = c.extend(helloTimeout)
	kind, text, err := c.socket.ReadMessage()
	if err != nil {
		if isTimeout(err) {
			return &ending{code: closeNoHello, detail: "no hello within 5 s"}
		}
		return clientGone
	}
	hello, end := readHello(kind, text)
	if end != nil {
		return end
	}
	if end := c.greet(hello, shown); end != nil {
		return end
	}
	defer c.stream.Gateway.Close(c.userID, c)
	if !c.caller.Until.IsZero() {
		timer := time.AfterFunc(c.caller.Until.Sub(c.stream.Now()), func() { c.end(tokenEnded) })
		defer timer.Stop()
	}
	for {
		_ = c.extend(pongTimeout)
		kind, text, err := c.socket.ReadMessage()
		if err != nil {
			return clientGone
		}
		if !c.frames.Allow() {
			return &ending{closeTooMuch, wordTooMuch, "too many frames"}
		}
		if kind != websocket.TextMessage {
			return badFrame("a frame has to be text")
		}
		if end := c.obey(text); end != nil {
			return end
		}
	}
}

// readOut reads until the client has closed its side, so that what was written
// to it is not lost with what it has written.
func (c *connection) readOut() {
	for {
		if _, _, err := c.socket.NextReader(); err != nil {
			return
		}
	}
}

// extend has the client live for so long, unless its connection is ending.
func (c *connection) extend(by time.Duration) error {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	if c.ending {
		return nil
	}
	return c.socket.SetReadDeadline(time.Now().Add(by))
}

// pinged answers a ping, which counts as a frame.
func (c *connection) pinged(data string) error {
	if !c.frames.Allow() {
		return &websocket.CloseError{Code: closeTooMuch}
	}
	_ = c.extend(pongTimeout)
	err := c.socket.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
	if isTimeout(err) {
		return nil // the writer finds out
	}
	return err
}

// end has the connection closed once what waits is written.
func (c *connection) end(how *ending) { c.out.end(how, nil) }

// write writes what is in the outbox, and closes the socket when it ends.
func (c *connection) write() {
	defer func() { _ = c.socket.Close() }()
	pings := time.NewTicker(pingEvery)
	defer pings.Stop()
	checked := time.Now()
	for {
		frame, last, ok := c.out.next()
		switch {
		case ok:
			if c.writeText(frame) != nil {
				c.out.end(clientGone, []text{}) // nothing is written any more
				return
			}
			continue
		case last != nil:
			c.closeWith(last)
			return
		}
		select {
		case <-c.out.more:
		case <-pings.C:
			if c.socket.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout)) != nil {
				return
			}
			if time.Since(checked) > recheckEvery {
				checked = time.Now()
				c.group.Go(c.recheck)
			}
		}
	}
}

// writeBuffers are what frames are put together in: few are written at a time,
// of all the sockets that an item goes to.
var writeBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (c *connection) writeText(t text) error {
	buffer := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(buffer)
	*buffer = t.appendTo((*buffer)[:0])
	_ = c.socket.SetWriteDeadline(c.out.deadline(time.Now()))
	return c.socket.WriteMessage(websocket.TextMessage, *buffer)
}

// closeWith writes the close frame and waits a little for the client's.
func (c *connection) closeWith(last *ending) {
	const maxReason = 123 // RFC 6455, section 5.5
	text := websocket.FormatCloseMessage(last.code, last.detail[:min(len(last.detail), maxReason)])
	if c.socket.WriteControl(websocket.CloseMessage, text, time.Now().Add(writeTimeout)) != nil {
		return
	}
	c.deadline.Lock()
	c.ending = true
	_ = c.socket.SetReadDeadline(time.Now().Add(closeTimeout))
	c.deadline.Unlock()
	<-c.gone.Done()
}
