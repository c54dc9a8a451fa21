package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

var (
	errNoMailbox = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	errLater     = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try again later"}
)

func TestAFailedDeliveryIsTriedAgainByHand(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	server.refuse(func(to string) error {
		if to == "full@example.com" {
			return errNoMailbox
		}
		return nil
	})
	id := b.send(map[string]any{
		"template": "welcome", "data": map[string]any{"film": "Solaris"},
		"to": []map[string]any{{"email": "full@example.com"}, {"email": "fine@example.com"}},
	})
	require.Equal(t, notify.Counts{Total: 2, Sent: 1, Failed: 1}, b.wait(id).Counts)

	var found list[delivery]
	b.do(http.MethodGet, "/v1/deliveries?address=full@example.com&state=failed", http.StatusOK, nil, &found)
	require.Len(t, found.Items, 1)
	failed := found.Items[0]
	require.Equal(t, notify.ReasonRejected, failed.Reason)
	require.Len(t, failed.Attempts, 1)
	require.Contains(t, failed.Attempts[0].Error, "no such mailbox")

	// Refused again, it has failed again, and may be tried once more.
	var shown delivery
	b.do(http.MethodPost, "/v1/deliveries/"+failed.ID+"/retry", http.StatusAccepted, nil, &shown)
	require.Equal(t, notify.StateQueued, shown.State)
	b.eventually("it has failed again", func() bool {
		b.do(http.MethodGet, "/v1/deliveries/"+failed.ID, http.StatusOK, nil, &shown)
		return shown.State == notify.StateFailed && len(shown.Attempts) == 2
	})

	server.refuse(nil)
	var group sync.WaitGroup
	for range 10 { // asked for ten times at once, it is tried once
		group.Go(func() { b.status(http.MethodPost, "/v1/deliveries/"+failed.ID+"/retry", nil) })
	}
	group.Wait()
	b.eventually("it is sent, and counted", func() bool {
		b.do(http.MethodGet, "/v1/deliveries/"+failed.ID, http.StatusOK, nil, &shown)
		return shown.State == notify.StateSent && b.wait(id).Counts == notify.Counts{Total: 2, Sent: 2}
	})
	require.False(t, shown.Resent, "nothing was in doubt")
	require.Len(t, shown.Attempts, 3)
	require.Len(t, server.mails()["full@example.com"], 1)
	require.Len(t, server.mails()["fine@example.com"], 1)

	b.do(http.MethodPost, "/v1/deliveries/"+failed.ID+"/retry", http.StatusConflict, nil, nil)
	b.do(http.MethodPost, "/v1/deliveries/0193a5b0-0000-5000-8000-000000000001/retry", http.StatusNotFound, nil, nil)
}

func TestAUserWhoIsKnownLaterIsToldByARetry(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users.yaml")
	require.NoError(t, os.WriteFile(users, []byte("- {id: ann, email: ann@example.com}\n"), 0o600))
	addr := freeAddr(t)
	start(t, nil, "idp", "--addr", addr, "--users", users)
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).with("BELFRY_IDP_ADDR", addr)
	b.run("all")
	b.ready()
	id := b.send(map[string]any{"template": "welcome", "data": map[string]any{"film": "x"}, "to": []map[string]any{{"user_id": "new"}}})
	require.Equal(t, notify.StatusFailed, b.wait(id).Status)
	d := b.deliveries(id)[0]
	for tries := 2; tries <= 3; tries++ { // still unknown: each retry is a real one
		b.do(http.MethodPost, "/v1/deliveries/"+d.ID+"/retry", http.StatusAccepted, nil, nil)
		b.eventually("it has failed again", func() bool {
			b.do(http.MethodGet, "/v1/deliveries/"+d.ID, http.StatusOK, nil, &d)
			return d.State == notify.StateFailed && len(d.Attempts) == tries
		})
	}
	require.NoError(t, os.WriteFile(users, []byte("- {id: ann, email: ann@example.com}\n- {id: new, email: new@example.com}\n"), 0o600))
	b.eventually("told at last", func() bool {
		b.status(http.MethodPost, "/v1/deliveries/"+d.ID+"/retry", nil)
		b.do(http.MethodGet, "/v1/deliveries/"+d.ID, http.StatusOK, nil, &d)
		return d.State == notify.StateSent
	})
	b.eventually("and counted", func() bool { return b.wait(id).Status == notify.StatusDone })
	require.Len(t, server.mails()["new@example.com"], 1)
}

func TestARefusalForNowIsRetried(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	refusals := 2
	server.refuse(func(string) error {
		if refusals--; refusals >= 0 {
			return errLater
		}
		return nil
	})
	id := b.send(map[string]any{
		"template": "welcome", "data": map[string]any{"film": "Solaris"}, "to": []map[string]any{{"email": "ann@example.com"}},
	})
	require.Equal(t, notify.Counts{Total: 1, Sent: 1}, b.wait(id).Counts)
	sent := b.deliveries(id)[0]
	require.Len(t, sent.Attempts, 3)
	require.Contains(t, sent.Attempts[0].Error, "try again later")
	require.Empty(t, sent.Attempts[2].Error)
	require.False(t, sent.Resent)
	require.Len(t, server.mails()["ann@example.com"], 1)
}
