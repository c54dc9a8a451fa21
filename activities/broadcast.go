package activities

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A chunkedPage is a page of a broadcast's recipients, which are the same
// however often it is read.
type chunkedPage struct {
	number     int
	recipients []notify.Recipient
}

// chunks cuts a page.
func (p chunkedPage) chunks(channels []notify.Channel) []*chunk {
	var chunks []*chunk
	for i := range len(p.recipients) * len(channels) {
		if i%notify.ChunkSize == 0 {
			chunks = append(chunks, &chunk{page: p.number, number: len(chunks)})
		}
		c := chunks[len(chunks)-1]
		c.places = append(c.places, place{p.recipients[i/len(channels)], channels[i%len(channels)]})
		c.ended = append(c.ended, nil)
	}
	return chunks
}

// deliverChunks takes the deliveries of a page as far as they get now: chunk by
// chunk, and then alone those that their chunk has left for later in an earlier
// run. One chunk is under way at a time, while the next one is rendered, so
// that no more than that is in doubt when the sender dies. When ctx ends or the
// worker is told to stop, what is under way is finished and nothing more begun.
func (a *Activities) deliverChunks(ctx context.Context, j job, page chunkedPage) (PageResult, *wait) {
	going, cancel := untilStopped(ctx)
	defer cancel()
	var result PageResult
	var next *wait
	var alone []*chunk
	delay := func(n int, err error) {
		result.Counts.Add(notify.StateQueued, n)
		next = next.with(j, a.Now(), err)
	}
	chunks := page.chunks(j.notification.Channels)
	prepared := a.prepareAhead(going, j, chunks)
	for _, c := range chunks {
		err := <-prepared
		if going.Err() != nil {
			err = errToldToStop
		}
		if err == nil {
			err = a.deliverChunk(going, j, c)
		}
		if err != nil {
			delay(len(c.places), err)
			continue
		}
		end := c.end()
		result.Add(PageResult{Counts: end.Counts, Expired: end.Expired, Cancelled: end.Cancelled})
		for _, err := range c.later {
			delay(1, err)
		}
		if c.later == nil && len(end.Later) > 0 {
			alone = append(alone, c)
		} else {
			*c = chunk{} // its content is not needed any more
		}
	}
	a.deliverAlone(going, j, alone, func(d *notify.Delivery, err error) {
		if err != nil {
			delay(1, err)
			return
		}
		result.count(d)
	})
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

// prepareAhead reads the claims of each chunk, or composes it where there are
// none, one chunk ahead of whoever receives: an error for each chunk, or nil.
func (a *Activities) prepareAhead(ctx context.Context, j job, chunks []*chunk) <-chan error {
	prepared := make(chan error)
	go func() {
		for _, c := range chunks {
			err := ctx.Err()
			if err == nil && j.again {
				err = a.readChunk(ctx, j, c)
			}
			if err == nil && c.last() == nil && j.stoppedAt(a.Now()) == "" {
				a.composeChunk(ctx, j, c)
			}
			prepared <- err // it is received, whatever happens
		}
	}()
	return prepared
}

// A base is a chunk's claims on a delivery, which the delivery's own follow:
// the first one, if it had something to send, and the last.
type base struct {
	first, last *notify.Claim
	entry       notify.EntryRef
}

// base is what a delivery that the chunk has left for later goes on from.
func (c *chunk) base(left notify.Left) *base {
	first, last := c.log[0].Claim(left.Entry), c.log[len(c.log)-2].Claim(left.Entry)
	last.Outcome = &left.Outcome
	if first.Content == nil {
		first = nil
	}
	return &base{first: first, last: last, entry: notify.EntryOf(c.page, c.number, left.Entry)}
}

// deliverAlone takes those deliveries as far as they get now that their chunks
// have left for later, and tells of each.
func (a *Activities) deliverAlone(ctx context.Context, j job, chunks []*chunk, tell func(*notify.Delivery, error)) {
	type end struct {
		delivery *notify.Delivery
		err      error
	}
	var ends []*end
	var group errgroup.Group
	group.SetLimit(a.Concurrency)
	for _, c := range chunks {
		for _, left := range c.end().Later {
			e := &end{err: errToldToStop}
			ends = append(ends, e)
			group.Go(func() error {
				if ctx.Err() == nil {
					p := c.places[left.Entry]
					e.delivery, e.err = a.deliver(context.WithoutCancel(ctx), j, p.to, p.channel, c.base(left))
				}
				return nil
			})
		}
	}
	_ = group.Wait() // no function of the group fails
	for _, e := range ends {
		tell(e.delivery, e.err)
	}
}

// stopChunks cancels what is unsent of a page, as Stop does: by the claims that
// a send would need.
func (a *Activities) stopChunks(ctx context.Context, j job, page chunkedPage) (PageResult, error) {
	j.again, j.stopped = true, notify.ReasonCancelled
	return a.stop(ctx, func() (PageResult, *wait) { return a.deliverChunks(ctx, j, page) })
}

// count adds a delivery that has ended.
func (r *PageResult) count(d *notify.Delivery) {
	r.Counts.Add(d.State, 1)
	switch d.Reason { //nolint:exhaustive // the others count as failed
	case notify.ReasonExpired:
		r.Expired++
	case notify.ReasonCancelled:
		r.Cancelled++
	}
}
