package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A gatherer makes one call of many that come at the same time: while calls
// are on their way, those that come wait for the next one, and under load until
// calls are so far apart. A lone call goes out at once. Whoever waits is served
// by a call that began after it came.
type gatherer[In, Out any] struct {
	call func(ctx context.Context, in []In) []result[Out] // as many results as inputs
	most int                                              // inputs of one call
	pace

	mu      sync.Mutex
	waiting []request[In, Out]
	flying  int
	left    time.Time // when the last call began
	carried int       // the inputs it had
}

type request[In, Out any] struct {
	in   In
	done chan result[Out]
}

type result[Out any] struct {
	out Out
	err error
}

// A pace is how many calls are on their way at a time, and how far apart they
// begin while inputs come together.
type pace struct {
	atOnce int
	apart  time.Duration
}

var (
	// direct is for what many small notifications do. One call at a time would
	// gather the most; a second one fills the time in which the first one's answer
	// travels. At 200 notifications/s the distance takes a third off what reading
	// and writing cost, and is little beside the wait for Temporal.
	direct = pace{atOnce: 2, apart: 40 * time.Millisecond}
	// bulk is for the chunks of broadcasts, which come eight at a time and each
	// mostly wait for two of these. It takes a fifth off what a broadcast costs belfry
	// and the embedded engine together.
	bulk = pace{atOnce: 1, apart: 4 * time.Millisecond}
	// mixed is for what comes one by one from either.
	mixed = pace{atOnce: 2, apart: 4 * time.Millisecond}
)

// do has in served by a call. If ctx ends before, what came of it is not known.
func (g *gatherer[In, Out]) do(ctx context.Context, in In) (Out, error) {
	var none Out
	if err := ctx.Err(); err != nil {
		return none, unavailable("wait for MongoDB", err)
	}
	r := request[In, Out]{in: in, done: make(chan result[Out], 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, r)
	if g.flying < g.atOnce {
		g.flying++
		go g.fly(context.WithoutCancel(ctx))
	}
	g.mu.Unlock()
	select {
	case served := <-r.done:
		return served.out, served.err
	case <-ctx.Done():
		g.forget(r.done)
		return none, unavailable("wait for MongoDB", ctx.Err())
	}
}

// forget takes back a request that is not on its way yet.
func (g *gatherer[In, Out]) forget(done chan result[Out]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(r request[In, Out]) bool { return r.done == done })
}

// fly makes calls until nobody waits.
func (g *gatherer[In, Out]) fly(ctx context.Context) {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), g.most)
		if n == 0 {
			g.flying--
			g.mu.Unlock()
			return
		}
		if rest := g.rest(); rest > 0 {
			g.mu.Unlock()
			<-time.After(rest)
			continue
		}
		g.left, g.carried = time.Now(), n
		batch := append([]request[In, Out](nil), g.waiting[:n]...)
		g.waiting = g.waiting[n:]
		g.mu.Unlock()
		in := make([]In, n)
		for i, r := range batch {
			in[i] = r.in
		}
		callCtx, cancel := context.WithTimeout(ctx, patience)
		for i, served := range g.call(callCtx, in) {
			batch[i].done <- served
		}
		cancel()
	}
}

// rest is for how long more company is waited for: not after a call that had
// none, nor when the next one is full.
func (g *gatherer[In, Out]) rest() time.Duration {
	if g.carried < 2 || len(g.waiting) >= g.most {
		return 0
	}
	return g.apart - time.Since(g.left)
}

// maxGathered is how many documents or names one call carries at most.
const maxGathered = 100

// An inserter inserts documents of one collection, those that come at the same
// time together.
type inserter struct {
	gatherer[any, struct{}]
	into *mongo.Collection
}

func newInserter(into *mongo.Collection, at pace) *inserter {
	i := &inserter{into: into}
	i.call, i.most, i.pace = i.insertAll, maxGathered, at
	return i
}

// insert adds a document under its own _id; CodeConflict when that id is taken.
func (i *inserter) insert(ctx context.Context, document any) error {
	_, err := i.do(ctx, document)
	return err
}

// insertAll inserts documents, each whatever becomes of the others.
func (i *inserter) insertAll(ctx context.Context, documents []any) []result[struct{}] {
	results := make([]result[struct{}], len(documents))
	if len(documents) == 1 {
		results[0].err = insert(ctx, i.into, documents[0])
		return results
	}
	_, err := i.into.InsertMany(ctx, documents, options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		err = unavailable("insert into "+i.into.Name(), err)
		for n := range results {
			results[n].err = err
		}
		return results
	}
	for _, e := range bulk.WriteErrors {
		code := notify.CodeUnavailable
		if mongo.IsDuplicateKeyError(e) {
			code = notify.CodeConflict
		}
		results[e.Index].err = &notify.Error{Code: code, Detail: "insert into " + i.into.Name(), Err: e}
	}
	return results
}

// A bulkInserter inserts lists of documents, those that come at the same time
// together.
type bulkInserter struct {
	gatherer[[]any, []result[struct{}]]
	into *inserter
}

// maxLists is how many lists one call carries at most.
const maxLists = 8

func newBulkInserter(into *inserter) *bulkInserter {
	b := &bulkInserter{into: into}
	b.call, b.most, b.pace = b.insertAll, maxLists, bulk
	return b
}

func (b *bulkInserter) insertAll(ctx context.Context, lists [][]any) []result[[]result[struct{}]] {
	each := b.into.insertAll(ctx, slices.Concat(lists...))
	results := make([]result[[]result[struct{}]], len(lists))
	for i, list := range lists {
		results[i].out, each = each[:len(list)], each[len(list):]
	}
	return results
}
