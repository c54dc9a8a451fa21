package intake

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/internal/trigger"
)

// begun is a Starter that remembers whom it was asked for.
type begun struct {
	mu   sync.Mutex
	away error
	ids  []string
}

func (b *begun) Start(_ context.Context, n *notify.Notification) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away == nil {
		b.ids = append(b.ids, n.ID)
	}
	return b.away
}

// programs are the triggers of every event.
type programs []*trigger.Program

func (p programs) For(context.Context, string) ([]*trigger.Program, error) { return p, nil }

// compiled is a trigger that tells one person of the film.
func compiled(t *testing.T, name string, change func(*trigger.Definition)) *trigger.Program {
	t.Helper()
	d := &trigger.Definition{Name: name, EventType: "film.released", To: "event.data.fans", Template: "welcome", Enabled: true}
	if change != nil {
		change(d)
	}
	program, err := trigger.Compile(d)
	require.NoError(t, err)
	return program
}

// released is an event that triggers tell fans of.
func released(t *testing.T, fans ...notify.Recipient) *event.Event {
	t.Helper()
	data, err := json.Marshal(map[string]any{"fans": fans})
	require.NoError(t, err)
	return &event.Event{ID: "1", Source: "/films", Type: "film.released", Data: data}
}

func newEvents(t *testing.T, triggers ...*trigger.Program) (*Events, *store.Store, *begun) {
	t.Helper()
	s, err := store.Open(mongotest.NewURI(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	require.NoError(t, s.CreateTemplate(t.Context(), &notify.Template{Name: "welcome", Channels: notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "h"}}}))
	starter := &begun{}
	v := &Events{
		Store:  s,
		Intake: &Intake{Store: s, Starter: starter, DirectLimit: 10},
		Read: func(body []byte) (*notify.Request, error) {
			var r notify.Request
			if err := json.Unmarshal(body, &r); err != nil {
				return nil, invalid("body", err.Error(), nil)
			}
			return &r, nil
		},
		Triggers: programs(triggers),
		Log:      slog.New(slog.DiscardHandler),
		Now:      time.Now,

		AudienceRetention: time.Hour,
	}
	return v, s, starter
}

func sendEvent(id string) *event.Event {
	return &event.Event{ID: id, Source: "/films", Type: event.SendType, Data: json.RawMessage(`{"template":"welcome","to":[{"email":"ann@example.com"}]}`)}
}

func ofEmail(email string) notify.Recipient { return notify.Recipient{Email: email} }

func TestAnEventIsOneNotificationHoweverOftenItComes(t *testing.T) {
	t.Parallel()
	v, s, starter := newEvents(t)
	id := notificationID(sendEvent("1"), "")
	starter.away = &notify.Error{Code: notify.CodeUnavailable}
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(v.Handle(t.Context(), sendEvent("1"))))
	first, err := s.Notification(t.Context(), id)
	require.NoError(t, err, "it is stored by then, and the sweep would start it")

	starter.away = nil
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if err := v.Handle(t.Context(), sendEvent("1")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	again, err := s.Notification(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, first, again)
	for _, started := range starter.ids {
		require.Equal(t, id, started)
	}

	// What it was made of may be gone by then.
	require.NoError(t, s.DeleteTemplate(t.Context(), "welcome", time.Now()))
	require.NoError(t, v.Handle(t.Context(), sendEvent("1")))
	require.Equal(t, notify.CodeTemplateNotFound, notify.CodeOf(v.Handle(t.Context(), sendEvent("2"))))

	other := sendEvent("1")
	other.Source = "/books"
	require.NotEqual(t, id, notificationID(other, ""))
	require.NotEqual(t, id, notificationID(sendEvent("1"), "trigger"))
	nothing := sendEvent("3")
	nothing.Data = nil
	require.ErrorContains(t, v.Handle(t.Context(), nothing), "body: is missing: the event has no data")
}

