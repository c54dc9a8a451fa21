package e2e

import (
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// chaos is a number that `make chaos` makes larger.
func chaos(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	return n
}

// TestAWorkerKilledAtRandomMoments has one worker, killed and started again
// while notifications keep coming.
func TestAWorkerKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("api")
	worker := b.run("worker")
	b.ready()
	var ids []string
	for range chaos(t, "CHAOS_KILLS", 2) {
		ids = append(ids, b.underLoad(newDomain(), 60, func() {
			<-time.After(time.Duration(rand.IntN(500)) * time.Millisecond)
			worker.kill()
			worker = b.run("worker")
		})...)
	}
	for _, id := range ids {
		require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.waitLong(id).Counts)
	}
	requireEveryoneHasMail(t, b, server, ids)
}

// TestAMailServerOfAllMoods sends through a mail server that misbehaves.
func TestAMailServerOfAllMoods(t *testing.T) {
	t.Parallel()
	n := chaos(t, "CHAOS_MAILS", 200)
	for _, test := range []struct {
		name string
		mood func(server *mailServer)
		away time.Duration
	}{
		{name: "it answers 451 to one in five", mood: func(s *mailServer) {
			s.refuse(func(string) error {
				if rand.IntN(5) == 0 {
					return errLater
				}
				return nil
			})
		}},
		{name: "it hangs up after one in twenty", mood: func(s *mailServer) { s.hangUpOneIn(20) }},
		{name: "it is away for a while", away: 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t)
			b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
			proxy := b.before("BELFRY_SMTP_URL")
			b.run("all")
			b.ready()
			if test.mood != nil {
				test.mood(server)
			}
			ids := b.underLoad(newDomain(), n/3, func() {
				if test.away > 0 {
					proxy.cut()
				}
			})
			if test.away > 0 {
				<-time.After(test.away)
				proxy.restore()
			}
			for _, id := range ids {
				require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.waitLong(id).Counts)
			}
			requireEveryoneHasMail(t, b, server, ids)
			var failed list[delivery]
			b.do(http.MethodGet, "/v1/deliveries?state=failed", http.StatusOK, nil, &failed)
			require.Empty(t, failed.Items)
		})
	}
}
