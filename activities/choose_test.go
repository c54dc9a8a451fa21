package activities

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestTheNextProviderIsTried(t *testing.T) {
	t.Parallel()
	refused := func(context.Context, notify.Message) notify.Outcome {
		return notify.Outcome{Kind: notify.OutcomeTransient, Detail: "451 later"}
	}
	for _, test := range []struct {
		name    string
		set     func(first, second *provider, n *notify.Notification)
		tries   int    // of attempts until it is sent; 0: it is not
		carrier string // who sent it
	}{
		{"the first, if it can", func(_, _ *provider, _ *notify.Notification) {}, 1, "smtp"},
		{"while the first is down", func(first, _ *provider, _ *notify.Notification) { first.down = true }, 1, "sendgrid"},
		{"when the first one's tries are used up", func(first, _ *provider, _ *notify.Notification) { first.answer = refused }, triesEach + 1, "sendgrid"},
		{"not when another one is forced", func(first, _ *provider, n *notify.Notification) { first.down, n.Provider = true, "smtp" }, 0, ""},
		{"the forced one", func(_, _ *provider, n *notify.Notification) { n.Provider = "sendgrid" }, 1, "sendgrid"},
		{"not when a forced one is not there", func(_, _ *provider, n *notify.Notification) { n.Provider = "pigeon" }, 0, ""},
		{"not while all are down", func(first, second *provider, _ *notify.Notification) { first.down, second.down = true, true }, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			second := &provider{name: "sendgrid"}
			w.Email = append(w.Email, second)
			n := w.notification(notify.Recipient{UserID: "ann"})
			test.set(w.provider, second, n)
			var d *notify.Delivery
			tries := 0
			for d == nil && tries < 2*triesEach {
				tries++
				d, _ = w.attempt(t.Context(), n, tries > 1)
			}
			if test.tries == 0 {
				require.Nil(t, d)
				require.Empty(t, w.ledger.claims, "nothing was claimed in vain")
				return
			}
			require.Equal(t, test.tries, tries)
			require.Equal(t, test.carrier, d.Provider)
			require.Len(t, d.Attempts, tries)
		})
	}
}

func TestADoubtStaysWithItsProvider(t *testing.T) {
	t.Parallel()
	w := newWorld()
	second := &provider{name: "sendgrid"}
	w.Email = append(w.Email, second)
	n := w.notification(notify.Recipient{UserID: "ann"})
	w.provider.answer = func(context.Context, notify.Message) notify.Outcome {
		return notify.Outcome{Kind: notify.OutcomeUnknown}
	}
	for tries := range 2 * triesEach {
		_, err := w.attempt(t.Context(), n, tries > 0)
		require.Error(t, err)
	}
	w.provider.down = true
	_, err := w.attempt(t.Context(), n, true)
	require.ErrorContains(t, err, "no provider")
	require.Empty(t, second.sent)
}
