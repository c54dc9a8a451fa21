package store

import (
	"context"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// CreateTemplate stores a template that does not exist or is hidden, and sets
// its version. It fails with CodeConflict when the name is taken.
func (s *Store) CreateTemplate(ctx context.Context, t *notify.Template) error {
	return s.templates.create(ctx, t.Name, func(version int) *notify.Template {
		t.Version = version
		return t
	})
}

// UpdateTemplate stores the next version of a template and sets it in t. It
// fails with CodeTemplateNotFound when there is no such template.
func (s *Store) UpdateTemplate(ctx context.Context, t *notify.Template) error {
	_, err := s.templates.change(ctx, t.Name, func(_ *notify.Template, version int) *notify.Template {
		t.Version = version
		return t
	})
	return err
}

// DeleteTemplate hides a template. Its versions stay for the notifications
// that were accepted with them. It fails with CodeTemplateNotFound when there
// is no such template.
func (s *Store) DeleteTemplate(ctx context.Context, name string, at time.Time) error {
	return s.templates.hide(ctx, name, at)
}

// VisibleTemplate reads a version of a template, 0 for the newest one. It
// fails with CodeTemplateNotFound when there is none or the template is hidden.
func (s *Store) VisibleTemplate(ctx context.Context, name string, version int) (*notify.Template, error) {
	return s.templates.visible(ctx, name, version)
}

// KnownTemplate is the newest version of a template that this process has seen,
// hidden or not, 0 for none. It asks nobody.
func (s *Store) KnownTemplate(name string) int {
	version, _ := s.templates.highest.Get(name)
	return version
}

// Template reads one version of a template, hidden or not. It fails with
// CodeTemplateNotFound when there is no such version.
func (s *Store) Template(ctx context.Context, ref notify.TemplateRef) (*notify.Template, error) {
	return s.templates.version(ctx, ref.Name, ref.Version)
}

// ListTemplates reads the newest versions of up to limit templates whose names
// come after the given one, in the order of their names.
func (s *Store) ListTemplates(ctx context.Context, after string, limit int) ([]notify.Template, error) {
	return s.templates.list(ctx, after, limit)
}
