package starter

import (
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// How acknowledgements are gathered.
const (
	ackEvery = 50 * time.Millisecond  // one frame for those of this time
	ackAfter = 200 * time.Millisecond // by itself, while one delivered before is under way
)

// acks acknowledges the messages of one channel, many with one frame: for a
// quorum queue each frame is an entry in its log. Who was handled waits up to
// ackEvery, and up to ackAfter or most others for those that were delivered
// before; the delivery tags of a channel have no gaps.
type acks struct {
	channel amqp.Acknowledger
	most    int         // how many may wait
	failed  func(error) // is told when the channel takes none any more

	mu      sync.Mutex
	next    uint64               // the lowest tag that is not settled
	waiting map[uint64]time.Time // tags of those handled, since when
	settled map[uint64]bool      // tags from next on that RabbitMQ need not be told of any more
	timer   *time.Timer          // runs while some wait
}

func newAcks(channel amqp.Acknowledger, most int, failed func(error)) *acks {
	return &acks{
		channel: channel, most: most, failed: failed,
		next: 1, waiting: map[uint64]time.Time{}, settled: map[uint64]bool{},
	}
}

// acknowledge has a message acknowledged soon.
func (a *acks) acknowledge(tag uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[tag] = time.Now()
	switch {
	case len(a.waiting) >= a.most:
		a.flush(time.Now())
	case a.timer == nil:
		a.timer = time.AfterFunc(ackEvery, a.tick)
	}
}

// giveBack has a message delivered again, to whomever.
func (a *acks) giveBack(tag uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled[tag] = true
	return a.channel.Nack(tag, false, true)
}

// finish acknowledges all that wait, now.
func (a *acks) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flush(time.Now().Add(ackAfter))
}

func (a *acks) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flush(time.Now())
}

// flush acknowledges those that were delivered before all that is under way,
// and of the others those that have waited long enough.
func (a *acks) flush(now time.Time) {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	var last uint64 // that waits, with nobody under way before it
	for ; ; a.next++ {
		if _, waits := a.waiting[a.next]; waits {
			last = a.next
			delete(a.waiting, a.next)
		} else if !a.settled[a.next] {
			break
		}
		delete(a.settled, a.next)
	}
	if last > 0 {
		a.ack(last, true)
	}
	full := len(a.waiting) >= a.most
	for tag, since := range a.waiting {
		if full || now.Sub(since) >= ackAfter {
			a.settled[tag] = true
			delete(a.waiting, tag)
			a.ack(tag, false)
		}
	}
	if len(a.waiting) > 0 {
		a.timer = time.AfterFunc(ackEvery, a.tick)
	}
}

func (a *acks) ack(tag uint64, multiple bool) {
	if err := a.channel.Ack(tag, multiple); err != nil {
		a.failed(fmt.Errorf("acknowledge events: %w", err))
	}
}
