package activities

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

// The protocol of claims is tested over a ledger in memory, whose every
// operation can be held up or made to fail; the end-to-end tests run it over
// MongoDB.
type memory struct {
	mu            sync.Mutex
	claims        map[string]notify.Claim
	chunks        map[string]notify.Chunk
	deliveries    map[string]notify.Delivery
	notifications map[string]notify.Record
	audiences     map[string]audience.Audience
	pages         map[string][]notify.Recipient
	counts        map[string]notify.PageCounts
	before        func(ctx context.Context, operation string) error // may be nil
	lost          map[string]bool                                   // inserts whose answer is lost, once each: tried again, they find their own
}

func newMemory() *memory {
	return &memory{
		claims:        map[string]notify.Claim{},
		chunks:        map[string]notify.Chunk{},
		deliveries:    map[string]notify.Delivery{},
		notifications: map[string]notify.Record{},
		audiences:     map[string]audience.Audience{},
		pages:         map[string][]notify.Recipient{},
		counts:        map[string]notify.PageCounts{},
	}
}

var (
	errTaken   = &notify.Error{Code: notify.CodeConflict}
	errMissing = &notify.Error{Code: notify.CodeNotFound}
)

func (m *memory) enter(ctx context.Context, operation string) (leave func(), err error) {
	if m.before != nil {
		if err := m.before(ctx, operation); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	return m.mu.Unlock, nil
}

func insert[T any](ctx context.Context, m *memory, operation string, into map[string]T, id string, document T) error {
	leave, err := m.enter(ctx, operation)
	if err != nil {
		return err
	}
	defer leave()
	if _, there := into[id]; there {
		return errTaken
	}
	into[id] = document
	if m.lost[operation] {
		m.lost[operation] = false
		return errTaken
	}
	return nil
}

func find[T any](ctx context.Context, m *memory, operation string, in map[string]T, id string) (*T, error) {
	leave, err := m.enter(ctx, operation)
	if err != nil {
		return nil, err
	}
	defer leave()
	document, there := in[id]
	if !there {
		return nil, errMissing
	}
	return &document, nil
}

func (m *memory) InsertClaim(ctx context.Context, c *notify.Claim) error {
	return insert(ctx, m, "insert claim", m.claims, c.ID, *c)
}

func (m *memory) Claims(ctx context.Context, deliveryID string) ([]notify.Claim, error) {
	var claims []notify.Claim
	for {
		claim, err := find(ctx, m, "find claim", m.claims, notify.ClaimID(deliveryID, len(claims)+1))
		if notify.CodeOf(err) == notify.CodeNotFound {
			return claims, nil
		}
		if err != nil {
			return nil, err
		}
		claims = append(claims, *claim)
	}
}

func (m *memory) RecordOutcome(ctx context.Context, id string, o notify.ClaimOutcome) error {
	leave, err := m.enter(ctx, "record outcome")
	if err != nil {
		return err
	}
	defer leave()
	claim := m.claims[id]
	claim.Outcome = &o
	m.claims[id] = claim
	return nil
}

func (m *memory) InsertDelivery(ctx context.Context, d *notify.Delivery) error {
	return insert(ctx, m, "insert delivery", m.deliveries, d.ID, *d)
}

func (m *memory) Delivery(ctx context.Context, id string) (*notify.Delivery, error) {
	return find(ctx, m, "find delivery", m.deliveries, id)
}

func (m *memory) ReplaceDelivery(ctx context.Context, d *notify.Delivery) error {
	leave, err := m.enter(ctx, "replace delivery")
	if err != nil {
		return err
	}
	defer leave()
	m.deliveries[d.ID] = *d
	return nil
}

func (m *memory) InsertChunk(ctx context.Context, c *notify.Chunk) error {
	stored := *c
	if c.Number > 1 {
		stored.Entries = nil
	}
	operation := "insert chunk"
	if c.End != nil {
		operation = "insert end"
	}
	return insert(ctx, m, operation, m.chunks, c.ID, stored)
}

func (m *memory) Chunk(ctx context.Context, id string) (*notify.Chunk, error) {
	return find(ctx, m, "find chunk", m.chunks, id)
}

// InsertDeliveries can be held up or made to fail before each of them.
func (m *memory) InsertDeliveries(ctx context.Context, deliveries []*notify.Delivery) (taken []int, err error) {
	for i, d := range deliveries {
		err := insert(ctx, m, "insert delivery", m.deliveries, d.ID, *d)
		if notify.CodeOf(err) == notify.CodeConflict {
			taken = append(taken, i)
		} else if err != nil {
			return nil, err
		}
	}
	return taken, nil
}

func (m *memory) Template(context.Context, notify.TemplateRef) (*notify.Template, error) {
	return &notify.Template{Name: "welcome", Version: 3, Channels: notify.Bodies{
		Email: &notify.Email{Subject: "s", HTML: "h"}, Inbox: &notify.InboxContent{Title: "t", Body: "b"},
	}}, nil
}

func (m *memory) Accepted(ctx context.Context, id string) (*notify.Notification, error) {
	r, err := find(ctx, m, "find notification", m.notifications, id)
	if err != nil {
		return nil, err
	}
	return &r.Notification, nil
}

func (m *memory) Notification(ctx context.Context, id string) (*notify.Record, error) {
	return find(ctx, m, "find notification", m.notifications, id)
}

func (m *memory) UpdateStatus(ctx context.Context, id string, status notify.Status) error {
	return m.change(ctx, "update status", id, func(r *notify.Record) { r.Status = status })
}

func (m *memory) UpdateTimes(ctx context.Context, id string, sendAt, expiresAt time.Time) error {
	return m.change(ctx, "update times", id, func(r *notify.Record) { r.SendAt, r.ExpiresAt = sendAt, expiresAt })
}

func (m *memory) change(ctx context.Context, operation, id string, change func(*notify.Record)) error {
	leave, err := m.enter(ctx, operation)
	if err != nil {
		return err
	}
	defer leave()
	record, there := m.notifications[id]
	if !there {
		return errMissing
	}
	change(&record)
	m.notifications[id] = record
	return nil
}

func (m *memory) UpdateProgress(ctx context.Context, id string, p notify.Progress) error {
	return m.change(ctx, "update progress", id, func(r *notify.Record) { r.Progress = p })
}

func (m *memory) Recount(ctx context.Context, notificationID string) error {
	leave, err := m.enter(ctx, "recount")
	if err != nil {
		return err
	}
	defer leave()
	record, there := m.notifications[notificationID]
	if !there {
		return errMissing
	}
	if !record.Status.Ended() {
		return errTaken
	}
	return nil
}

func (m *memory) PutPageCounts(_ context.Context, c notify.PageCounts) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[c.ID] = c
	return nil
}

