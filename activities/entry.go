package activities

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/notify"
)

// senderStopped is what an attempt shows of which nothing more was heard.
const senderStopped = "the sender stopped before it recorded an outcome"

var errToldToStop = &laterError{cause: "told to stop"}

// lookUps are the answers about the users of some chunks, in their order.
type lookUps struct {
	next func() (notify.User, error, bool)
	stop func()
}

// lookUpAll looks the users of some chunks up over one stream. Its answers are
// taken by composing these chunks one after the other.
func (a *Activities) lookUpAll(ctx context.Context, chunks []*chunk) lookUps {
	var ids []string
	for _, c := range chunks {
		for _, p := range c.places {
			if p.to.UserID != "" {
				ids = append(ids, p.to.UserID)
			}
		}
	}
	next, stop := iter.Pull2(a.Directory.LookupAll(ctx, ids))
	return lookUps{next, stop}
}

// user is who a recipient is: the next user that the idp knows, or who the
// request says.
func (l lookUps) user(to notify.Recipient) (notify.User, error) {
	if to.UserID == "" {
		return notify.User{Email: to.Email, Name: to.Name}, nil
	}
	user, err, _ := l.next()
	return user, err
}

// composeChunk looks up and renders the entries of a chunk.
func (a *Activities) composeChunk(ctx context.Context, j job, c *chunk, users lookUps) {
	n := len(c.places)
	entries, puzzled, whom := make([]notify.Entry, n), make([]error, n), make([]notify.User, n)
	for i, p := range c.places {
		whom[i], puzzled[i] = users.user(p.to)
	}
	a.each(n, func(i int) { entries[i], puzzled[i] = a.composeEntry(ctx, j, c.places[i], whom[i], puzzled[i]) })
	c.entries, c.puzzled = entries, puzzled
}

// composeEntry is an entry with what there is to send, or why there is nothing.
// It fails where that cannot be said now, with an entry that says neither.
func (a *Activities) composeEntry(ctx context.Context, j job, p place, user notify.User, err error) (notify.Entry, error) {
	e := notify.Entry{UserID: p.to.UserID, Channel: p.channel, Address: p.to.Email, Name: p.to.Name}
	claim := notify.Claim{Channel: p.channel}
	err = a.composeFor(ctx, j, user, err, &claim)
	var unsendable *unsendableError
	switch {
	case errors.As(err, &unsendable):
		e.Reason, e.Refused = unsendable.reason, &unsendable.attempt
		return e, nil
	case err != nil:
		return e, err
	}
	e.Address, e.Name, e.Content = claim.Address, claim.Name, claim.Content
	return e, nil
}

// readEnded reads which deliveries of a chunk have ended. Those that the last
// claim's sender may have sent again all the same are marked so.
func (a *Activities) readEnded(ctx context.Context, c *chunk) error {
	last := c.last()
	var group errgroup.Group
	group.SetLimit(a.Concurrency)
	for i := range c.entries {
		group.Go(func() error {
			claim := last.Claim(i)
			var doubted *notify.Claim
			if last.InDoubt(i) {
				doubted = claim
			}
			ended, err := a.ended(ctx, claim.DeliveryID, doubted)
			c.ended[i] = ended
			return err
		})
	}
	return group.Wait()
}

// An entryResult is a delivery that has ended, or the outcome with which it is
// left for later, and why.
type entryResult struct {
	delivery *notify.Delivery
	outcome  notify.ClaimOutcome
	later    error
}

