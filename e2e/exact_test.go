package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// TestASenderStoppedPastItsTimeOuts stops a worker in the middle of its sends
// and continues it after another one has taken over: two live attempts at the
// same deliveries.
func TestASenderStoppedPastItsTimeOuts(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("api")
	first := b.run("worker")
	b.ready()
	server.slow(300 * time.Millisecond)
	var ids []string
	for n := range 5 {
		ids = append(ids, b.send(map[string]any{
			"template": "welcome", "to": to(fmt.Sprintf("n%d-%%d", n), "example.com", 8), "data": map[string]any{"film": "x"},
		}))
	}
	b.eventually("in the middle", func() bool { return len(server.mails()) > 3 })
	require.NoError(t, first.cmd.Process.Signal(syscall.SIGSTOP))
	server.slow(0)
	b.run("worker")
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 8, Sent: 8}, b.waitLong(id).Counts)
	}
	require.NoError(t, first.cmd.Process.Signal(syscall.SIGCONT))
	first.stop() // it has had its say by then
	requireMailsAsRecorded(t, b, server, ids, 40)
}

func TestWhatDoesNotGoOutInTimeIsExpired(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	server.refuse(func(string) error { return errLater })
	expires := time.Now().Add(4 * time.Second)
	id := b.send(map[string]any{
		"template": "welcome", "to": to("u%d", "example.com", 2), "data": map[string]any{"film": "x"}, "expires_at": expires.UTC(),
	})
	n := b.wait(id)
	require.Equal(t, notify.StatusExpired, n.Status)
	require.Equal(t, notify.Counts{Total: 2, Skipped: 2}, n.Counts)
	require.WithinDuration(t, expires, *n.FinishedAt, 3*time.Second)
	for _, d := range b.deliveries(id) {
		require.Equal(t, notify.ReasonExpired, d.Reason)
		require.NotEmpty(t, d.Attempts)
	}
}

// TestAServerThatHangsUpAfterTheMessage leaves doubts, which are resent or left
// alone, as the notification says.
func TestAServerThatHangsUpAfterTheMessage(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	for onUnknown, state := range map[string]notify.State{"resend": notify.StateSent, "skip": notify.StateUnknown} {
		address := onUnknown + "@example.com"
		server.hangUpOnce(address)
		id := b.send(map[string]any{
			"template": "welcome", "to": []map[string]any{{"email": address}}, "data": map[string]any{"film": "x"}, "on_unknown": onUnknown,
		})
		b.wait(id)
		d := b.deliveries(id)[0]
		require.Equal(t, state, d.State, onUnknown)
		require.Equal(t, onUnknown == "resend", d.Resent)
		require.Equal(t, address, d.Address)
		copies := server.mails()[address]
		require.Len(t, copies, map[string]int{"resend": 2, "skip": 1}[onUnknown])
		require.Equal(t, copies[0], copies[len(copies)-1])
	}
}

func TestSendGridCarriesAndFailsOver(t *testing.T) {
	t.Parallel()
	sendGrid := newSendGrid(t)
	b := newBelfry(t).with("BELFRY_EMAIL_PROVIDER", "smtp,sendgrid").with("BELFRY_SMTP_URL", "smtp://"+freeAddr(t)+"?tls=none").
		with("BELFRY_SENDGRID_URL", sendGrid.URL).with("BELFRY_SENDGRID_API_KEY", "SG.test")
	b.run("all")
	b.ready()
	id := b.send(map[string]any{"template": "welcome", "to": to("u%d", "example.com", 1), "data": map[string]any{"film": "x"}, "provider": "sendgrid"})
	require.Equal(t, notify.StatusDone, b.wait(id).Status)
	d := b.deliveries(id)[0]
	require.Equal(t, "sendgrid", d.Provider)
	require.Equal(t, "message-1", d.ProviderID)

	// Nobody is behind SMTP: after some failures its breaker is open.
	var ids []string
	for range 3 {
		ids = append(ids, b.send(map[string]any{"template": "welcome", "to": to("f%d", "example.com", 5), "data": map[string]any{"film": "x"}}))
	}
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 5, Sent: 5}, b.waitLong(id).Counts)
		for _, d := range b.deliveries(id) {
			require.Equal(t, "sendgrid", d.Provider)
		}
	}
	var problem struct{ Errors []notify.FieldError }
	b.do(http.MethodPost, "/v1/notifications", http.StatusUnprocessableEntity, map[string]any{
		"template": "welcome", "to": to("u%d", "example.com", 1), "provider": "pigeon",
	}, &problem)
	require.Equal(t, "body.provider", problem.Errors[0].Location)
}
