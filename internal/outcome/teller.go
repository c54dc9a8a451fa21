package outcome

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Untold are events that could not be published when they were to be.
type Untold struct {
	ID     string  `json:"id" bson:"_id"`
	Owner  string  `json:"owner"` // the process that is to publish them
	Events []Event `json:"-" bson:"-"`
}

// A Store keeps what could not be published.
type Store interface {
	InsertUntold(ctx context.Context, u *Untold) error
	// ListUntold lists what one process is to publish, or, with mine false, all
	// others, oldest first.
	ListUntold(ctx context.Context, owner string, mine bool, limit int) ([]Untold, error)
	DeleteUntold(ctx context.Context, id string) error
}

// Config is what a Teller needs to know and to call.
type Config struct {
	URL    string // of RabbitMQ
	Store  Store
	UILink func(notificationID string) string // nil: there is no UI
	Log    *slog.Logger
	Now    func() time.Time
	NewID  func() string // in the order of time
}

// A Teller publishes outcomes. What it cannot publish now it stores, and
// publishes when RabbitMQ is there again: so whoever told it something can go
// on, and nothing is written while RabbitMQ is there.
type Teller struct {
	Config
	owner     string
	publisher publisher
	behind    atomic.Bool // it has stored something that it has not published

	// By owner what each of the others is to publish next, and since when.
	others map[string]next
}

type next struct {
	id    string
	since time.Time
}

// How often a Teller looks for what is to be published later.
const (
	catchUpEvery  = time.Second
	takeOverEvery = 10 * time.Second
	takeOverAfter = 30 * time.Second
	catchUpBatch  = 100
)

// New makes a Teller, which publishes while it runs.
func New(cfg Config) *Teller {
	return &Teller{
		Config: cfg, owner: cfg.NewID(), publisher: publisher{url: cfg.URL, log: cfg.Log},
		others: map[string]next{},
	}
}

// Deliveries tells how deliveries ended. When it returns nil that is published,
// or will be.
func (t *Teller) Deliveries(ctx context.Context, deliveries []*notify.Delivery) error {
	events := make([]Event, len(deliveries))
	now := t.Now()
	for i, d := range deliveries {
		var err error
		if events[i], err = ofDelivery(d, now); err != nil {
			return err
		}
	}
	return t.tell(ctx, events)
}

// Notification tells how a notification ended, as Deliveries does.
func (t *Teller) Notification(ctx context.Context, r *notify.Record) error {
	e, err := ofNotification(r.View(t.UILink), t.Now())
	if err != nil {
		return err
	}
	return t.tell(ctx, []Event{e})
}

func (t *Teller) tell(ctx context.Context, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	err := t.publisher.publish(ctx, events)
	if err == nil {
		return nil
	}
	t.Log.DebugContext(ctx, "outcomes are published later", "outcomes", len(events), "error", err)
	err = t.Store.InsertUntold(ctx, &Untold{ID: t.NewID(), Owner: t.owner, Events: events})
	t.behind.Store(true)
	return err
}

// Run publishes until ctx ends, whatever becomes of RabbitMQ.
func (t *Teller) Run(ctx context.Context) {
	var publishing sync.WaitGroup
	publishing.Go(func() { t.publisher.run(ctx) })
	defer publishing.Wait()
	own, others := time.NewTicker(catchUpEvery), time.NewTicker(takeOverEvery)
	defer own.Stop()
	defer others.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-own.C:
			err = t.catchUp(ctx)
		case <-others.C:
			err = t.catchUpOthers(ctx, t.Now())
		}
		if err != nil && ctx.Err() == nil {
			t.Log.WarnContext(ctx, "outcomes that wait could not be published, trying again", "error", err)
		}
	}
}

// catchUp publishes what this process could not.
func (t *Teller) catchUp(ctx context.Context) error {
	for t.publisher.connected() && t.behind.Swap(false) {
		waiting, err := t.Store.ListUntold(ctx, t.owner, true, catchUpBatch)
		for i := 0; err == nil && i < len(waiting); i++ {
			err = t.publish(ctx, &waiting[i])
		}
		if err != nil || len(waiting) == catchUpBatch {
			t.behind.Store(true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// catchUpOthers publishes what those were to publish who do not come on with it:
// they are gone.
func (t *Teller) catchUpOthers(ctx context.Context, now time.Time) error {
	if !t.publisher.connected() {
		clear(t.others) // nor can the others publish
		return nil
	}
	for gone := map[string]bool{}; ; {
		waiting, err := t.Store.ListUntold(ctx, t.owner, false, catchUpBatch)
		if err != nil {
			return err
		}
		t.watch(waiting, gone, now)
		published := false
		for i := range waiting {
			if !gone[waiting[i].Owner] {
				continue
			}
			if err := t.publish(ctx, &waiting[i]); err != nil {
				return err
			}
			published = true
		}
		if !published {
			return nil
		}
	}
}

// watch looks what each of the others is to publish next, and finds those who
// are gone.
func (t *Teller) watch(waiting []Untold, gone map[string]bool, now time.Time) {
	before := t.others
	t.others = map[string]next{}
	for _, u := range waiting {
		if _, later := t.others[u.Owner]; later {
			continue
		}
		last, known := before[u.Owner]
		if !known || last.id != u.ID {
			last = next{u.ID, now}
		}
		t.others[u.Owner] = last
		gone[u.Owner] = gone[u.Owner] || now.Sub(last.since) >= takeOverAfter
	}
}

// publish publishes what waited, and has it wait no more.
func (t *Teller) publish(ctx context.Context, u *Untold) error {
	if err := t.publisher.publish(ctx, u.Events); err != nil {
		return err
	}
	return t.Store.DeleteUntold(ctx, u.ID)
}
