package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What comes due while everything is killed is made up for, once each, within
// the schedule's catch-up window and not beyond.
func TestMissedRunsAreMadeUpForOnceEach(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	s := newStack(t, server.url())
	s.up()
	s.eventually("it has the welcome template", func() bool { return s.status(http.MethodGet, "/v1/templates/welcome", nil) == http.StatusOK })
	domain, start := newDomain(), time.Now().Add(8*time.Second).UTC().Truncate(time.Second)
	s.schedule(recurring("minutely", domain, map[string]any{"every": "1m", "start_at": start}))
	s.schedule(recurring("narrow", domain, map[string]any{"every": "1h", "start_at": start.Add(20 * time.Second), "catchup_window": "1m"}))
	first := s.runs("minutely", 1).RecentRuns[0]
	require.Equal(t, start, first.ScheduledAt)
	s.waitLong(first.NotificationID)

	s.killAll()
	minutes := chaos(t, "CHAOS_MINUTES", 1)
	<-time.After(time.Until(start.Add(time.Duration(minutes)*time.Minute + 30*time.Second)))
	s.up()

	var shown timetable
	s.eventually("the missed runs are made", func() bool {
		shown = s.timetable("minutely")
		return len(shown.RecentRuns) > minutes
	})
	s.eventually("no more of them", func() bool { return s.status(http.MethodPost, "/v1/schedules/minutely/pause", nil) == http.StatusOK })
	expected := map[string]string{}
	for i, run := range shown.RecentRuns {
		require.Equal(t, start.Add(time.Duration(len(shown.RecentRuns)-1-i)*time.Minute), run.ScheduledAt)
		require.Equal(t, notify.Counts{Total: 1, Sent: 1}, s.waitLong(run.NotificationID).Counts)
		d := s.deliveries(run.NotificationID)[0]
		require.False(t, d.Resent)
		expected["<"+d.ID+"@example.org>"] = run.NotificationID
	}
	for _, m := range server.mails()["u0@"+domain] {
		require.Contains(t, expected, m.messageID, "once each")
		delete(expected, m.messageID)
	}
	require.Empty(t, expected, "without mail")
	require.Empty(t, s.timetable("narrow").RecentRuns)
	s.stop()
	require.NoError(t, s.err)
}
