package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/notify"
)

// The example is played as its README says, twice: everybody whom an event
// concerns has one mail of it, also after the second time.
func TestACinemaPlaysItsDay(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newEventful(t, server)
	b.run("api")
	b.run("worker")
	b.ready()
	starter := b.starter()
	fans := chaos(t, "CHAOS_FANS", 1001) // more than 1,000 become an audience
	want := map[string]int{
		"kelvin@cinema.example": 1, "hari@cinema.example": 1, "snaut@cinema.example": 1,
		"ann@example.com": 2, "dana@example.com": 1, // of whom the idp knows the address
	}
	for fan := range fans {
		want[fmt.Sprintf("fan%d@cinema.example", fan+1)] = 1
	}
	for range 2 {
		require.Contains(t, b.play(fans), fmt.Sprintf("%d mails, ", 3+2+fans+1))
	}
	client := amqptest.NewClient(t, b.variables["BELFRY_AMQP_URL"])
	b.eventually("all events are taken", func() bool { return client.Length(queue) == 0 })
	starter.stop()
	require.Contains(t, starter.log.String(), "handled=16 dead_lettered=0", "eight events, told twice")
	for template, deliveries := range map[string][]int{
		"cinema-welcome": {1, 1, 1}, "cinema-review-liked": {1, 1}, "cinema-film-released": {fans}, "cinema-new-device": {1},
	} {
		var found list[standing]
		b.do(http.MethodGet, "/v1/notifications?template="+template, http.StatusOK, nil, &found)
		require.Len(t, found.Items, len(deliveries), template)
		for i, n := range found.Items {
			require.Equal(t, notify.Counts{Total: deliveries[i], Sent: deliveries[i]}, b.wait(n.ID).Counts, template)
			require.Equal(t, template == "cinema-new-device", b.isUrgent(n.ID), template)
		}
	}
	taken := map[string]int{}
	for to, mails := range server.mails() {
		taken[to] = len(mails)
	}
	require.Equal(t, want, taken)
}

// play plays the cinema's day and gives what that printed.
func (b *belfry) play(fans int) string {
	b.t.Helper()
	command := exec.CommandContext(b.t.Context(), "bash", "../examples/cinema/day.sh")
	command.Env = append(command.Environ(), "BELFRY="+binary, "BELFRY_SERVER="+b.url, "BELFRY_AMQP_URL="+b.variables["BELFRY_AMQP_URL"],
		fmt.Sprint("FANS=", fans), fmt.Sprint("PATIENCE=", int((3*patience)/time.Second)))
	out, err := command.CombinedOutput()
	require.NoError(b.t, err, "%s", out)
	require.NotContains(b.t, string(out), "DATA RACE")
	return string(out)
}

// isUrgent says whether a notification's workflow was started with high priority.
func (b *belfry) isUrgent(id string) bool {
	b.t.Helper()
	c := dialTemporal(b.t, b.variables["TEMPORAL_NAMESPACE"])
	events := c.GetWorkflowHistory(b.t.Context(), "notification/"+id, "", false, 0)
	first, err := events.Next()
	require.NoError(b.t, err)
	var input struct {
		Priority notify.Priority `json:"priority"`
	}
	require.NoError(b.t, json.Unmarshal(first.GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads()[0].GetData(), &input))
	return input.Priority == notify.PriorityHigh
}
