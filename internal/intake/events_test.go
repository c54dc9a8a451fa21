package intake

import (
	"context"
	"encoding/json"
	"errors"
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

// matches are what the triggers make of every event.
type matches []Match

func (m matches) Match(context.Context, *event.Event) ([]Match, error) { return m, nil }

func newEvents(t *testing.T, triggers ...Match) (*Events, *store.Store, *begun) {
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
		Log: slog.New(slog.DiscardHandler),
		Now: time.Now,

		AudienceRetention: time.Hour,
	}
	if triggers != nil {
		v.Triggers = matches(triggers)
	}
	return v, s, starter
}

func sendEvent(id string) *event.Event {
	return &event.Event{ID: id, Source: "/films", Type: SendType, Data: json.RawMessage(`{"template":"welcome","to":[{"email":"ann@example.com"}]}`)}
}

func welcome(emails ...string) *notify.Request {
	r := &notify.Request{Template: "welcome"}
	for _, email := range emails {
		r.To = append(r.To, notify.Recipient{Email: email})
	}
	return r
}

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
	gone := welcome("ann@example.com")
	gone.Template = "gone"
	v, s, starter := newEvents(t,
		Match{Trigger: "first", Request: welcome("ann@example.com")},
		Match{Trigger: "broken", Err: errors.New("no such key: film")},
		Match{Trigger: "gone", Request: gone},
		Match{Trigger: "last", Request: welcome("bob@example.com")})
	e := &event.Event{ID: "1", Source: "/films", Type: "film.released"}
	for range 2 {
		err := v.Handle(t.Context(), e)
		require.ErrorContains(t, err, "trigger broken: no such key: film")
		require.ErrorContains(t, err, "trigger gone: ")
		require.NotEqual(t, notify.CodeUnavailable, notify.CodeOf(err))
	}
	for _, trigger := range []string{"first", "last"} {
		_, err := s.Notification(t.Context(), notificationID(e, trigger))
		require.NoError(t, err)
		require.Contains(t, starter.ids, notificationID(e, trigger))
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
	emails := make([]string, 2*notify.MaxRecipients+1)
	for i := range emails {
		emails[i] = fmt.Sprintf("u%d@example.com", i)
	}
	e := &event.Event{ID: "1", Source: "/films", Type: "film.released"}
	v, s, _ := newEvents(t, Match{Trigger: "fans", Request: welcome(emails...)})
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
	require.Equal(t, len(emails), n.Counts.Total)
	require.Equal(t, len(emails), n.Audience.Total)
	require.Equal(t, map[string]bool{n.Audience.ID: true}, kept.audiences, "only the one in use is kept")
	a, err := s.Audience(t.Context(), n.Audience.ID, time.Now())
	require.NoError(t, err)
	require.False(t, a.ExpiresAt.Before(n.ExpiresAt), "kept as long as the notification may go out")
	var told []notify.Recipient
	for page := range a.Pages {
		recipients, err := s.AudiencePage(t.Context(), a.ID, page)
		require.NoError(t, err)
		told = append(told, recipients...)
	}
	require.Equal(t, welcome(emails...).To, told)
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
