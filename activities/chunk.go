package activities

import (
	"context"
	"errors"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What holds for a delivery (claim.go) holds for a chunk of up to 50 of them:
// an insert decides. The claims of a chunk are numbered, and only ever
// inserted: to send, to end what is unsent, or, last, to say that all is over
// and recorded but for those deliveries that are left for later. So the same
// insert decides between a sender that comes to its end late and the successor
// that takes it for dead, and what is left for later is left for one of them
// only. Those deliveries go on alone: their own claims carry on the numbers.
//
// The successor of a dead sender sends again what has no delivery document,
// and its claim says which these are, so that its own successor knows of whom
// it is in doubt.

// A ChunkLedger keeps the claims of chunks.
type ChunkLedger interface {
	// InsertChunk is notify.CodeInvalid for entries that are too large together.
	InsertChunk(ctx context.Context, c *notify.Chunk) error
	Chunk(ctx context.Context, id string) (*notify.Chunk, error)
	// InsertDeliveries inserts each whatever becomes of the others, and says
	// which of them are there already.
	InsertDeliveries(ctx context.Context, deliveries []*notify.Delivery) (taken []int, err error)
}

// A place is a recipient, and the channel over which to tell them.
type place struct {
	to      notify.Recipient
	channel notify.Channel
}

// A chunk is some places of a page, all of one channel, and what is known of the
// claims on them.
type chunk struct {
	page, number int
	places       []place
	entries      []notify.Entry     // as composed, then as in the first claim
	puzzled      []error            // by entry: why it could not be composed now
	log          []*notify.Chunk    // its claims so far
	ended        []*notify.Delivery // by entry; nil: not as far as is known
	later        map[int]error      // those that this run left for later, and why
	recorded     func()             // lets the next chunk begin: what this run did is recorded
}

func (c *chunk) channel() notify.Channel { return c.places[0].channel }

func (c *chunk) last() *notify.Chunk {
	if len(c.log) == 0 {
		return nil
	}
	return c.log[len(c.log)-1]
}

// end is how the chunk ended, nil while it has not.
func (c *chunk) end() *notify.ChunkEnd {
	if c.last() == nil {
		return nil
	}
	return c.last().End
}

// add adds the next claim. What was composed here gives way to what the first
// claim says; one that was closed at once says nothing.
func (c *chunk) add(claim *notify.Chunk) {
	if claim.Number == 1 {
		c.entries = claim.Entries
		if claim.Entries == nil {
			c.entries = make([]notify.Entry, len(c.places))
			for i, p := range c.places {
				c.entries[i] = notify.Entry{UserID: p.to.UserID, Channel: p.channel, Address: p.to.Email}
			}
		}
	}
	claim.Entries = c.entries
	c.log = append(c.log, claim)
}

// readChunk reads the claims that have come since.
func (a *Activities) readChunk(ctx context.Context, j job, c *chunk) error {
	for c.end() == nil {
		claim, err := a.Store.Chunk(ctx, notify.ChunkID(j.notification.ID, c.page, c.number, len(c.log)+1))
		if notify.CodeOf(err) == notify.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		c.add(claim)
	}
	if len(c.end().Later) == 0 { // nothing is left to be sent: the content is not needed
		c.entries = nil
		for _, claim := range c.log {
			claim.Entries = nil
		}
	}
	return nil
}

// insertChunk inserts the next claim, or learns whose that is.
func (a *Activities) insertChunk(ctx context.Context, j job, c *chunk, next *notify.Chunk) error {
	err := a.Store.InsertChunk(ctx, next)
	if notify.CodeOf(err) == notify.CodeConflict {
		return a.readChunk(ctx, j, c)
	}
	if err == nil {
		c.add(next)
	}
	return err
}

// nextChunk is the claim that comes after those there are.
func (a *Activities) nextChunk(j job, c *chunk, token string) *notify.Chunk {
	now, number := a.Now(), len(c.log)+1
	return &notify.Chunk{
		ID: notify.ChunkID(j.notification.ID, c.page, c.number, number), Number: number, Token: token,
		At: now, Deadline: now.Add(a.Patience), NotificationID: j.notification.ID, CreatedAt: j.notification.CreatedAt,
	}
}

// deliverChunk takes a chunk to its end, or to an error that says why it has to
// wait. When ctx ends, what is under way is finished and the rest of the chunk
// left for later.
func (a *Activities) deliverChunk(ctx context.Context, j job, c *chunk) error {
	token := a.NewToken()
	for {
		var err error
		switch last := c.last(); {
		case last == nil:
			err = a.beginChunk(ctx, j, c, token)
		case last.End != nil:
			return nil
		case last.Token == token:
			err = a.actOnChunk(ctx, j, c, last, token)
		case last.Closed != "": // whoever closed it may have died over it
			if err = a.readEnded(ctx, c); err == nil {
				err = a.actOnChunk(ctx, j, c, last, token)
			}
		default:
			err = a.succeedChunk(ctx, j, c, last, token)
		}
		if err != nil {
			return err
		}
	}
}

// beginChunk claims a chunk that nobody has claimed.
func (a *Activities) beginChunk(ctx context.Context, j job, c *chunk, token string) error {
	claim := a.nextChunk(j, c, token)
	if claim.Closed = j.stoppedAt(claim.At); claim.Closed != "" {
		return a.insertChunk(context.WithoutCancel(ctx), j, c, claim)
	}
	if c.entries == nil { // it had a claim when it was looked at, or was to be stopped
		users := a.lookUpAll(ctx, []*chunk{c})
		a.composeChunk(ctx, j, c, users)
		users.stop()
	}
	if err := errors.Join(c.puzzled...); err != nil && !c.composed() {
		return c.puzzled[0] // nothing can be done for any of them now
	}
	if err := a.chooseForChunk(ctx, j, c, claim, ""); err != nil {
		return err
	}
	claim.Entries = c.entries
	err := a.insertChunk(context.WithoutCancel(ctx), j, c, claim)
	if notify.CodeOf(err) != notify.CodeInvalid {
		return err
	}
	for i, e := range c.entries { // together they are too large
		if e.Content != nil {
			c.entries[i].Content, c.entries[i].Reason = nil, notify.ReasonBadContent
			c.entries[i].Refused = &notify.Attempt{At: claim.At, Provider: "template", Error: err.Error()}
		}
	}
	return a.insertChunk(context.WithoutCancel(ctx), j, c, claim)
}

// composed says whether there is anything to send, or to end without.
func (c *chunk) composed() bool {
	for _, e := range c.entries {
		if e.Content != nil || e.Reason != "" {
			return true
		}
	}
	return false
}

// chooseForChunk names the provider, and has its turn for a first message. A
// chunk that has nothing to send needs none.
func (a *Activities) chooseForChunk(ctx context.Context, j job, c *chunk, claim *notify.Chunk, before string) error {
	for i, e := range c.entries {
		if e.Content == nil || c.ended[i] != nil {
			continue
		}
		like := &notify.Claim{Channel: c.channel(), Doubts: claim.Doubts, Attempts: claim.Attempts}
		err := a.choose(ctx, j, like, before)
		if err == nil && ctx.Err() != nil {
			err = errToldToStop
		}
		claim.Provider, claim.Deadline = like.Provider, a.Now().Add(a.Patience) // choosing may wait
		return err
	}
	return nil
}

// succeedChunk follows a claim to send of which nothing more was heard.
func (a *Activities) succeedChunk(ctx context.Context, j job, c *chunk, last *notify.Chunk, token string) error {
	begun := context.WithoutCancel(ctx)
	claim := a.nextChunk(j, c, token)
	if over := last.Deadline.Add(clockSkew); claim.At.Before(over) {
		return inDoubt(over.Sub(claim.At))
	}
	if err := a.readEnded(begun, c); err != nil {
		return err
	}
	for i := range c.entries {
		if c.ended[i] == nil && last.InDoubt(i) && !c.entries[i].Gone() {
			claim.Resent = append(claim.Resent, i)
		}
	}
	claim.Closed, claim.Doubts = j.stoppedAt(claim.At), last.Doubts+1
	claim.Attempts = appendAttempt(last.Attempts, notify.Attempt{At: last.At, Provider: last.Provider, Error: senderStopped})
	if claim.Closed != "" {
		claim.Resent = nil
		return a.insertChunk(begun, j, c, claim)
	}
	if len(claim.Resent) == 0 || j.notification.OnUnknown == notify.OnUnknownSkip {
		return a.actOnChunk(ctx, j, c, last, token) // there is nothing to send again
	}
	if err := a.chooseForChunk(ctx, j, c, claim, last.Provider); err != nil {
		return err
	}
	return a.insertChunk(begun, j, c, claim)
}

// actOnChunk does what a claim gives the right to do, and records it: the
// deliveries that have ended, then the end of the chunk. Where the claim has
// another token nothing is sent, and what is in doubt ends so.
func (a *Activities) actOnChunk(ctx context.Context, j job, c *chunk, claim *notify.Chunk, token string) error {
	results := make([]entryResult, len(c.entries))
	s := a.newChunkSender(ctx, j, c.channel(), claim, token)
	defer s.close()
	a.each(len(c.entries), func(i int) {
		if c.ended[i] == nil {
			results[i] = a.actOnEntry(s, c, claim, i)
		}
	})

	end := a.nextChunk(j, c, token)
	end.End = &notify.ChunkEnd{}
	var fresh []*notify.Delivery
	later := map[int]error{}
	for i, r := range results {
		switch {
		case c.ended[i] != nil:
		case r.delivery != nil:
			fresh = append(fresh, r.delivery)
		default:
			end.End.Later = append(end.End.Later, notify.Left{Entry: i, Outcome: r.outcome})
			later[i] = r.later
		}
	}
	begun := context.WithoutCancel(ctx)
	if err := a.endAll(begun, fresh); err != nil {
		return err
	}
	var counted Result
	var ended []*notify.Delivery // by a dead sender too
	for i, r := range results {
		if r.delivery != nil {
			c.ended[i] = r.delivery
		}
		if c.ended[i] != nil {
			counted.count(c.ended[i])
			ended = append(ended, c.ended[i])
		}
	}
	if err := a.tell(begun, ended); err != nil {
		return err
	}
	end.End.Counts, end.End.Expired, end.End.Cancelled = counted.Counts, counted.Expired, counted.Cancelled
	if len(later) == 0 {
		c.recorded()
	}
	return a.persist(begun, func(ctx context.Context) error {
		err := a.insertChunk(ctx, j, c, end)
		if c.last() == end {
			c.later = later
		}
		return err
	})
}
