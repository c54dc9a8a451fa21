package activities

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"golang.org/x/time/rate"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A BulkStore keeps what only notifications to many need.
type BulkStore interface {
	PutPageCounts(ctx context.Context, c notify.PageCounts) error
	DeletePageCounts(ctx context.Context, notificationID string) error
	UpdateAudience(ctx context.Context, id string, audience notify.AudienceRef, counts notify.Counts) error
}

// A Page is one of the pages in which a notification to many goes out.
type Page struct {
	ID      string        `json:"id"`
	Number  int           `json:"number"`            // from 0
	Again   bool          `json:"again,omitempty"`   // some of it may have gone out
	ToEnd   bool          `json:"to_end,omitempty"`  // those that wait are waited for
	Wait    time.Duration `json:"wait,omitempty"`    // before it begins
	Rate    float64       `json:"rate,omitempty"`    // messages a second at most; 0: no limit
	Stopped notify.Reason `json:"stopped,omitempty"` // why nothing more is to be sent; empty: all is to be
}

// A PageResult says how the deliveries of a page stand, and after how long
// those are due that have no end.
type PageResult struct {
	Result
	Wait time.Duration `json:"wait,omitempty"`
}

// DeliverPage delivers a page of a notification to many. It is done when it has
// done what it could for each, and a few may wait for another attempt; asked to
// go to the end, it fails with an error that asks for a retry at the right time
// while any wait. What has ended is not touched again. Past the notification's
// expiry it ends the rest as expired. Cancelled, it finishes what is under way
// and begins nothing more.
func (a *Activities) DeliverPage(ctx context.Context, in Page) (PageResult, error) {
	told, stop := heartbeat(ctx)
	defer stop()
	attempt := activity.GetInfo(ctx).Attempt
	if in.Wait > 0 && attempt == 1 {
		return PageResult{}, waiting("its time has not come", in.Wait)
	}
	in.Again = in.Again || attempt > 1
	result, wait, err := a.deliverPage(ctx, in, told)
	switch {
	case err != nil:
		return PageResult{}, retryable(err)
	case wait == nil:
		return PageResult{Result: result}, nil
	case ctx.Err() != nil:
		return PageResult{Result: result}, ctx.Err()
	case !in.ToEnd && !wait.blocked:
		return PageResult{Result: result, Wait: max(wait.delay(1), InitialBackoff)}, nil
	}
	return PageResult{}, waiting(fmt.Sprintf("%d of %d deliveries wait: %v", result.Counts.Queued, result.Counts.Total, wait.cause), wait.delay(attempt))
}

// StopPage cancels what is unsent of a page, as Stop does: by the claims that a
// send would need.
func (a *Activities) StopPage(ctx context.Context, in Page) (Result, error) {
	in.Again, in.Stopped = true, notify.ReasonCancelled
	told := &told{}
	return a.stop(ctx, func() (Result, *wait) {
		result, next, err := a.deliverPage(ctx, in, told)
		if err != nil {
			next = &wait{cause: err, failed: err}
		}
		return result, next
	})
}

// deliverPage takes each delivery of a page as far as it gets now, and keeps
// the counts where they can be seen meanwhile.
func (a *Activities) deliverPage(ctx context.Context, in Page, told *told) (Result, *wait, error) {
	n, err := a.Store.Accepted(ctx, in.ID)
	if err != nil {
		return Result{}, nil, err
	}
	over, of := n.Page(in.Number)
	recipients, err := a.recipients(ctx, n, of)
	if notify.CodeOf(err) == notify.CodeNotFound { // somebody has deleted the audience
		a.Log.ErrorContext(ctx, "the audience is gone: a page of it fails", "notification", n.ID, "page", in.Number)
		var lost Result
		lost.Counts.Add(notify.StateFailed, min(notify.PageSize, n.Recipients()-of*notify.PageSize))
		return lost, nil, nil
	}
	if err != nil {
		return Result{}, nil, err
	}
	j, err := a.job(ctx, n, in.Again)
	if err != nil {
		return Result{}, nil, err
	}
	j.stopped, j.told = in.Stopped, told
	if in.Rate > 0 {
		j.pace = rate.NewLimiter(rate.Limit(in.Rate), max(1, int(in.Rate)/10))
		j.pace.AllowN(time.Now(), j.pace.Burst()) // a page begins with none, however many pages there are
	}
	var seen *pageCounter
	if n.Audience != nil {
		seen = a.newPageCounter(ctx, n, in.Number)
		defer seen.close()
	}
	result, next := a.deliverChunks(ctx, j, chunkedPage{number: in.Number, over: over, recipients: recipients}, seen)
	return result, next, nil
}

