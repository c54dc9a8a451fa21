package store

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A versionLog keeps things that have a name in versions, and is only ever added
// to: a version is inserted under name@version, and hiding the thing inserts
// name@version! (a tombstone) behind its newest version. Versions have no gaps,
// so the newest one is found by _id alone. The documents have the fields name
// and version.
type versionLog[T any] struct {
	in      *mongo.Collection
	what    string      // what is kept, for error texts
	missing notify.Code // the code where there is none

	newestVersions *gatherer[string, newestVersion]
	versions       *lru.Cache[string, *T]  // by _id; immutable, so never stale
	highest        *lru.Cache[string, int] // the highest version seen of a name
}

// newVersionLog keeps up to cached versions in memory.
func newVersionLog[T any](in *mongo.Collection, what string, missing notify.Code, cached int) (*versionLog[T], error) {
	versions, err := lru.New[string, *T](cached)
	if err != nil {
		return nil, err
	}
	highest, err := lru.New[string, int](cached)
	if err != nil {
		return nil, err
	}
	l := &versionLog[T]{in: in, what: what, missing: missing, versions: versions, highest: highest}
	l.newestVersions = &gatherer[string, newestVersion]{call: l.findNewest, most: maxGathered, pace: direct}
	return l, nil
}

type versionDocument[T any] struct {
	ID    string `bson:"_id"`
	First bool   `bson:"first,omitempty"` // made by create: what is hidden before does not hide it
	Value T      `bson:",inline"`
}

type tombstone struct {
	ID        string    `bson:"_id"`
	Name      string    `bson:"name"`
	Version   int       `bson:"version"`
	Hidden    bool      `bson:"hidden"`
	CreatedAt time.Time `bson:"created_at"`
}

func versionID(name string, version int) string { return fmt.Sprintf("%s@%d", name, version) }
func tombstoneID(name string, version int) string {
	return fmt.Sprintf("%s@%d!", name, version)
}

// create stores the first version of a name, or the next one of a name that is
// hidden; CodeConflict when the name is taken.
func (l *versionLog[T]) create(ctx context.Context, name string, version func(int) *T) error {
	newest, err := l.newest(ctx, name)
	if err != nil {
		return err
	}
	if newest.version > 0 && !newest.hidden {
		return l.taken(name)
	}
	err = l.insert(ctx, name, newest.version+1, true, version(newest.version+1))
	if notify.CodeOf(err) == notify.CodeConflict {
		return l.taken(name)
	}
	return err
}

// change stores the next version of a name, made of the version before, and
// gives it. Where next makes none, the version before stays the newest one.
func (l *versionLog[T]) change(ctx context.Context, name string, next func(before *T, version int) *T) (*T, error) {
	for {
		newest, err := l.newest(ctx, name)
		if err != nil {
			return nil, err
		}
		if newest.version == 0 || newest.hidden {
			return nil, l.notFound(name)
		}
		before, err := l.version(ctx, name, newest.version)
		if err != nil {
			return nil, err
		}
		after := next(before, newest.version+1)
		if after == nil {
			return before, nil
		}
		err = l.insert(ctx, name, newest.version+1, false, after)
		if notify.CodeOf(err) == notify.CodeConflict {
			continue // somebody else's change took this version: ours is the one after it
		}
		if err != nil {
			return nil, err
		}
		hidden, err := l.exists(ctx, tombstoneID(name, newest.version))
		if err != nil || !hidden {
			return after, err
		}
		// It was hidden before ours came: ours is too.
		if err := l.bury(ctx, name, newest.version+1, time.Time{}); err != nil && notify.CodeOf(err) != notify.CodeConflict {
			return nil, err
		}
		return nil, l.notFound(name)
	}
}

func (l *versionLog[T]) insert(ctx context.Context, name string, version int, first bool, value *T) error {
	return insert(ctx, l.in, versionDocument[T]{ID: versionID(name, version), First: first, Value: *value})
}

