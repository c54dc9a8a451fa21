package store

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Templates are a log that is only ever added to: a version is inserted under
// name@version, and hiding a template inserts name@version! (a tombstone)
// behind its newest version. Versions have no gaps, so the newest one is found
// by _id alone.
type templateDocument struct {
	ID              string `bson:"_id"`
	notify.Template `bson:",inline"`
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

// CreateTemplate stores a template that does not exist or is hidden, and sets
// its version. It fails with CodeConflict when the name is taken.
func (s *Store) CreateTemplate(ctx context.Context, t *notify.Template) error {
	newest, hidden, err := s.newest(ctx, t.Name)
	if err != nil {
		return err
	}
	if newest > 0 && !hidden {
		return taken(t.Name)
	}
	t.Version = newest + 1
	err = insert(ctx, s.templates, templateDocument{ID: versionID(t.Name, t.Version), Template: *t})
	if notify.CodeOf(err) == notify.CodeConflict {
		return taken(t.Name)
	}
	return err
}

func taken(name string) error {
	return &notify.Error{Code: notify.CodeConflict, Detail: fmt.Sprintf("there is a template %q already", name)}
}

// UpdateTemplate stores the next version of a template and sets it in t. It
// fails with CodeTemplateNotFound when there is no such template.
func (s *Store) UpdateTemplate(ctx context.Context, t *notify.Template) error {
	for {
		newest, hidden, err := s.newest(ctx, t.Name)
		if err != nil {
			return err
		}
		if newest == 0 || hidden {
			return templateNotFound(t.Name)
		}
		t.Version = newest + 1
		err = insert(ctx, s.templates, templateDocument{ID: versionID(t.Name, t.Version), Template: *t})
		if notify.CodeOf(err) != notify.CodeConflict {
			return err
		}
		// Somebody else's update took this version: ours is the one after it.
	}
}

// DeleteTemplate hides a template. Its versions stay for the notifications
// that were accepted with them. It fails with CodeTemplateNotFound when there
// is no such template.
func (s *Store) DeleteTemplate(ctx context.Context, name string, at time.Time) error {
	for deleted := false; ; {
		newest, hidden, err := s.newest(ctx, name)
		if err != nil {
			return err
		}
		if newest == 0 || hidden {
			if deleted {
				return nil
			}
			return templateNotFound(name)
		}
		err = insert(ctx, s.templates, tombstone{
			ID: tombstoneID(name, newest), Name: name, Version: newest, Hidden: true, CreatedAt: at,
		})
		if err != nil && notify.CodeOf(err) != notify.CodeConflict {
			return err
		}
		// An update may have come between: then its version is hidden too.
		deleted = deleted || err == nil
	}
}

// VisibleTemplate reads a version of a template, 0 for the newest one. It
// fails with CodeTemplateNotFound when there is none or the template is hidden.
func (s *Store) VisibleTemplate(ctx context.Context, name string, version int) (*notify.Template, error) {
	newest, hidden, err := s.newest(ctx, name)
	if err != nil {
		return nil, err
	}
	if newest == 0 || hidden {
		return nil, templateNotFound(name)
	}
	if version == 0 {
		version = newest
	}
	return s.Template(ctx, notify.TemplateRef{Name: name, Version: version})
}

// Template reads one version of a template, hidden or not. It fails with
// CodeTemplateNotFound when there is no such version.
func (s *Store) Template(ctx context.Context, ref notify.TemplateRef) (*notify.Template, error) {
	if t, ok := s.versions.Get(ref); ok {
		return t, nil
	}
	document, err := find[templateDocument](ctx, s.templates, versionID(ref.Name, ref.Version))
	if notify.CodeOf(err) == notify.CodeNotFound {
		return nil, templateNotFound(ref.String())
	}
	if err != nil {
		return nil, err
	}
	s.versions.Add(ref, &document.Template)
	return &document.Template, nil
}

func templateNotFound(name string) error {
	return &notify.Error{Code: notify.CodeTemplateNotFound, Detail: fmt.Sprintf("there is no template %q", name)}
}

// newestVersion is a template's highest version, 0 when it never existed, and
// whether it is hidden.
type newestVersion struct {
	version int
	hidden  bool
}

// newest finds a template's highest version. Those who ask at the same time
// share the look-up, which begins after all of them asked.
func (s *Store) newest(ctx context.Context, name string) (version int, hidden bool, err error) {
	found, err := s.newestVersions.do(ctx, name)
	return found.version, found.hidden, err
}

// findNewest looks up each of the names once.
func (s *Store) findNewest(ctx context.Context, names []string) []result[newestVersion] {
	results := make([]result[newestVersion], len(names))
	known := make(map[string]result[newestVersion], 1)
	for i, name := range names {
		found, seen := known[name]
		if !seen {
			found.out, found.err = s.probeNewest(ctx, name)
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
func (s *Store) probeNewest(ctx context.Context, name string) (newestVersion, error) {
	highest, _ := s.highest.Get(name)
	hidden := make(chan result[bool], 1)
	go func() {
		there, err := s.exists(ctx, tombstoneID(name, highest))
		hidden <- result[bool]{there, err}
	}()
	known, missing := highest, 0
	for step := 1; missing == 0; step *= 2 {
		there, err := s.exists(ctx, versionID(name, known+step))
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
		there, err := s.exists(ctx, versionID(name, middle))
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
	s.highest.Add(name, known)
	if known == highest {
		asked := <-hidden
		return newestVersion{version: known, hidden: asked.out}, asked.err
	}
	there, err := s.exists(ctx, tombstoneID(name, known))
	return newestVersion{version: known, hidden: there}, err
}

func (s *Store) exists(ctx context.Context, id string) (bool, error) {
	_, err := find[struct {
		ID string `bson:"_id"`
	}](ctx, s.templates, id)
	if notify.CodeOf(err) == notify.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// ListTemplates reads the newest versions of up to limit templates whose names
// come after the given one, in the order of their names.
func (s *Store) ListTemplates(ctx context.Context, after string, limit int) ([]notify.Template, error) {
	type entry struct {
		Name   string `bson:"name"`
		Hidden bool   `bson:"hidden"`
	}
	// Newest first within a name; a tombstone sorts before its version.
	entries, err := s.templates.Find(ctx,
		bson.D{{Key: "name", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().
			SetSort(bson.D{{Key: "name", Value: 1}, {Key: "version", Value: -1}, {Key: "_id", Value: -1}}).
			SetProjection(bson.D{{Key: "name", Value: 1}, {Key: "hidden", Value: 1}}))
	if err != nil {
		return nil, unavailable("find in templates", err)
	}
	defer entries.Close(ctx) //nolint:errcheck // nothing was written; the error of reading is what counts
	templates := []notify.Template{}
	last := after
	for len(templates) < limit && entries.Next(ctx) {
		var e entry
		if err := entries.Decode(&e); err != nil {
			return nil, unavailable("read from templates", err)
		}
		if e.Name == last {
			continue
		}
		last = e.Name
		if e.Hidden {
			continue
		}
		t, err := s.VisibleTemplate(ctx, e.Name, 0)
		if notify.CodeOf(err) == notify.CodeTemplateNotFound {
			continue // hidden meanwhile
		}
		if err != nil {
			return nil, err
		}
		templates = append(templates, *t)
	}
	return templates, unavailable("read from templates", entries.Err())
}
