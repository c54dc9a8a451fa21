package starter

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/event"
)

// unsettled is a channel as RabbitMQ has it: the tags that are not settled. One
// that is not among them is an error that ends the channel.
type unsettled struct {
	tags   map[uint64]bool
	given  map[uint64]bool // back
	frames int
}

func (u *unsettled) Ack(tag uint64, multiple bool) error {
	u.frames++
	if !u.tags[tag] {
		return errors.New("PRECONDITION_FAILED - unknown delivery tag")
	}
	for known := range u.tags {
		if known == tag || multiple && known < tag {
			delete(u.tags, known)
		}
	}
	return nil
}

func (u *unsettled) Nack(tag uint64, _, _ bool) error {
	u.given[tag] = true
	return u.Ack(tag, false)
}

func (u *unsettled) Reject(uint64, bool) error { return errors.New("not used") }

// Whatever the order in which events are handled and given back, each is
// acknowledged that was handled, and none that is under way.
func TestAcknowledgementsInAnyOrder(t *testing.T) {
	t.Parallel()
	const n, underWay, most = 2000, 64, 32
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			channel := &unsettled{tags: map[uint64]bool{}, given: map[uint64]bool{}}
			a := newAcks(channel, most, func(err error) { require.NoError(t, err) })
			var busy []uint64
			delivered, handled := uint64(0), 0
			for delivered < n || len(busy) > 0 {
				for len(busy) < underWay && delivered < n {
					delivered++
					a.mu.Lock()
					channel.tags[delivered] = true
					a.mu.Unlock()
					busy = append(busy, delivered)
				}
				at := random.IntN(len(busy)) // seldom the first that came
				tag := busy[at]
				busy = append(busy[:at], busy[at+1:]...)
				if random.IntN(10) == 0 {
					require.NoError(t, a.giveBack(tag))
				} else {
					handled++
					a.acknowledge(tag)
				}
				<-time.After(time.Duration(random.IntN(8)) * time.Millisecond)
				a.mu.Lock()
				for _, tag := range busy {
					require.True(t, channel.tags[tag], "%d is under way", tag)
				}
				require.LessOrEqual(t, len(channel.tags), len(busy)+most)
				a.mu.Unlock()
			}
			a.finish()
			require.Empty(t, channel.tags)
			require.Empty(t, a.settled)
			require.Len(t, channel.given, n-handled)
			require.Less(t, channel.frames-len(channel.given), handled, "some share a frame")
		})
	}
}

// Events that are handled about in the order they came share frames.
func TestAcknowledgementsShareFrames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		channel := &unsettled{tags: map[uint64]bool{}}
		a := newAcks(channel, 32, func(err error) { require.NoError(t, err) })
		for tag := uint64(1); tag <= 100; tag++ {
			channel.tags[tag] = true
		}
		frames := func() int {
			a.mu.Lock()
			defer a.mu.Unlock()
			return channel.frames
		}
		for tag := uint64(100); tag > 1; tag-- { // the first one takes longest
			if tag%10 == 0 {
				a.acknowledge(tag)
			}
		}
		<-time.After(ackAfter - time.Millisecond)
		require.Zero(t, frames())
		<-time.After(ackEvery)
		synctest.Wait()
		require.Equal(t, 10, frames(), "they wait for no longer")
		for tag := uint64(1); tag <= 100; tag++ {
			if tag%10 != 0 {
				a.acknowledge(tag)
			}
		}
		a.finish()
		require.Empty(t, channel.tags)
		require.Equal(t, 10+3, frames(), "32 at a time")
	})
}

// One event that takes long keeps neither the others from being handled nor
// them from being acknowledged.
func TestASlowEventHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	const n = 500
	h := &handler{handle: func(ctx context.Context, e *event.Event) error {
		if e.ID != "0" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	r := start(t, h)
	r.connected(1)
	r.publish(0, n)
	r.eventually("the others are handled", func() bool { return r.Counters.Handled.Load() == n-1 })
	r.stop()
	r.eventually("it is back", func() bool { return r.Length(Queue) == 1 })
	require.Zero(t, r.Length(DeadQueue))
	for id := 1; id < n; id++ {
		require.Equal(t, 1, h.seen[strconv.Itoa(id)], id)
	}
}