// actOnEntry does for one entry what a chunk's claim gives the right to do.
func (a *Activities) actOnEntry(s *chunkSender, c *chunk, chunkClaim *notify.Chunk, i int) entryResult {
	claim := chunkClaim.Claim(i)
	d := &notify.Delivery{
		ID: claim.DeliveryID, NotificationID: claim.NotificationID, UserID: claim.UserID, Channel: claim.Channel,
		Address: claim.Address, Attempts: claim.Attempts, Provider: claim.Provider, CreatedAt: claim.CreatedAt, Claim: claim.Number,
		Entry: notify.EntryOf(c.page, c.number, i),
	}
	gone := c.entries[i].Gone()
	switch {
	case claim.Closed != "":
		d.State, d.Provider = closedState(claim), ""
		if d.State != notify.StateUnknown { // why it was given up says nothing about what became of it
			d.Reason = claim.Closed
		}
		return entryResult{delivery: d}
	case claim.Content == nil && !gone:
		why := "the recipient could not be looked up"
		err := error(&laterError{cause: why})
		if c.puzzled != nil && c.puzzled[i] != nil {
			err = c.puzzled[i]
		}
		return a.untried(why, err)
	case !s.mine || gone:
		d.State = notify.StateUnknown
		if !s.mine {
			d.Attempts = appendAttempt(d.Attempts, notify.Attempt{At: claim.At, Provider: claim.Provider, Error: senderStopped})
		}
		return entryResult{delivery: d}
	}
	if err := s.turn(); err != nil {
		return a.untried(err.Error(), err)
	}
	first := claim
	if claim.Number > 1 {
		first = c.log[0].Claim(i)
	}
	outcome := s.send(first)
	now := a.Now()
	if conclude(d, claim, outcome, now) {
		if d.State == notify.StateUnknown {
			d.Reason = ""
		}
		return entryResult{delivery: d}
	}
	return entryResult{
		outcome: notify.ClaimOutcome{Kind: outcome.Kind, At: now, Error: outcome.Detail},
		later:   &laterError{after: outcome.RetryAfter, cause: outcome.Detail},
	}
}

// untried is an entry whose turn has not come: no attempt is counted.
func (a *Activities) untried(why string, err error) entryResult {
	return entryResult{
		outcome: notify.ClaimOutcome{Kind: notify.OutcomeTransient, At: a.Now(), Error: why, Untried: true},
		later:   err,
	}
}

// A chunkSender sends the messages of a chunk under its claim.
type chunkSender struct {
	job
	going    context.Context // until no more is to be begun
	sending  context.Context // until the claim's deadline
	close    context.CancelFunc
	provider Provider
	high     bool
	mine     bool        // else nothing is to be sent
	spare    atomic.Bool // the turn that was had before the claim
	late     func() bool // too late to begin a message
}

func (a *Activities) newChunkSender(ctx context.Context, j job, channel notify.Channel, claim *notify.Chunk, token string) *chunkSender {
	s := &chunkSender{job: j, going: ctx, high: j.notification.Priority == notify.PriorityHigh, mine: claim.Token == token}
	s.sending, s.close = context.WithDeadline(context.WithoutCancel(ctx), claim.Deadline)
	s.late = func() bool { return claim.Deadline.Sub(a.Now()) < a.Patience/2 } // each has at least the other half
	s.spare.Store(true)
	if s.mine && claim.Provider != "" {
		s.provider = a.provider(channel, claim.Provider)
	}
	return s
}

// turn waits for a message's turn.
func (s *chunkSender) turn() error {
	if s.going.Err() != nil {
		return errToldToStop
	}
	var after time.Duration
	if !s.spare.CompareAndSwap(true, false) {
		var ready bool
		if ready, after = readyAtPace(s.going, s.pace, s.provider, s.high); !ready {
			return &laterError{after: after, soon: true, cause: "no provider can take a message now"}
		}
	}
	if s.late() {
		return &laterError{soon: true, cause: "its chunk took too long"}
	}
	return nil
}

// send sends what the first claim says, also in a later attempt.
func (s *chunkSender) send(first *notify.Claim) notify.Outcome {
	return s.provider.Send(s.sending, s.message(first))
}

// endAll records deliveries that have ended. Where somebody has recorded an end
// before, what each of the two knows is joined.
func (a *Activities) endAll(ctx context.Context, deliveries []*notify.Delivery) error {
	if len(deliveries) == 0 {
		return nil
	}
	var taken []int
	err := a.persist(ctx, func(ctx context.Context) (err error) {
		taken, err = a.Store.InsertDeliveries(ctx, deliveries)
		return err
	})
	if err != nil {
		return err
	}
	for _, i := range taken {
		if _, err := a.end(ctx, deliveries[i], 0); err != nil {
			return err
		}
	}
	d := deliveries[0]
	a.Log.DebugContext(ctx, "deliveries ended", "notification", d.NotificationID, "entry", d.Entry, "deliveries", len(deliveries))
	return nil
}
