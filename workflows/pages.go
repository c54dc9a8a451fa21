package workflows

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/belfry-notify/belfry/activities"
	"github.com/belfry-notify/belfry/internal/notify"
)

// How the pages of a notification to many are spread.
const (
	// pagesAtOnce is how many of them wait for a worker or are under way by one
	// workflow. How many each worker takes is for the worker to say.
	pagesAtOnce = 8
	// partitions is over how many workflows they are spread that are more.
	partitions = 4
	// pagesOfARun is after how many a partition goes on with an empty history.
	pagesOfARun = 1000
	// pageRate is how many messages a second one page is trusted with where the
	// notification has a rate of its own.
	pageRate = 1000
)

// Pages are those of a notification from From up to but not including To.
type Pages struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// PartitionInput is some pages of a notification to be delivered.
type PartitionInput struct {
	ID      string        `json:"id"`
	Left    []Pages       `json:"left"`
	Inboxes int           `json:"inboxes,omitempty"` // pages before this one go over inbox, all others over email
	Again   bool          `json:"again,omitempty"`   // some of them may have gone out
	Rate    float64       `json:"rate,omitempty"`    // messages a second at most, of all of them together; 0: no limit
	Stopped notify.Reason `json:"stopped,omitempty"`

	Done activities.Result `json:"done"` // carried on: what came of others before
}

// PartitionResult says what came of a partition's pages, and which of them are
// left because it was interrupted.
type PartitionResult struct {
	Done activities.Result `json:"done"`
	Left []Pages           `json:"left,omitempty"`
}

// Partition delivers a part of a notification to many. Cancelled, it finishes
// what is under way and says what is left.
func Partition(ctx workflow.Context, in PartitionInput) (PartitionResult, error) {
	p := newPartition(ctx, in)
	result, err := p.deliver()
	result.Done.Add(in.Done)
	if err == nil && len(result.Left) > 0 && ctx.Err() == nil {
		in.Left, in.Again, in.Done = result.Left, true, result.Done
		return PartitionResult{}, workflow.NewContinueAsNewError(ctx, Partition, in)
	}
	return result, err
}

// A partition is the delivery of some pages by one workflow.
type partition struct {
	PartitionInput
	ctx, patient workflow.Context // the second of the pages that wait for their left-overs
	leaveThose   workflow.CancelFunc

	active int        // pages under way, without those that wait
	behind []pageWait // those whose left-overs come last
	left   []int
	done   activities.Result
	failed error
}

type pageWait struct {
	page int
	wait time.Duration
}

func newPartition(ctx workflow.Context, in PartitionInput) *partition {
	p := &partition{PartitionInput: in, ctx: ctx}
	p.patient, p.leaveThose = workflow.WithCancel(ctx)
	return p
}

// deliver takes all pages to their end, up to pagesOfARun of them. A few
// deliveries of a page may wait for another attempt: they do so beside the pages
// that come after, or, at a rate of the notification's own, after all of them.
func (p *partition) deliver() (PartitionResult, error) {
	defer p.leaveThose()
	atOnce, share := p.spread()
	all := workflow.NewWaitGroup(p.ctx)
	rest, begun := p.Left, 0
	for len(rest) > 0 && begun < pagesOfARun {
		if err := workflow.Await(p.ctx, func() bool { return p.active < atOnce }); err != nil || p.ctx.Err() != nil {
			break
		}
		p.active++
		begun++
		page := activities.Page{Number: rest[0].From, Again: p.Again, Rate: share}
		all.Go(p.ctx, func(ctx workflow.Context) { p.deliverPage(ctx, page) })
		if rest[0].From++; rest[0].From == rest[0].To {
			rest = rest[1:]
		}
	}
	patiently, _ := workflow.NewDisconnectedContext(p.ctx) // what is under way is waited for
	if err := workflow.Await(patiently, func() bool { return p.active == 0 }); err != nil {
		return PartitionResult{}, err
	}
	if len(rest) > 0 || p.ctx.Err() != nil {
		p.leaveThose()
	}
	for i, b := range p.behind {
		if p.patient.Err() != nil {
			p.left = append(p.left, b.page)
			continue
		}
		wait := b.wait + time.Duration(float64(i)/p.Rate*float64(time.Second)) // one after the other begun
		left := activities.Page{Number: b.page, Wait: wait, Rate: p.Rate / float64(len(p.behind))}
		all.Go(p.ctx, func(ctx workflow.Context) { p.deliverRest(ctx, left) })
	}
	all.Wait(patiently)
	slices.Sort(p.left)
	return PartitionResult{Done: p.done, Left: append(rest, together(p.left)...)}, p.failed
}

