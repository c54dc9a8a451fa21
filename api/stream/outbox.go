package stream

import (
	"context"
	"errors"
	"sync"
	"time"
)

// An outbox is the frames that wait to be written to a socket. It is bounded, so
// that a client that does not read costs no more than this.
type outbox struct {
	mu     sync.Mutex
	frames []text
	size   int
	last   *ending       // what comes after the frames; nil: it goes on
	ended  time.Time     // when last was set
	more   chan struct{} // has a value when there may be something to write
	room   chan struct{} // has one when there may be room
}

// The bounds of an outbox. One frame may be larger than that.
const (
	maxFrames     = 4096
	maxFramesSize = 1 << 20
)

func newOutbox() *outbox {
	return &outbox{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

var errEnded = errors.New("the socket is closed")

// offer adds a frame; false when there is no room for it.
func (o *outbox) offer(frame text) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil {
		return true // nobody waits for it any more
	}
	if len(o.frames) > 0 && (len(o.frames) >= maxFrames || o.size+frame.size() > maxFramesSize) {
		return false
	}
	o.frames = append(o.frames, frame)
	o.size += frame.size()
	signal(o.more)
	return true
}

// put adds a frame and waits for room for it. It is for one goroutine at a time.
func (o *outbox) put(ctx context.Context, frame text) error {
	for !o.offer(frame) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-o.room:
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil {
		return errEnded
	}
	return nil
}

// end takes no more frames. Those that wait are written before the end, or the
// given ones in their place.
func (o *outbox) end(last *ending, instead []text) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil {
		return
	}
	o.last, o.ended = last, time.Now()
	if instead != nil {
		o.frames, o.size = nil, 0
	}
	if last.word != "" {
		instead = append(instead, textOf(errorFrame{"error", last.word, last.detail}))
	}
	o.frames = append(o.frames, instead...)
	signal(o.more)
	signal(o.room)
}

// deadline is by when the next frame is to be written, and all of them after the
// end.
func (o *outbox) deadline(now time.Time) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last != nil {
		now = o.ended
	}
	return now.Add(writeTimeout)
}

// next is the frame to write, or how to end after the last one.
func (o *outbox) next() (frame text, last *ending, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) == 0 {
		o.frames = nil
		return frame, o.last, false
	}
	frame = o.frames[0]
	o.frames[0] = text{}
	o.frames = o.frames[1:]
	o.size -= frame.size()
	signal(o.room)
	return frame, nil, true
}

// signal leaves a value in a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