func (m *memory) DeletePageCounts(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.counts)
	return nil
}

func (m *memory) UpdateAudience(ctx context.Context, id string, audience notify.AudienceRef, counts notify.Counts) error {
	return m.change(ctx, "update audience", id, func(r *notify.Record) { r.Audience, r.Counts = &audience, counts })
}

// directory knows the users it holds.
type directory map[string]notify.User

func (d directory) Lookup(_ context.Context, id string) (notify.User, error) {
	user, there := d[id]
	if !there {
		return notify.User{}, &notify.Error{Code: notify.CodeUserNotFound}
	}
	return user, nil
}

func (d directory) LookupAll(ctx context.Context, userIDs []string) iter.Seq2[notify.User, error] {
	return eachLookedUp(ctx, d.Lookup, userIDs)
}

func eachLookedUp(ctx context.Context, lookUp func(context.Context, string) (notify.User, error), userIDs []string) iter.Seq2[notify.User, error] {
	return func(yield func(notify.User, error) bool) {
		for _, id := range userIDs {
			if !yield(lookUp(ctx, id)) {
				return
			}
		}
	}
}

func (d directory) ListUsers(_ context.Context, afterID string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, id := range slices.Sorted(maps.Keys(d)) {
			if id > afterID && !yield(id, nil) {
				return
			}
		}
	}
}

// renderer renders the time it was called at, so that content rendered twice
// is told apart; data "bad" cannot be rendered.
type renderer struct {
	mu    sync.Mutex
	calls int
}

func (r *renderer) Email(_ context.Context, source notify.Email, data notify.Object, _ notify.User) (notify.Email, error) {
	if data == "bad" {
		return notify.Email{}, &notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{
			{Location: "email.subject", Message: `line 1: undefined variable "film"`},
		}}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	source.Text = "rendering " + strconv.Itoa(r.calls)
	return source, nil
}

