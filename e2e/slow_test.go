package e2e

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// TestASlowNeighbour has MongoDB or Temporal answer a second late each time, while many
// ask. Nobody waits for long, those that there is no place for are told so at
// once, and what was accepted meanwhile is sent when all is well again.
func TestASlowNeighbour(t *testing.T) {
	t.Parallel()
	for neighbour, variable := range map[string]string{"temporal": "TEMPORAL_ADDRESS", "mongo": "BELFRY_MONGO_URI"} {
		t.Run(neighbour, func(t *testing.T) {
			t.Parallel()
			const places, callers = 8, 64
			b := newBelfry(t).with("BELFRY_MAX_REQUESTS", "8")
			proxy := b.before(variable)
			b.run("all")
			b.ready()
			domain := newDomain()
			request := map[string]any{"template": "welcome", "to": to("u%d", domain, 1), "data": map[string]any{"film": "x"}}

			proxy.slow(time.Second)
			var mu sync.Mutex
			counts, soon, longest := map[int]int{}, 0, time.Duration(0)
			var accepted []string
			var group sync.WaitGroup
			until := time.Now().Add(10 * time.Second)
			for range callers {
				group.Go(func() {
					for time.Now().Before(until) {
						began := time.Now()
						response, text, err := b.request(http.MethodPost, "/v1/notifications", http.Header{"Idempotency-Key": {uuid.NewString()}}, request)
						took := time.Since(began)
						mu.Lock()
						if err != nil {
							t.Errorf("not answered: %v", err)
							mu.Unlock()
							return
						}
						counts[response.StatusCode]++
						longest = max(longest, took)
						if response.StatusCode == http.StatusServiceUnavailable && bytes.Contains(text, []byte("at a time")) {
							soon++
							if response.Header.Get("Retry-After") == "" || took > time.Second+busy {
								t.Errorf("told after %s, to try again after %q", took, response.Header.Get("Retry-After"))
							}
						}
						if response.StatusCode == http.StatusAccepted {
							accepted = append(accepted, response.Header.Get("Location")[len("/v1/notifications/"):])
						}
						mu.Unlock()
					}
				})
			}
			for range 10 {
				began := time.Now()
				b.do(http.MethodGet, "/healthz", http.StatusOK, nil, nil)
				require.Less(t, time.Since(began), time.Second+busy)
				require.Less(t, goroutines(t, b), 200+10*(places+callers), "they do not pile up")
				<-time.After(500 * time.Millisecond)
			}
			group.Wait()
			proxy.slow(0)
			t.Logf("statuses %v, %d of them had no place, the longest took %s", counts, soon, longest)
			require.Positive(t, soon)
			require.Less(t, longest, 5*time.Second+busy)
			for status := range counts {
				require.Contains(t, []int{http.StatusAccepted, http.StatusServiceUnavailable}, status)
			}
			b.eventually("accepting again", func() bool {
				return b.status(http.MethodPost, "/v1/notifications", request) == http.StatusAccepted
			})
			for _, id := range accepted {
				require.Equal(t, notify.Counts{Total: 1, Sent: 1}, b.waitLong(id).Counts)
			}
		})
	}
}

// goroutines is how many the API's process has.
func goroutines(t *testing.T, b *belfry) int {
	t.Helper()
	s := &soak{belfry: b, client: http.DefaultClient}
	return int(s.metric("go_goroutines"))
}
