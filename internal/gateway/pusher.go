package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

// A Directory knows at which gateways users are.
type Directory interface {
	GatewaysOf(ctx context.Context, userIDs []string) (map[string][]string, error)
	GatewaySecret(ctx context.Context) (string, error)
}

// Leases are those of the gateways.
type Leases interface {
	Alive(ctx context.Context) ([]store.Lease, error)
}

// PusherConfig is what a Pusher needs to know and to call.
type PusherConfig struct {
	Directory Directory
	Leases    Leases
	Local     *Gateway // of this process, which is told without a call; nil: it has none
	Link      Link
	Log       *slog.Logger
}

// A Pusher passes news on to the gateways where their users are. It never makes
// anybody wait.
type Pusher struct {
	PusherConfig
	news    *backlog
	senders map[string]*sender // by gateway
	group   sync.WaitGroup
}

// NewPusher makes a pusher that works while Run runs.
func NewPusher(cfg PusherConfig) *Pusher {
	return &Pusher{PusherConfig: cfg, news: newBacklog(), senders: map[string]*sender{}}
}

// PushItems passes on items that have been stored.
func (p *Pusher) PushItems(items ...*notify.Item) {
	messages := make([]*Message, 0, len(items))
	for _, item := range items {
		shown, err := NewItem(item)
		if err != nil {
			p.Log.Warn("an item is not pushed", "item", item.ID, "error", err)
			continue
		}
		messages = append(messages, &Message{UserID: item.UserID, Item: shown})
	}
	p.push(messages)
}

// PushState passes on what has become of an item, and how many of its user's
// are unread now.
func (p *Pusher) PushState(item *notify.Item, unread int) {
	p.push([]*Message{{UserID: item.UserID, State: &State{
		ItemID: item.ID, SeenAt: item.SeenAt, ReadAt: item.ReadAt, ArchivedAt: item.ArchivedAt, Unread: unread,
	}}})
}

func (p *Pusher) push(messages []*Message) {
	if p.Local != nil {
		p.Local.Deliver(messages)
	}
	p.news.add(messages...)
}

// How much is looked up at a time.
const (
	lookUpMost = 1000
	lookUpSize = 4 << 20
)

// lookUpTimeout bounds one look at where users are.
const lookUpTimeout = 3 * time.Second

// Run passes news on until ctx ends.
func (p *Pusher) Run(ctx context.Context) error {
	defer func() {
		for _, s := range p.senders {
			s.end()
		}
		p.group.Wait()
	}()
	var troubles troubles
	var alive map[string]string
	var looked time.Time
	for {
		messages := p.news.take(ctx, lookUpMost, lookUpSize)
		if messages == nil {
			return nil
		}
		gateways, err := p.locate(ctx, messages)
		if err == nil && len(gateways) > 0 && (time.Since(looked) > store.LeaseBeat || !allKnown(gateways, alive)) {
			alive, err = p.look(ctx)
			looked = time.Now()
		}
		if err != nil && ctx.Err() == nil && troubles.tell() {
			p.Log.WarnContext(ctx, "news cannot be passed on, gateways have to find them", "error", err)
		}
		if dropped := p.news.droppedSince(); dropped > 0 && troubles.tell() {
			p.Log.WarnContext(ctx, "more news than can be passed on, gateways have to find them", "dropped", dropped)
		}
		p.pass(ctx, messages, gateways, alive)
	}
}

// locate finds the gateways of the messages' users.
func (p *Pusher) locate(ctx context.Context, messages []*Message) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	seen := make(map[string]bool, len(messages))
	var userIDs []string
	for _, m := range messages {
		if !seen[m.UserID] {
			seen[m.UserID] = true
			userIDs = append(userIDs, m.UserID)
		}
	}
	return p.Directory.GatewaysOf(ctx, userIDs)
}

func allKnown(gateways map[string][]string, alive map[string]string) bool {
	for _, ids := range gateways {
		for _, id := range ids {
			if _, known := alive[id]; !known {
				return false
			}
		}
	}
	return true
}

// look finds the gateways that live, by id their addresses, and lets go of
// those that do not.
func (p *Pusher) look(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	leases, err := p.Leases.Alive(ctx)
	if err != nil {
		return nil, err
	}
	alive := make(map[string]string, len(leases))
	for _, l := range leases {
		alive[l.ID] = l.Address
	}
	for id, s := range p.senders {
		if _, lives := alive[id]; !lives {
			s.end()
			delete(p.senders, id)
		}
	}
	return alive, nil
}

// pass gives each message to the senders of the gateways where its user is.
func (p *Pusher) pass(ctx context.Context, messages []*Message, gateways map[string][]string, alive map[string]string) {
	byGateway := map[string][]*Message{}
	for _, m := range messages {
		for _, id := range gateways[m.UserID] {
			byGateway[id] = append(byGateway[id], m)
		}
	}
	for id, of := range byGateway {
		addr, lives := alive[id]
		if !lives || p.Local != nil && id == p.Local.ID() {
			continue
		}
		p.sender(ctx, id, addr).waiting.add(of...)
	}
}

// sender is the one to a gateway; it works from now on.
func (p *Pusher) sender(ctx context.Context, id, addr string) *sender {
	if s := p.senders[id]; s != nil {
		return s
	}
	s := &sender{pusher: p, addr: addr, waiting: newBacklog()}
	working, end := context.WithCancel(ctx)
	s.end = end
	p.senders[id] = s
	p.group.Go(func() { s.run(working) })
	return s
}

// troubles are told of every ten seconds at most.
type troubles struct{ told time.Time }

func (t *troubles) tell() bool {
	if time.Since(t.told) < 10*time.Second {
		return false
	}
	t.told = time.Now()
	return true
}
