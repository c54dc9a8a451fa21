package activities

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A chunkedPage is a page of a broadcast's recipients, which are the same
// however often it is read.
type chunkedPage struct {
	number     int
	over       notify.Channel
	recipients []notify.Recipient
}

// slowChunk is how long a chunk may take at the notification's own rate: so far
// behind are its counts, so much of it may be claimed and unsent when the
// notification is paused, and in doubt when the sender dies.
const slowChunk = time.Second

// chunks cuts a page, always in the same way.
func (p chunkedPage) chunks(n *notify.Notification) []*chunk {
	size := notify.ChunkSize
	if perSecond := n.Rate.PerSecond(); perSecond > 0 {
		size = min(size, max(1, int(perSecond*slowChunk.Seconds())))
	}
	var chunks []*chunk
	for i, to := range p.recipients {
		if i%size == 0 {
			chunks = append(chunks, &chunk{page: p.number, number: len(chunks)})
		}
		c := chunks[len(chunks)-1]
		c.places = append(c.places, place{to, p.over})
		c.ended = append(c.ended, nil)
	}
	return chunks
}

// deliverChunks takes the deliveries of a page as far as they get now: chunk by
// chunk, and then alone those that their chunk has left for later in an earlier
// run. One chunk is under way at a time, so that no more than that is in doubt
// when the sender dies; meanwhile the next one is rendered, and the end of the
// one before is written. When ctx ends or the worker is told to stop, what is
// under way is finished and nothing more begun.
func (a *Activities) deliverChunks(ctx context.Context, j job, page chunkedPage, seen *pageCounter) (Result, *wait) {
	going, cancel := untilStopped(ctx)
	defer cancel()
	var mu sync.Mutex
	var result Result
	var next *wait
	var alone []*chunk
	delay := func(n int, err error) {
		result.Counts.Add(notify.StateQueued, n)
		next = next.with(j, a.Now(), err)
	}
	count := func(c *chunk, err error) {
		if err != nil {
			delay(len(c.places), err)
			next.blocked = true
			return
		}
		end := c.end()
		result.Add(Result{Counts: end.Counts, Expired: end.Expired, Cancelled: end.Cancelled})
		for _, err := range c.later {
			delay(1, err)
		}
		if c.later == nil && len(end.Later) > 0 {
			alone = append(alone, c)
		} else {
			*c = chunk{} // its content is not needed any more
		}
	}
	chunks := page.chunks(j.notification)
	if j.again {
		chunks = a.unended(going, j, chunks, count)
		seen.set(result.Counts) // at once, or they would fall by those that have ended
	}
	prepared := a.prepareAhead(going, j, chunks)
	underWay := make(chan struct{}, 1)
	var ending sync.WaitGroup
	for _, c := range chunks {
		underWay <- struct{}{}
		<-prepared
		c.recorded = sync.OnceFunc(func() { <-underWay })
		ending.Go(func() {
			defer c.recorded()
			err := error(errToldToStop)
			if going.Err() == nil {
				err = a.deliverChunk(going, j, c)
			}
			mu.Lock()
			defer mu.Unlock()
			count(c, err)
			seen.set(result.Counts)
		})
	}
	ending.Wait()
	a.deliverAlone(going, j, alone, func(d *notify.Delivery, err error) {
		if err != nil {
			delay(1, err)
			return
		}
		result.count(d)
	})
	seen.set(result.Counts)
	return result, next
}

// untilStopped is a context that ends when ctx does, or when the worker is told
// to stop.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	going, cancel := context.WithCancel(ctx)
	if stopping := stopChannel(ctx); stopping != nil {
		go func() {
			select {
			case <-stopping:
				cancel()
			case <-going.Done():
			}
		}()
	}
	return going, cancel
}

// unended reads the claims of chunks. It counts those that have ended, or cannot be
// read, and gives the others.
func (a *Activities) unended(ctx context.Context, j job, chunks []*chunk, count func(*chunk, error)) []*chunk {
	var others []*chunk
	for _, c := range chunks {
		err := a.readChunk(ctx, j, c)
		if ctx.Err() != nil {
			err = errToldToStop
		}
		if err != nil || c.end() != nil {
			count(c, err)
		} else {
			others = append(others, c)
		}
	}
	return others
}

// prepareAhead composes each chunk that has no claim, one chunk ahead of whoever
// receives.
func (a *Activities) prepareAhead(ctx context.Context, j job, chunks []*chunk) <-chan struct{} {
	prepared := make(chan struct{})
	go func() {
		var unclaimed []*chunk
		for _, c := range chunks {
			if c.last() == nil && j.stoppedAt(a.Now()) == "" {
				unclaimed = append(unclaimed, c)
			}
		}
		var users lookUps
		if len(unclaimed) > 0 {
			users = a.lookUpAll(ctx, unclaimed)
			defer users.stop()
		}
		for _, c := range chunks {
			if len(unclaimed) > 0 && c == unclaimed[0] {
				a.composeChunk(ctx, j, c, users)
				unclaimed = unclaimed[1:]
			}
			prepared <- struct{}{} // it is received, whatever happens
		}
	}()
	return prepared
}

// A base is a chunk's claims on a delivery, which the delivery's own follow:
// the first one, if it had something to send, and the last.
type base struct {
	first, last *notify.Claim
}

// base is what a delivery that the chunk has left for later goes on from.
func (c *chunk) base(left notify.Left) *base {
	first, last := c.log[0].Claim(left.Entry), c.log[len(c.log)-2].Claim(left.Entry)
	last.Outcome = &left.Outcome
	return newBase(first, last, notify.EntryOf(c.page, c.number, left.Entry))
}

func newBase(first, last *notify.Claim, entry notify.EntryRef) *base {
	last.Entry = entry
	if first.Content == nil {
		first = nil
	}
	return &base{first: first, last: last}
}

// deliverAlone takes those deliveries as far as they get now that their chunks
// have left for later, and gives each.
func (a *Activities) deliverAlone(ctx context.Context, j job, chunks []*chunk, give func(*notify.Delivery, error)) {
	type end struct {
		of       place
		from     *base
		delivery *notify.Delivery
		err      error
	}
	var ends []*end
	for _, c := range chunks {
		for _, left := range c.end().Later {
			ends = append(ends, &end{of: c.places[left.Entry], from: c.base(left), err: errToldToStop})
		}
	}
	a.each(len(ends), func(i int) {
		if e := ends[i]; ctx.Err() == nil {
			e.delivery, e.err = a.deliver(context.WithoutCancel(ctx), j, e.of.to, e.of.channel, e.from)
		}
	})
	var ended []*notify.Delivery
	for _, e := range ends {
		if e.err == nil {
			ended = append(ended, e.delivery)
		}
	}
	untold := a.tellOnce(context.WithoutCancel(ctx), j.told, ended)
	for _, e := range ends {
		give(e.delivery, cmp.Or(e.err, untold))
	}
}

// count adds a delivery that has ended.
func (r *Result) count(d *notify.Delivery) {
	r.Counts.Add(d.State, 1)
	switch d.Reason { //nolint:exhaustive // the others count as failed
	case notify.ReasonExpired:
		r.Expired++
	case notify.ReasonCancelled:
		r.Cancelled++
	}
}