// spread is how many pages are under way at a time, and the rate of each.
func (p *partition) spread() (atOnce int, share float64) {
	if p.Rate == 0 {
		return pagesAtOnce, 0
	}
	atOnce = int(math.Ceil(p.Rate / pageRate))
	return atOnce, p.Rate / float64(atOnce)
}

// deliverPage has a page delivered, and then what it has left for later, unless
// that comes after all pages.
func (p *partition) deliverPage(ctx workflow.Context, page activities.Page) {
	result, ended := p.execute(ctx, p.ctx, page, fmt.Sprintf("page %d", page.Number+1))
	p.active--
	switch {
	case ended:
	case p.Rate > 0:
		p.behind = append(p.behind, pageWait{page.Number, result.Wait})
	default:
		p.deliverRest(ctx, activities.Page{Number: page.Number, Wait: result.Wait})
	}
}

// deliverRest has those of a page delivered that wait for another attempt.
func (p *partition) deliverRest(ctx workflow.Context, page activities.Page) {
	page.Again, page.ToEnd = true, true
	p.execute(ctx, p.patient, page, fmt.Sprintf("page %d, deliveries that need another attempt", page.Number+1))
}

// execute has a page delivered, and says whether there is nothing more to be
// done about it in this run. Where that was told to stop, whatever it answers is
// no answer: the page is left.
func (p *partition) execute(ctx, under workflow.Context, page activities.Page, summary string) (result activities.PageResult, ended bool) {
	page.ID, page.Stopped = p.ID, p.Stopped
	queue := EmailBulkTaskQueue
	if page.Number < p.Inboxes {
		queue = InboxBulkTaskQueue
	}
	options := workflow.WithActivityOptions(under, deliverOptions(queue, summary))
	err := workflow.ExecuteActivity(options, a.DeliverPage, page).Get(ctx, &result)
	switch {
	case err == nil && result.Counts.Queued == 0:
		p.done.Add(result.Result)
	case under.Err() != nil, temporal.IsCanceledError(err):
		p.left = append(p.left, page.Number)
	case err == nil:
		return result, false
	case p.failed == nil:
		p.failed = err
	}
	return result, true
}

// allPages are those of all recipients, for each channel its own.
func (n *notification) allPages() []Pages {
	if n.Recipients == 0 {
		return nil
	}
	return []Pages{{0, notify.Pages(n.Recipients) * max(1, len(n.Channels))}}
}

// inboxes is how many pages go over inbox. They come first.
func (n *notification) inboxes() int {
	if !slices.Contains(n.Channels, notify.ChannelInbox) {
		return 0
	}
	return notify.Pages(n.Recipients)
}

// split cuts pages at a number.
func split(all []Pages, at int) (before, from []Pages) {
	for _, p := range all {
		if p.From < at {
			before = append(before, Pages{p.From, min(p.To, at)})
		}
		if p.To > at {
			from = append(from, Pages{max(p.From, at), p.To})
		}
	}
	return before, from
}

// together are the pages with these numbers.
func together(numbers []int) []Pages {
	var all []Pages
	for _, n := range numbers {
		if last := len(all) - 1; last >= 0 && all[last].To == n {
			all[last].To++
		} else {
			all = append(all, Pages{n, n + 1})
		}
	}
	return all
}

