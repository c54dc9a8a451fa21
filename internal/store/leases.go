package store

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// A Lease says that a process is there. Its owner alone writes it. While it
// lives its beats go up; when they stop, it is taken for dead.
type Lease struct {
	ID        string    `json:"id" bson:"_id"` // of the process
	Kind      string    `json:"kind"`
	Address   string    `json:"address,omitempty"` // where the others reach it
	Beats     int64     `json:"beats"`
	ExpiresAt time.Time `json:"expires_at"` // when the server may delete it
}

// LeaseBeat is how often an owner is to beat.
const LeaseBeat = 2 * time.Second

const (
	leaseTimeout   = 10 * time.Second // without a beat, and a lease is dead
	leaseRetention = 10 * time.Minute // without a beat, and it is deleted
)

// Leases are the leases of one kind as one process sees them. They are for one
// goroutine.
type Leases struct {
	store  *Store
	kind   string
	now    func() time.Time
	looked time.Time
	seen   map[string]sighting
}

// A sighting is how many beats a lease had, and since when.
type sighting struct {
	beats int64
	since time.Time
}

// Leases gives the leases of a kind. Clocks are not compared: now is only asked
// how much time has passed.
func (s *Store) Leases(kind string, now func() time.Time) *Leases {
	return &Leases{store: s, kind: kind, now: now}
}

// Beat stores the next beat of the caller's own lease, of which ID and Address
// are given, and the lease itself where it is not there.
func (l *Leases) Beat(ctx context.Context, own *Lease) error {
	next := Lease{ID: own.ID, Kind: l.kind, Address: own.Address, Beats: own.Beats + 1, ExpiresAt: l.now().Add(leaseRetention)}
	updated, err := l.store.leases.UpdateOne(ctx, bson.D{{Key: "_id", Value: own.ID}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "beats", Value: next.Beats}, {Key: "expires_at", Value: next.ExpiresAt}}}})
	if err != nil {
		return unavailable("update in "+l.store.leases.Name(), err)
	}
	if updated.MatchedCount == 0 {
		if err := insert(ctx, l.store.leases, next); err != nil {
			return err
		}
	}
	*own = next
	return nil
}

// End deletes the lease with the id.
func (l *Leases) End(ctx context.Context, id string) error {
	_, err := l.store.leases.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}})
	return unavailable("delete from "+l.store.leases.Name(), err)
}

// Alive reads the leases of those that live, or may live: one that was not seen
// before, and all of them where nobody has looked for a while.
func (l *Leases) Alive(ctx context.Context) ([]Lease, error) {
	listed, err := list[Lease](ctx, l.store.leases, bson.D{{Key: "kind", Value: l.kind}}, options.Find())
	if err != nil {
		return nil, err
	}
	now := l.now()
	if now.Sub(l.looked) > leaseTimeout/2 {
		l.seen = nil // beats that nobody could see have not stopped
	}
	l.looked = now
	before := l.seen
	l.seen = make(map[string]sighting, len(listed))
	var alive []Lease
	for _, lease := range listed {
		last, known := before[lease.ID]
		if !known || last.beats != lease.Beats {
			last = sighting{lease.Beats, now}
		}
		l.seen[lease.ID] = last
		silent := now.Sub(last.since)
		if silent < leaseTimeout {
			alive = append(alive, lease)
		}
		if silent >= leaseRetention {
			if err := l.End(ctx, lease.ID); err != nil {
				return nil, err
			}
		}
	}
	return alive, nil
}
