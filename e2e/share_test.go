package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// TestTwoWorkersKeepOneRate has a broadcast take all tokens there are, with
// direct mail between, and one of the workers stop.
func TestTwoWorkersKeepOneRate(t *testing.T) {
	t.Parallel()
	const rate = 20 // a second
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).with("BELFRY_SMTP_RATE", "20/s")
	b.run("api")
	first := b.run("worker")
	b.eventually("the first worker has all", func() bool { return strings.Contains(first.log.String(), "workers=1 share=1") })
	second := b.run("worker")
	for _, p := range []*process{first, second} {
		b.eventually("each has half", func() bool { return strings.Contains(p.log.String(), "workers=2 share=0.5") })
	}
	b.ready()

	request := func(name string, n int) map[string]any {
		return map[string]any{"template": "welcome", "to": to(name+"-%d", "example.com", n), "data": map[string]any{"film": "x"}}
	}
	broadcast := b.send(request("broadcast", 300))
	b.eventually("the broadcast is under way", func() bool { return len(server.mails()) > rate })
	var longest time.Duration
	for i := range 10 {
		began := time.Now()
		require.Equal(t, notify.StatusDone, b.wait(b.send(request(fmt.Sprintf("direct-%d", i), 1))).Status)
		longest = max(longest, time.Since(began))
	}
	t.Logf("during a broadcast the longest wait of a direct message is %s", longest)
	var n standing
	b.do(http.MethodGet, "/v1/notifications/"+broadcast, http.StatusOK, nil, &n)
	require.Equal(t, notify.StatusSending, n.Status, "none of them waited for the broadcast")

	var ids []string
	for i := range 15 {
		ids = append(ids, b.send(request(fmt.Sprintf("many-%d", i), 10))) // for both workers
	}
	began, before := time.Now(), len(server.mails())
	const measured, slack = 120, 20 // slack: those that had their turn before
	b.eventually("many are sent", func() bool { return len(server.mails()) >= before+measured })
	t.Logf("%.1f mails/s", measured/time.Since(began).Seconds())
	require.Greater(t, time.Since(began), (measured-slack)*time.Second/rate)

	first.stop()
	b.eventually("the second one has all", func() bool { return strings.Contains(second.log.String(), "workers=1 share=1") })
	for _, id := range append(ids, broadcast) {
		require.Equal(t, notify.StatusDone, b.waitLong(id).Status)
	}
	require.Len(t, server.mails(), 300+10+150)
}
