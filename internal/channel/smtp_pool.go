package channel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

var errPoolClosed = errors.New("the provider is closed")

// An smtpPool keeps sessions open between messages. At most as many are in use
// or idle as there are slots. The one used last is used first, so that those a
// burst has opened grow old and are closed after it. There is no goroutine
// while nothing happens.
type smtpPool struct {
	connect     func(context.Context) (*smtpSession, *smtpError)
	maxMessages int
	idleTimeout time.Duration
	slots       chan struct{} // one for each session in use
	waiting     chan *waiter  // whoever waits for one; unbuffered

	mutex   sync.Mutex
	idle    []*smtpSession // the longest idle first
	timer   *time.Timer    // set while any are idle; closes those that are too long
	closed  bool
	leaving sync.WaitGroup // goroutines that say goodbye
}

// A waiter is somebody with a letter who waits for a session.
type waiter struct {
	letter  *letter
	session chan *smtpSession
	left    <-chan struct{} // closed when it waits no more
}

func newSMTPPool(
	connect func(context.Context) (*smtpSession, *smtpError), maxConnections, maxMessages int, idleTimeout time.Duration,
) *smtpPool {
	return &smtpPool{
		connect:     connect,
		maxMessages: maxMessages,
		idleTimeout: idleTimeout,
		slots:       make(chan struct{}, maxConnections),
		waiting:     make(chan *waiter),
	}
}

// take hands out an idle session or opens one. If all are in use it waits: for
// one to become free, or to be handed one when its present message is over. The
// letter may be announced on that one already, so another is not waited for then.
func (p *smtpPool) take(ctx context.Context, l *letter) (*smtpSession, *smtpError) {
	if ctx.Err() != nil {
		return nil, failed(stageWait, ctx.Err())
	}
	w := &waiter{letter: l, session: make(chan *smtpSession), left: ctx.Done()}
	select {
	case p.slots <- struct{}{}:
	case p.waiting <- w:
		select {
		case session := <-w.session:
			if session.broken {
				return p.replace(ctx, session)
			}
			return session, nil
		case <-ctx.Done():
			return nil, failed(stageWait, ctx.Err())
		}
	case <-ctx.Done():
		return nil, failed(stageWait, ctx.Err())
	}
	p.mutex.Lock()
	if p.closed {
		p.mutex.Unlock()
		<-p.slots
		return nil, failed(stageWait, errPoolClosed)
	}
	if last := len(p.idle) - 1; last >= 0 {
		session := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mutex.Unlock()
		return session, nil
	}
	p.mutex.Unlock()
	return p.open(ctx)
}

// next is whoever waits for a session, nil when nobody does, or the session is to
// end with its present message. It announces the waiter's letter, and give hands
// it over.
func (p *smtpPool) next(session *smtpSession) *waiter {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed || session.used+1 >= p.maxMessages {
		return nil
	}
	select {
	case w := <-p.waiting:
		return w
	default:
		return nil
	}
}

// replace opens a session in the slot of one that has died.
func (p *smtpPool) replace(ctx context.Context, dead *smtpSession) (*smtpSession, *smtpError) {
	dead.drop()
	return p.open(ctx)
}

func (p *smtpPool) open(ctx context.Context) (*smtpSession, *smtpError) {
	session, problem := p.connect(ctx)
	if problem != nil {
		<-p.slots
	}
	return session, problem
}

// give takes a session back: to hand it to whom it has announced, to keep it, to
// end it after maxMessages, or to drop it if it is broken or the pool is closed.
func (p *smtpPool) give(session *smtpSession) {
	if next := session.next; next != nil {
		session.next = nil
		select {
		case next.session <- session:
			return
		case <-next.left:
			session.broken = session.broken || session.announced // the server waits for content that does not come
		}
	}
	if session.broken {
		session.drop()
		<-p.slots
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		session.drop()
		<-p.slots
		return
	}
	if session.used >= p.maxMessages {
		p.leaving.Go(func() {
			session.quit()
			<-p.slots
		})
		return
	}
	session.idleSince = time.Now()
	p.idle = append(p.idle, session)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.idleTimeout, p.reap)
	} else if len(p.idle) == 1 {
		p.timer.Reset(p.idleTimeout)
	}
	<-p.slots
}

// reap closes the sessions that nobody wanted for idleTimeout.
func (p *smtpPool) reap() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		return
	}
	old := 0
	for old < len(p.idle) && time.Since(p.idle[old].idleSince) >= p.idleTimeout {
		p.leaving.Go(p.idle[old].quit)
		old++
	}
	p.idle = slices.Delete(p.idle, 0, old)
	if len(p.idle) > 0 {
		p.timer.Reset(p.idleTimeout - time.Since(p.idle[0].idleSince))
	}
}

// close ends all idle sessions, and waits for that.
func (p *smtpPool) close() {
	p.mutex.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	idle := p.idle
	p.idle = nil
	for _, session := range idle {
		p.leaving.Go(session.quit)
	}
	p.mutex.Unlock()
	p.leaving.Wait()
}
