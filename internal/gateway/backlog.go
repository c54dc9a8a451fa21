package gateway

import (
	"context"
	"sync"
)

// A backlog is messages that wait, in their order. It is bounded: what does not
// fit is dropped.
type backlog struct {
	mu       sync.Mutex
	messages []*Message
	size     int
	dropped  int           // since somebody asked
	more     chan struct{} // has a value when there may be messages
}

// The bounds of a backlog.
const (
	maxWaiting     = 20_000
	maxWaitingSize = 8 << 20
)

func newBacklog() *backlog { return &backlog{more: make(chan struct{}, 1)} }

// add takes what fits.
func (b *backlog) add(messages ...*Message) {
	b.mu.Lock()
	for _, m := range messages {
		if len(b.messages) >= maxWaiting || b.size+m.size() > maxWaitingSize && len(b.messages) > 0 {
			b.dropped++
			continue
		}
		b.messages = append(b.messages, m)
		b.size += m.size()
	}
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// take waits for messages and gives the first of them: most at most, together
// of the size at most, but one at least. It gives none when ctx ends.
func (b *backlog) take(ctx context.Context, most, size int) []*Message {
	for {
		if taken := b.first(most, size); taken != nil {
			return taken
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.more:
		}
	}
}

func (b *backlog) first(most, size int) []*Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, sum := 0, 0
	for n < min(len(b.messages), most) && (n == 0 || sum+b.messages[n].size() <= size) {
		sum += b.messages[n].size()
		n++
	}
	if n == 0 {
		return nil
	}
	taken := b.messages[:n:n]
	b.size -= sum
	if b.messages = b.messages[n:]; len(b.messages) == 0 {
		b.messages = nil
	}
	return taken
}

// droppedSince is how many were dropped since it was last asked.
func (b *backlog) droppedSince() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped := b.dropped
	b.dropped = 0
	return dropped
}