func TestTriggersDoNotDependOnEachOther(t *testing.T) {
	t.Parallel()
	v, s, starter := newEvents(t,
		compiled(t, "first", nil),
		compiled(t, "broken", func(d *trigger.Definition) { d.Condition = "event.data.film == 'Solaris'" }),
		compiled(t, "gone", func(d *trigger.Definition) { d.Template = "gone" }),
		compiled(t, "no", func(d *trigger.Definition) { d.Condition = "false" }),
		compiled(t, "last", nil))
	e := released(t, ofEmail("ann@example.com"))
	for range 2 {
		err := v.Handle(t.Context(), e)
		require.ErrorContains(t, err, "no such key: film")
		require.ErrorContains(t, err, "trigger gone: ")
		require.NotEqual(t, notify.CodeUnavailable, notify.CodeOf(err))
	}
	for _, name := range []string{"first", "last"} {
		_, err := s.Notification(t.Context(), notificationID(e, name))
		require.NoError(t, err)
		require.Contains(t, starter.ids, notificationID(e, name))
	}
	stored, err := s.Notifications(t.Context(), store.NotificationQuery{Limit: 10})
	require.NoError(t, err)
	require.Len(t, stored, 2)

	starter.away = &notify.Error{Code: notify.CodeUnavailable}
	require.Equal(t, notify.CodeUnavailable, notify.CodeOf(v.Handle(t.Context(), e)), "what may work later is not a dead letter")

	none, _, _ := newEvents(t)
	require.NoError(t, none.Handle(t.Context(), e))
	require.EqualValues(t, 1, none.Ignored.Load())
}

// More recipients than go by value become an audience: one, and whole, though
// several starters have the event at the same time.
func TestAnEventForMany(t *testing.T) {
	t.Parallel()
	fans := make([]notify.Recipient, 2*notify.MaxRecipients+1)
	for i := range fans {
		fans[i] = ofEmail(fmt.Sprintf("u%d@example.com", i))
	}
	e := released(t, fans...)
	v, s, _ := newEvents(t, compiled(t, "fans", nil))
	kept := &auditedStore{Store: s, audiences: map[string]bool{}, answerLost: true}
	v.Store = kept
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := v.Handle(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.NoError(t, v.Handle(t.Context(), e))
	n, err := s.Notification(t.Context(), notificationID(e, "fans"))
	require.NoError(t, err)
	require.Empty(t, n.To)
	require.True(t, n.Bulk)
	require.Equal(t, len(fans), n.Counts.Total)
	require.Equal(t, len(fans), n.Audience.Total)
	require.Equal(t, map[string]bool{n.Audience.ID: true}, kept.audiences, "only the one in use is kept")
	a, err := s.Audience(t.Context(), n.Audience.ID, time.Now())
	require.NoError(t, err)
	require.True(t, a.KeptFor(&n.Notification))
	var told []notify.Recipient
	for page := range a.Pages {
		recipients, err := s.AudiencePage(t.Context(), a.ID, page)
		require.NoError(t, err)
		told = append(told, recipients...)
	}
	require.Equal(t, fans, told)
}

// An auditedStore knows which audiences there are, and once answers an insert of
// a notification as if it had been there before, as the driver does when it
// repeats one whose answer was lost.
type auditedStore struct {
	*store.Store
	mu         sync.Mutex
	audiences  map[string]bool
	answerLost bool
}

func (s *auditedStore) InsertAudience(ctx context.Context, a *audience.Audience, pages iter.Seq2[[]notify.Recipient, error]) error {
	s.mu.Lock()
	s.audiences[a.ID] = true
	s.mu.Unlock()
	return s.Store.InsertAudience(ctx, a, pages)
}

func (s *auditedStore) DeleteAudience(ctx context.Context, id string, now time.Time) error {
	s.mu.Lock()
	delete(s.audiences, id)
	s.mu.Unlock()
	return s.Store.DeleteAudience(ctx, id, now)
}

func (s *auditedStore) InsertNotification(ctx context.Context, r *notify.Record) error {
	err := s.Store.InsertNotification(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.answerLost {
		s.answerLost = false
		return &notify.Error{Code: notify.CodeConflict}
	}
	return err
}
