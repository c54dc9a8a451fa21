package intake

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
)

func openStore(t *testing.T, uri string) *store.Store {
	t.Helper()
	s, err := store.Open(uri)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

// A process that knows an older version of a template than there is accepts with
// the newest one, and nothing with one that is deleted.
func TestANewNotificationHasTheNewestTemplateWhateverTheProcessKnows(t *testing.T) {
	t.Parallel()
	uri := mongotest.NewURI(t)
	here, elsewhere := openStore(t, uri), openStore(t, uri)
	starter := &begun{}
	i := &Intake{Store: here, Starter: starter, DirectLimit: 10}
	email := notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "h"}}
	accept := func() (*notify.Record, string, error) {
		id := uuid.NewString()
		record, err := i.AcceptNew(t.Context(), here, &notify.Request{Template: "welcome", To: []notify.Recipient{ofEmail("ann@example.com")}}, id, Moment(time.Now()))
		return record, id, err
	}
	requireVersion := func(version int) {
		t.Helper()
		record, id, err := accept()
		require.NoError(t, err)
		require.Equal(t, version, record.Template.Version)
		stored, err := elsewhere.Notification(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, version, stored.Template.Version)
		known, err := here.Accepted(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, version, known.Template.Version)
		require.Contains(t, starter.ids, id)
	}
	require.NoError(t, elsewhere.CreateTemplate(t.Context(), &notify.Template{Name: "welcome", Channels: email}))
	requireVersion(1)
	requireVersion(1)
	require.NoError(t, elsewhere.UpdateTemplate(t.Context(), &notify.Template{Name: "welcome", Channels: email}))
	requireVersion(2)
	// One without words for the channel is refused, whatever the one before had.
	require.NoError(t, elsewhere.UpdateTemplate(t.Context(), &notify.Template{Name: "welcome"}))
	refused := func(code notify.Code) {
		t.Helper()
		begun := len(starter.ids)
		_, id, err := accept()
		require.Equal(t, code, notify.CodeOf(err))
		_, err = elsewhere.Notification(t.Context(), id)
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err), "nothing is left of it")
		_, err = here.Accepted(t.Context(), id)
		require.Equal(t, notify.CodeNotFound, notify.CodeOf(err))
		require.Len(t, starter.ids, begun)
	}
	refused(notify.CodeInvalid)
	require.NoError(t, elsewhere.UpdateTemplate(t.Context(), &notify.Template{Name: "welcome", Channels: email}))
	requireVersion(4)
	require.NoError(t, elsewhere.DeleteTemplate(t.Context(), "welcome", time.Now()))
	refused(notify.CodeTemplateNotFound)
	refused(notify.CodeTemplateNotFound)
}