// recipients are PageSize of them.
func (a *Activities) recipients(ctx context.Context, n *notify.Notification, page int) ([]notify.Recipient, error) {
	if n.Audience != nil {
		return a.Store.AudiencePage(ctx, n.Audience.ID, page)
	}
	from := page * notify.PageSize
	return n.To[from:min(from+notify.PageSize, len(n.To))], nil
}

// FinishBulk records how and when a notification to many ended whose deliveries
// ended so.
func (a *Activities) FinishBulk(ctx context.Context, id string, result Result) (notify.Status, error) {
	status, err := a.Finish(ctx, id, result)
	if err != nil {
		return status, err
	}
	if err := a.Store.DeletePageCounts(ctx, id); err != nil { // they expire
		a.Log.WarnContext(ctx, "counts of pages are left behind", "notification", id, "error", err)
	}
	return status, nil
}

// countEvery is how often the counts of a page under way are written.
const countEvery = 400 * time.Millisecond

// A pageCounter writes down how a page stands while it is under way: now and
// then, and at the end.
type pageCounter struct {
	mu      sync.Mutex
	counts  notify.Counts
	changed bool

	write func(notify.Counts)
	over  chan struct{}
	ended sync.WaitGroup
}

func (a *Activities) newPageCounter(ctx context.Context, n *notify.Notification, page int) *pageCounter {
	ctx = context.WithoutCancel(ctx)
	p := &pageCounter{over: make(chan struct{}), write: func(counts notify.Counts) {
		err := a.Store.PutPageCounts(ctx, notify.PageCounts{
			ID: fmt.Sprintf("%s/%d", n.ID, page), NotificationID: n.ID, Counts: counts, ExpiresAt: n.ExpiresAt.Add(notify.DefaultExpiry),
		})
		if err != nil {
			a.Log.WarnContext(ctx, "counts of a page not written", "notification", n.ID, "page", page, "error", err)
		}
	}}
	p.ended.Go(func() {
		ticker := time.NewTicker(countEvery)
		defer ticker.Stop()
		for {
			select {
			case <-p.over:
				p.flush()
				return
			case <-ticker.C:
				p.flush()
			}
		}
	})
	return p
}

// set says how the deliveries stand that are known to have ended. A nil counter
// keeps nothing.
func (p *pageCounter) set(ended notify.Counts) {
	if p == nil {
		return
	}
	ended.Total, ended.Queued = ended.Total-ended.Queued, 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts, p.changed = ended, true
}

func (p *pageCounter) flush() {
	p.mu.Lock()
	counts, changed := p.counts, p.changed
	p.changed = false
	p.mu.Unlock()
	if changed {
		p.write(counts)
	}
}

// close writes what is left to be written.
func (p *pageCounter) close() {
	close(p.over)
	p.ended.Wait()
}

// A Listing says how many a notification to all users tells, or that it has
// expired before they were listed.
type Listing struct {
	Total   int  `json:"total"`
	Expired bool `json:"expired,omitempty"`
}

// ListRecipients lists whom a notification to all users tells, and keeps them as
// its audience.
func (a *Activities) ListRecipients(ctx context.Context, id string) (Listing, error) {
	r, err := a.Store.Notification(ctx, id)
	if err != nil {
		return Listing{}, retryable(err)
	}
	if !a.Now().Before(r.ExpiresAt) {
		return Listing{Expired: true}, nil
	}
	all, err := a.ListUsers(ctx, ListUsersInput{AudienceID: r.Audience.ID, ExpiresAt: r.ExpiresAt.Add(notify.DefaultExpiry)})
	if err != nil {
		return Listing{}, err
	}
	r.Audience.Total = all.Total
	queued := notify.Counts{Total: r.Deliveries(), Queued: r.Deliveries()}
	return Listing{Total: all.Total}, retryable(a.Store.UpdateAudience(ctx, id, *r.Audience, queued))
}
