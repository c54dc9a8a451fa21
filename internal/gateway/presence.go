package gateway

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A presence keeps written down which users have sockets here. One goroutine
// makes all writes, so that they happen in the order in which they are meant.
// Who leaves stays written down for a while: most of them come back soon.
type presence struct {
	Config
	gateway string
	wake    chan struct{}

	mu    sync.Mutex
	users map[string]*attendance // of those who are here, or written down
}

type attendance struct {
	sockets int
	left    time.Time      // when the last socket was closed
	written bool           // it may be written down
	waiting []chan<- error // who is told when it has been written
}

const (
	lingerFor    = 10 * time.Second // after the last socket
	presenceTick = time.Second      // between tries, and looks at who has left
	mendEvery    = time.Minute      // between comparisons with what is written down
	deadFor      = 10 * time.Minute // before what a dead gateway left is deleted
	maxWritten   = 200              // users in a write
)

func newPresence(cfg Config, gateway string) *presence {
	return &presence{Config: cfg, gateway: gateway, wake: make(chan struct{}, 1), users: map[string]*attendance{}}
}

// enter counts one more socket of a user, and waits until the user is written
// down. An error says that this was tried and failed; it is tried again.
func (p *presence) enter(ctx context.Context, userID string) error {
	p.mu.Lock()
	a := p.users[userID]
	if a == nil {
		a = &attendance{}
		p.users[userID] = a
	}
	a.sockets++
	if a.written {
		p.mu.Unlock()
		return nil
	}
	written := make(chan error, 1)
	a.waiting = append(a.waiting, written)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave counts one socket less.
func (p *presence) leave(userID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.users[userID]; a != nil {
		if a.sockets--; a.sockets == 0 {
			a.left = p.Now()
		}
	}
}

func (p *presence) run(ctx context.Context) {
	ticker := time.NewTicker(presenceTick)
	defer ticker.Stop()
	mended, troubles := p.Now(), troubles{}
	for ctx.Err() == nil {
		err := p.write(ctx)
		if err == nil && p.Now().Sub(mended) > mendEvery {
			err = p.mend(ctx)
			mended = p.Now()
		}
		if err != nil && ctx.Err() == nil && troubles.tell() {
			p.Log.WarnContext(ctx, "who is connected could not be written down: they learn of news late", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-p.wake:
		}
	}
	p.answer(p.unwritten(), ctx.Err())
}

// write brings what is written down up to date.
func (p *presence) write(ctx context.Context) error {
	for batch := range slices.Chunk(p.unwritten(), maxWritten) {
		limited, cancel := context.WithTimeout(ctx, lookUpTimeout)
		err := p.Store.InsertPresence(limited, p.gateway, batch, p.Now())
		cancel()
		p.answer(batch, err)
		if err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(p.gone(), maxWritten) {
		limited, cancel := context.WithTimeout(ctx, lookUpTimeout)
		err := p.Store.DeletePresence(limited, p.gateway, batch)
		cancel()
		if err != nil {
			return err // the mending deletes them
		}
	}
	return nil
}

// unwritten are the users who are here and not written down.
func (p *presence) unwritten() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var userIDs []string
	for userID, a := range p.users {
		if !a.written && a.sockets > 0 {
			userIDs = append(userIDs, userID)
		}
	}
	return userIDs
}

// answer tells those who wait for users what has become of it.
func (p *presence) answer(userIDs []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, userID := range userIDs {
		a := p.users[userID]
		a.written = err == nil
		for _, waiting := range a.waiting {
			waiting <- err
		}
		a.waiting = nil
	}
}

// gone forgets those who have left for good, and gives those of them who may be
// written down.
func (p *presence) gone() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var userIDs []string
	for userID, a := range p.users {
		if a.sockets == 0 && p.Now().Sub(a.left) > lingerFor {
			delete(p.users, userID)
			userIDs = append(userIDs, userID)
		}
	}
	return userIDs
}

// mend compares with what is written down, and deletes what gateways have left
// that are no more.
func (p *presence) mend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*lookUpTimeout)
	defer cancel()
	listed, err := p.Store.Presence(ctx, p.gateway)
	if err != nil {
		return err
	}
	if extra := p.compare(listed); len(extra) > 0 {
		if err := p.Store.DeletePresence(ctx, p.gateway, extra); err != nil {
			return err
		}
	}
	alive, err := p.Leases.Alive(ctx)
	if err != nil {
		return err
	}
	ids := []string{p.gateway}
	for _, l := range alive {
		ids = append(ids, l.ID)
	}
	return p.Store.ForgetGateways(ctx, ids, p.Now().Add(-deadFor))
}

// compare has those written again who are missing, and gives those who should
// not be written down.
func (p *presence) compare(listed []string) (extra []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := make(map[string]bool, len(listed))
	for _, userID := range listed {
		there[userID] = true
		if p.users[userID] == nil {
			extra = append(extra, userID)
		}
	}
	for userID, a := range p.users {
		a.written = a.written && there[userID]
	}
	return extra
}