// bury inserts the tombstone of a version; CodeConflict when it has one.
func (l *versionLog[T]) bury(ctx context.Context, name string, version int, at time.Time) error {
	return insert(ctx, l.in, tombstone{ID: tombstoneID(name, version), Name: name, Version: version, Hidden: true, CreatedAt: at})
}

// hide hides a name. Its versions stay for those that refer to them.
func (l *versionLog[T]) hide(ctx context.Context, name string, at time.Time) error {
	newest, err := l.newest(ctx, name)
	if err != nil {
		return err
	}
	if newest.version == 0 || newest.hidden {
		return l.notFound(name)
	}
	for version := newest.version; ; version++ {
		if err := l.bury(ctx, name, version, at); err != nil && notify.CodeOf(err) != notify.CodeConflict {
			return err
		}
		// A change may have come between: then its version is hidden too.
		next, err := find[versionDocument[T]](ctx, l.in, versionID(name, version+1))
		if notify.CodeOf(err) == notify.CodeNotFound || err == nil && next.First {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// visible reads a version, 0 for the newest one, of a name that is not hidden.
func (l *versionLog[T]) visible(ctx context.Context, name string, version int) (*T, error) {
	newest, err := l.newest(ctx, name)
	if err != nil {
		return nil, err
	}
	if newest.version == 0 || newest.hidden {
		return nil, l.notFound(name)
	}
	if version == 0 {
		version = newest.version
	}
	return l.version(ctx, name, version)
}

// version reads one version, hidden or not.
func (l *versionLog[T]) version(ctx context.Context, name string, version int) (*T, error) {
	id := versionID(name, version)
	if known, ok := l.versions.Get(id); ok {
		return known, nil
	}
	document, err := find[versionDocument[T]](ctx, l.in, id)
	if notify.CodeOf(err) == notify.CodeNotFound {
		return nil, l.notFound(id)
	}
	if err != nil {
		return nil, err
	}
	l.versions.Add(id, &document.Value)
	return &document.Value, nil
}

func (l *versionLog[T]) taken(name string) error {
	return &notify.Error{Code: notify.CodeConflict, Detail: fmt.Sprintf("there is a %s %q already", l.what, name)}
}

func (l *versionLog[T]) notFound(name string) error {
	return &notify.Error{Code: l.missing, Detail: fmt.Sprintf("there is no %s %q", l.what, name)}
}

// list reads the newest versions of up to limit names that come after the given
// one, in their order.
func (l *versionLog[T]) list(ctx context.Context, after string, limit int) ([]T, error) {
	type entry struct {
		Name    string `bson:"name"`
		Version int    `bson:"version"`
		Hidden  bool   `bson:"hidden"`
	}
	// Newest first within a name; a tombstone sorts before its version.
	entries, err := l.in.Find(ctx,
		bson.D{{Key: "name", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().
			SetSort(bson.D{{Key: "name", Value: 1}, {Key: "version", Value: -1}, {Key: "_id", Value: -1}}).
			SetProjection(bson.D{{Key: "name", Value: 1}, {Key: "version", Value: 1}, {Key: "hidden", Value: 1}}))
	if err != nil {
		return nil, unavailable("find in "+l.in.Name(), err)
	}
	defer entries.Close(ctx) //nolint:errcheck // nothing was written; the error of reading is what counts
	values := []T{}
	last := after
	for len(values) < limit && entries.Next(ctx) {
		var e entry
		if err := entries.Decode(&e); err != nil {
			return nil, unavailable("read from "+l.in.Name(), err)
		}
		if e.Name == last {
			continue
		}
		last = e.Name
		if e.Hidden {
			continue
		}
		value, err := l.version(ctx, e.Name, e.Version)
		if err != nil {
			return nil, err
		}
		values = append(values, *value)
	}
	return values, unavailable("read from "+l.in.Name(), entries.Err())
}
