package store

import (
	"context"

	"github.com/belfry-notify/belfry/internal/notify"
)

// newestVersion is a name's highest version, 0 when it never existed, and
// whether it is hidden.
type newestVersion struct {
	version int
	hidden  bool
}

// newest finds a name's highest version. Those who ask at the same time share
// the look-up, which begins after all of them asked.
func (l *versionLog[T]) newest(ctx context.Context, name string) (newestVersion, error) {
	return l.newestVersions.do(ctx, name)
}

// findNewest looks up each of the names once.
func (l *versionLog[T]) findNewest(ctx context.Context, names []string) []result[newestVersion] {
	results := make([]result[newestVersion], len(names))
	known := make(map[string]result[newestVersion], 1)
	for i, name := range names {
		found, seen := known[name]
		if !seen {
			found.out, found.err = l.probeNewest(ctx, name)
			known[name] = found
		}
		results[i] = found
	}
	return results
}

// probeNewest looks upwards from the highest version this process has seen, in
// doubling steps, and halves the last one: versions have no gaps. Whether that
// highest one is hidden is asked at the same time, since it seldom has a
// successor.
func (l *versionLog[T]) probeNewest(ctx context.Context, name string) (newestVersion, error) {
	highest, _ := l.highest.Get(name)
	hidden := make(chan result[bool], 1)
	go func() {
		there, err := l.exists(ctx, tombstoneID(name, highest))
		hidden <- result[bool]{there, err}
	}()
	known, missing := highest, 0
	for step := 1; missing == 0; step *= 2 {
		there, err := l.exists(ctx, versionID(name, known+step))
		if err != nil {
			return newestVersion{}, err
		}
		if there {
			known += step
		} else {
			missing = known + step
		}
	}
	for missing-known > 1 {
		middle := (known + missing) / 2
		there, err := l.exists(ctx, versionID(name, middle))
		if err != nil {
			return newestVersion{}, err
		}
		if there {
			known = middle
		} else {
			missing = middle
		}
	}
	if known == 0 {
		return newestVersion{}, nil
	}
	l.highest.Add(name, known)
	if known == highest {
		asked := <-hidden
		return newestVersion{version: known, hidden: asked.out}, asked.err
	}
	there, err := l.exists(ctx, tombstoneID(name, known))
	return newestVersion{version: known, hidden: there}, err
}

func (l *versionLog[T]) exists(ctx context.Context, id string) (bool, error) {
	_, err := find[struct {
		ID string `bson:"_id"`
	}](ctx, l.in, id)
	if notify.CodeOf(err) == notify.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}
