package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func to(format, domain string, n int) []map[string]any {
	recipients := make([]map[string]any, n)
	for i := range recipients {
		recipients[i] = map[string]any{"email": fmt.Sprintf(format, i) + "@" + domain}
	}
	return recipients
}

func TestANeighbourAwayAtRequestTime(t *testing.T) {
	t.Parallel()
	for neighbour, variable := range map[string]string{"temporal": "TEMPORAL_ADDRESS", "mongo": "BELFRY_MONGO_URI"} {
		for _, how := range []string{"whole", "by reference"} {
			t.Run(neighbour+", "+how, func(t *testing.T) {
				t.Parallel()
				b := newBelfry(t)
				proxy := b.before(variable)
				b.run("all")
				b.ready()
				domain := newDomain()
				recipients := 1
				if how == "by reference" {
					recipients = 12
				}
				request := map[string]any{"template": "welcome", "to": to("u%d", domain, recipients), "data": map[string]any{"film": "x"}}
				key := http.Header{"Idempotency-Key": {uuid.NewString()}}

				proxy.cut()
				began := time.Now()
				response := b.doWith(key, http.MethodPost, "/v1/notifications", http.StatusServiceUnavailable, request, nil)
				require.Less(t, time.Since(began), 5*time.Second+busy)
				require.NotEmpty(t, response.Header.Get("Retry-After"))
				var ready struct{ Checks map[string]string }
				b.do(http.MethodGet, "/readyz", http.StatusServiceUnavailable, nil, &ready)
				require.Equal(t, "unavailable", ready.Checks[neighbour])
				b.do(http.MethodGet, "/healthz", http.StatusOK, nil, nil)

				proxy.restore()
				var first, again standing
				b.eventually("accepted under the same key", func() bool {
					response, _, err := b.request(http.MethodPost, "/v1/notifications", key, request)
					return err == nil && response.StatusCode == http.StatusAccepted
				})
				b.doWith(key, http.MethodPost, "/v1/notifications", http.StatusAccepted, request, &first)
				b.doWith(key, http.MethodPost, "/v1/notifications", http.StatusAccepted, request, &again)
				require.Equal(t, first.ID, again.ID)
				require.Equal(t, notify.Counts{Total: recipients, Sent: recipients}, b.wait(first.ID).Counts)
				requireOneMailEach(t, domain, recipients)
			})
		}
	}
}

func TestANeighbourAwayWhileRunning(t *testing.T) {
	t.Parallel()
	for neighbour, variable := range map[string]string{
		"temporal": "TEMPORAL_ADDRESS", "mongo": "BELFRY_MONGO_URI", "idp": "BELFRY_IDP_ADDR", "smtp": "BELFRY_SMTP_URL",
	} {
		t.Run(neighbour, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t)
			b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
			proxy := b.before(variable)
			b.run("all")
			b.ready()
			domain := newDomain()
			var ids []string
			send := func(n int) {
				ids = append(ids, b.send(map[string]any{
					"template": "welcome", "data": map[string]any{"film": "x"},
					"to": append(to(fmt.Sprintf("n%d-%%d", n), domain, 3), map[string]any{"user_id": ann}),
				}))
			}
			for n := range 20 {
				send(n)
			}
			proxy.cut()
			if neighbour == "idp" || neighbour == "smtp" { // the API needs neither
				for n := 20; n < 25; n++ {
					send(n)
				}
			}
			away := 5 * time.Second
			if neighbour == "idp" || neighbour == "smtp" {
				away = time.Duration(chaos(t, "CHAOS_AWAY", 12)) * time.Second // `make chaos`: past every time-out
			}
			<-time.After(away)
			proxy.restore()

			for _, id := range ids {
				require.Equal(t, notify.Counts{Total: 4, Sent: 4}, b.waitLong(id).Counts)
			}
			requireMailsAsRecorded(t, b, server, ids, 3*len(ids)+1)
		})
	}
}

// requireMailsAsRecorded compares what a mail server took with the deliveries:
// nobody without mail, and whoever got one twice is marked, and got the same.
func requireMailsAsRecorded(t *testing.T, b *belfry, server *mailServer, ids []string, addresses int) {
	t.Helper()
	taken := server.mails()
	require.Len(t, taken, addresses)
	byMessage := map[string][]takenMail{}
	for _, mails := range taken {
		for _, m := range mails {
			byMessage[m.messageID] = append(byMessage[m.messageID], m)
		}
	}
	for _, id := range ids {
		for _, d := range b.deliveries(id) {
			require.Equal(t, notify.StateSent, d.State)
			copies := byMessage["<"+d.ID+"@example.org>"]
			require.NotEmpty(t, copies, "%s has no mail", d.ID)
			for _, c := range copies[1:] {
				require.Equal(t, copies[0], c, "the same text")
			}
			if len(copies) > 1 {
				require.True(t, d.Resent, "%s came %d times, unmarked", d.ID, len(copies))
			}
			delete(byMessage, "<"+d.ID+"@example.org>")
		}
	}
	require.Empty(t, byMessage, "mails that no delivery knows")
}