// count is how many pages there are in all.
func count(all []Pages) (n int) {
	for _, p := range all {
		n += p.To - p.From
	}
	return n
}

// cut spreads pages over so many parts.
func cut(all []Pages, parts int) [][]Pages {
	each := (count(all) + parts - 1) / parts
	var cuts [][]Pages
	room := 0
	for _, p := range all {
		for p.From < p.To {
			if room == 0 {
				cuts, room = append(cuts, nil), each
			}
			n := min(room, p.To-p.From)
			last := len(cuts) - 1
			cuts[last] = append(cuts[last], Pages{p.From, p.From + n})
			p.From, room = p.From+n, room-n
		}
	}
	return cuts
}

// deliverPages delivers the pages that are left, and returns when none is under
// way.
func (n *notification) deliverPages(ctx workflow.Context) error {
	in := PartitionInput{ID: n.ID, Left: n.left, Inboxes: n.inboxes(), Again: n.again, Rate: n.Rate.PerSecond(), Stopped: n.stopped()}
	if in.Stopped != "" {
		in.Rate = 0 // nothing is sent
	}
	n.again = true
	n.rounds++
	if count(n.left) <= pagesAtOnce {
		result, err := newPartition(ctx, in).deliver()
		n.left = result.Left
		n.result.Add(result.Done)
		return err
	}
	parts := [][]Pages{n.left}
	if in.Rate == 0 { // neither channel waits for the other
		before, from := split(n.left, in.Inboxes)
		parts = append(cut(before, partitions), cut(from, partitions)...)
	}
	futures := make([]workflow.Future, len(parts))
	for i, part := range parts {
		in.Left = part
		futures[i] = workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:          fmt.Sprintf("%s/part/%d.%d", NotificationID(n.ID), n.rounds, i+1),
			WaitForCancellation: true,
			StaticSummary:       fmt.Sprintf("%d of %d pages of a notification", count(part), count(n.allPages())),
		}), Partition, in)
	}
	n.left = nil
	var failed error
	for i, future := range futures {
		var result PartitionResult
		switch err := future.Get(ctx, &result); {
		case err != nil && ctx.Err() != nil: // what came of its pages is for the claims to say
			result = PartitionResult{Left: parts[i]}
		case err != nil:
			failed = errors.Join(failed, err)
		}
		n.left = append(n.left, result.Left...)
		n.result.Add(result.Done)
	}
	return failed
}

// stopped is why nothing more is to be sent.
func (n *notification) stopped() notify.Reason {
	switch {
	case n.cancelled:
		return notify.ReasonCancelled
	case n.paused: // up to its expiry
		return notify.ReasonExpired
	}
	return ""
}

// stopPages cancels what is unsent of a page that is left, once none is under
// way any more: that the rest of them are to be cancelled is certain then.
func (n *notification) stopPages(ctx workflow.Context) (activities.Result, error) {
	if n.cancelled {
		return activities.Result{Cancelled: 1}, nil
	}
	if err := n.interrupted(ctx); err != nil {
		return activities.Result{}, err
	}
	if n.AllUsers { // and nobody is listed
		n.result.Cancelled = 1
		return n.result, nil
	}
	for i := len(n.left) - 1; i >= 0; i-- {
		for page := n.left[i].To - 1; page >= n.left[i].From; page-- {
			var stopped activities.Result
			options := deliverOptions(TaskQueue, fmt.Sprintf("cancel what is unsent of page %d", page+1))
			err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), a.StopPage, activities.Page{ID: n.ID, Number: page}).Get(ctx, &stopped)
			if err != nil || stopped.Cancelled > 0 {
				return activities.Result{Cancelled: stopped.Cancelled}, err
			}
		}
	}
	return activities.Result{}, nil
}

// interrupted returns when nothing is under way.
func (n *notification) interrupted(ctx workflow.Context) error {
	if n.interrupt != nil {
		n.interrupt()
	}
	return workflow.Await(ctx, func() bool { return n.interrupt == nil })
}