func (r *renderer) Inbox(ctx context.Context, source notify.InboxContent, data notify.Object, to notify.User) (notify.InboxContent, error) {
	rendered, err := r.Email(ctx, notify.Email{}, data, to)
	source.Body = rendered.Text
	return source, err
}

// provider answers as its function says and keeps what it was given.
type provider struct {
	name   string
	down   bool
	mu     sync.Mutex
	answer func(ctx context.Context, m notify.Message) notify.Outcome
	sent   []notify.Message
}

func (p *provider) Name() string {
	if p.name == "" {
		return "smtp"
	}
	return p.name
}

func (p *provider) Ready(context.Context, bool) (bool, time.Duration) { return !p.down, 0 }

func (p *provider) Send(ctx context.Context, m notify.Message) notify.Outcome {
	outcome := notify.Outcome{Kind: notify.OutcomeSent}
	if p.answer != nil {
		outcome = p.answer(ctx, m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if outcome.Kind == notify.OutcomeSent || outcome.Kind == notify.OutcomeUnknown {
		p.sent = append(p.sent, m)
	}
	return outcome
}

// inboxProvider is the same provider for inboxes, which is never down.
type inboxProvider struct{ *provider }

func (*inboxProvider) Name() string { return "inbox" }

func (*inboxProvider) Ready(context.Context, bool) (bool, time.Duration) { return true, 0 }

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// outcomes keeps how often each end of a delivery was told, by its id and state.
type outcomes struct {
	mu         sync.Mutex
	before     func(ctx context.Context, operation string) error
	deliveries map[string]int
	ends       []notify.Status
}

func (o *outcomes) Deliveries(ctx context.Context, deliveries []*notify.Delivery) error {
	if o.before != nil {
		if err := o.before(ctx, "tell"); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range deliveries {
		o.deliveries[d.ID+" "+string(d.State)]++
	}
	return nil
}

func (o *outcomes) Notification(_ context.Context, r *notify.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ends = append(o.ends, r.Status)
	return nil
}

// told is how often the end of a delivery was told as it is recorded.
func (o *outcomes) told(d notify.Delivery) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.deliveries[d.ID+" "+string(d.State)]
}

// world is everything an activity touches.
type world struct {
	*Activities
	ledger   *memory
	provider *provider
	renderer *renderer
	clock    *clock
	outcomes *outcomes
	tokens   atomic.Int64
}

func newWorld() *world {
	w := &world{
		ledger:   newMemory(),
		provider: &provider{},
		renderer: &renderer{},
		clock:    &clock{now: time.Now().UTC().Truncate(time.Millisecond)},
		outcomes: &outcomes{deliveries: map[string]int{}},
	}
	w.Activities = &Activities{
		Store:       w.ledger,
		Directory:   directory{"ann": {ID: "ann", Email: "ann@example.com", Name: "Ann"}, "noaddress": {ID: "noaddress"}},
		Renderer:    w.renderer,
		Email:       []Provider{w.provider},
		Inbox:       &inboxProvider{w.provider},
		Outcomes:    w.outcomes,
		Log:         slog.New(slog.DiscardHandler),
		Now:         w.clock.Now,
		NewToken:    func() string { return strconv.FormatInt(w.tokens.Add(1), 10) },
		Patience:    DefaultPatience,
		Concurrency: 4,
	}
	return w
}

// notification is to one recipient.
func (w *world) notification(to notify.Recipient) *notify.Notification {
	now := w.clock.Now()
	return &notify.Notification{
		ID:        "0193a5b0-0000-7000-8000-000000000001",
		Template:  &notify.TemplateRef{Name: "welcome", Version: 3},
		To:        []notify.Recipient{to},
		Channels:  []notify.Channel{notify.ChannelEmail},
		CreatedAt: now,
		ExpiresAt: now.Add(notify.DefaultExpiry),
	}
}

// attempt delivers to the notification's only recipient.
func (w *world) attempt(ctx context.Context, n *notify.Notification, again bool) (*notify.Delivery, error) {
	j, err := w.job(ctx, n, again)
	if err != nil {
		return nil, err
	}
	return w.deliver(ctx, j, n.To[0], n.Channels[0], nil)
}

func (w *world) cancel(ctx context.Context, n *notify.Notification) (*notify.Delivery, error) {
	j, err := w.job(ctx, n, true)
	if err != nil {
		return nil, err
	}
	j.stopped = notify.ReasonCancelled
	return w.deliver(ctx, j, n.To[0], n.Channels[0], nil)
}
