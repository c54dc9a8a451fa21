package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/belfry-notify/belfry/internal/notify"
)

// later is a request for a notification that waits.
func later(at time.Time, to ...string) map[string]any {
	recipients := make([]map[string]any, len(to))
	for i, address := range to {
		recipients[i] = map[string]any{"email": address}
	}
	return map[string]any{"template": "welcome", "to": recipients, "data": map[string]any{"film": "Stalker"}, "send_at": at}
}

// refusal is what a request that came too late is answered.
type refusal struct {
	Code   string        `json:"code"`
	Counts notify.Counts `json:"counts"`
}

// parallel calls a function n times, twenty at a time.
func parallel(n int, call func(i int)) {
	slots := make(chan struct{}, 20)
	var group sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			call(i)
		})
	}
	group.Wait()
}

// cancel asks for a cancel until it is answered: on a busy machine that may
// take longer than the API waits, and asking again gives the same answer. What
// is in doubt, since its workflow task took too long, is so for a minute.
func (b *belfry) cancel(id string) (status int, n standing) {
	eventually(b.t, func() bool {
		response, text, err := b.request(http.MethodPost, "/v1/notifications/"+id+"/cancel", nil, nil)
		if err != nil || response.StatusCode == http.StatusServiceUnavailable {
			return false
		}
		status = response.StatusCode
		return status != http.StatusOK || json.Unmarshal(text, &n) == nil
	}, 3*patience, 500*time.Millisecond)
	return status, n
}

// move reschedules until it is answered, as cancel does.
func (b *belfry) move(id string, at time.Time) {
	eventually(b.t, func() bool {
		return b.status(http.MethodPost, "/v1/notifications/"+id+"/reschedule", map[string]any{"send_at": at}) == http.StatusOK
	}, patience, 500*time.Millisecond)
}

func TestManyDelayedToTheSameSecondAndHalfOfThemCancelled(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	many := chaos(t, "CHAOS_DELAYED", 200)
	ids := make([]string, many)
	began := time.Now()
	parallel(many, func(i int) { ids[i] = b.send(later(began.Add(time.Hour), fmt.Sprintf("u%d@example.com", i))) })
	parallel(many/2, func(i int) {
		status, n := b.cancel(ids[2*i])
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, notify.Counts{Total: 1, Skipped: 1}, n.Counts)
		assert.Equal(t, notify.StatusCancelled, n.Status)
	})
	require.Empty(t, server.mails())
	at := time.Now().Add(time.Since(began) + 5*time.Second).UTC().Truncate(time.Second) // all can be moved by then
	parallel(many/2, func(i int) { b.move(ids[2*i+1], at) })
	for i, id := range ids {
		n := b.waitLong(id)
		if i%2 == 0 {
			require.Equal(t, notify.StatusCancelled, n.Status)
			continue
		}
		require.Equal(t, notify.StatusDone, n.Status)
		require.WithinRange(t, *n.FinishedAt, at, at.Add(3*patience))
	}
	taken := server.mails()
	require.Len(t, taken, many/2)
	for address, mails := range taken {
		require.Len(t, mails, 1, address)
	}
}

func TestAWaitingNotificationIsMovedPausedAndResumed(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	id := b.send(later(tomorrow, "ann@example.com"))
	path := "/v1/notifications/" + id
	var n struct {
		standing
		SendAt    time.Time `json:"send_at"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	b.do(http.MethodGet, path, http.StatusOK, nil, &n)
	require.Equal(t, notify.StatusScheduled, n.Status)
	require.Equal(t, tomorrow, n.SendAt)
	require.Equal(t, tomorrow.Add(24*time.Hour), n.ExpiresAt)
	require.Equal(t, notify.Counts{Total: 1, Queued: 1}, n.Counts)
	timers := func() []string {
		var found []string
		for _, event := range historyOf(t, b, id) {
			if event.GetEventType() == enums.EVENT_TYPE_TIMER_STARTED {
				found = append(found, string(event.GetUserMetadata().GetSummary().GetData()))
			}
		}
		return found
	}
	b.eventually("its timer says until when it waits", func() bool { return len(timers()) > 0 })
	require.Contains(t, timers()[0], "waits until "+tomorrow.Format(time.RFC3339))

	sooner := tomorrow.Add(-time.Hour)
	b.do(http.MethodPost, path+"/reschedule", http.StatusOK, map[string]any{"send_at": sooner}, &n)
	require.Equal(t, sooner, n.SendAt)
	require.Equal(t, sooner.Add(24*time.Hour), n.ExpiresAt, "the default expiry moves along")
	b.do(http.MethodPost, path+"/pause", http.StatusOK, nil, &n)
	require.Equal(t, notify.StatusPaused, n.Status)
	b.do(http.MethodPost, path+"/pause", http.StatusOK, nil, &n)
	b.do(http.MethodPost, path+"/reschedule", http.StatusOK, map[string]any{"send_at": time.Now().Add(-time.Hour)}, &n)
	require.Equal(t, notify.StatusPaused, n.Status)
	require.Never(t, func() bool { return len(server.mails()) > 0 }, time.Second, 50*time.Millisecond, "it is due, and paused")
	b.do(http.MethodPost, path+"/resume", http.StatusOK, nil, nil)
	require.Equal(t, notify.StatusDone, b.wait(id).Status)
	require.Len(t, server.mails()["ann@example.com"], 1)

	for _, what := range []string{"cancel", "pause", "resume", "reschedule"} {
		var body any
		if what == "reschedule" {
			body = map[string]any{"send_at": tomorrow}
		}
		for range 2 { // again: the same answer
			var late refusal
			b.do(http.MethodPost, path+"/"+what, http.StatusConflict, body, &late)
			require.Equal(t, refusal{Code: "too_late", Counts: notify.Counts{Total: 1, Sent: 1}}, late)
		}
	}
}

func TestAnExpiryThatWasAskedForStaysWhenItIsMoved(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	request := later(soon, "ann@"+newDomain())
	request["expires_at"] = soon.Add(time.Hour)
	path := "/v1/notifications/" + b.send(request)
	var refused struct {
		Errors []notify.FieldError `json:"errors"`
	}
	b.do(http.MethodPost, path+"/reschedule", http.StatusUnprocessableEntity, map[string]any{"send_at": soon.Add(time.Hour)}, &refused)
	require.Len(t, refused.Errors, 1)
	require.Equal(t, "body.send_at", refused.Errors[0].Location)
	require.Contains(t, refused.Errors[0].Message, soon.Add(time.Hour).Format(time.RFC3339))
	b.do(http.MethodPost, path+"/reschedule", http.StatusOK, map[string]any{"send_at": soon.Add(59 * time.Minute)}, nil)
	b.do(http.MethodPost, path+"/cancel", http.StatusOK, nil, nil)
	b.do(http.MethodPost, path+"/cancel", http.StatusOK, nil, nil)
}

func TestCancelsThatRaceSends(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	server.slow(20 * time.Millisecond)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	const races = 50
	at := time.Now().Add(4 * time.Second).UTC()
	ids := make([]string, races)
	parallel(races, func(i int) { ids[i] = b.send(later(at, fmt.Sprintf("u%d@example.com", i))) })
	<-time.After(time.Until(at.Add(-50 * time.Millisecond)))
	stopped := make([]bool, races)
	var wins atomic.Int64
	parallel(races, func(i int) {
		status, _ := b.cancel(ids[i])
		assert.Contains(t, []int{http.StatusOK, http.StatusConflict}, status)
		if stopped[i] = status == http.StatusOK; stopped[i] {
			wins.Add(1)
		}
	})
	for i, id := range ids {
		b.waitLong(id)
		mails := server.mails()[fmt.Sprintf("u%d@example.com", i)]
		if stopped[i] {
			require.Empty(t, mails, "a cancel was answered with 200")
		} else {
			require.Len(t, mails, 1, "a cancel was answered with 409")
		}
	}
	t.Logf("%d of %d cancels won", wins.Load(), races)
}

func TestAPageIsPausedResumedAndCancelled(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	server.slow(100 * time.Millisecond)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	begin := func(domain string) (path string, taken func() int) {
		id := b.send(map[string]any{"template": "welcome", "to": to("u%d", domain, 400), "data": map[string]any{"film": "x"}})
		taken = func() int {
			n := 0
			for address := range server.mails() {
				if strings.HasSuffix(address, domain) {
					n++
				}
			}
			return n
		}
		b.moment("it is under way", func() bool { return taken() > 20 })
		return "/v1/notifications/" + id, taken
	}
	t.Run("paused and resumed", func(t *testing.T) {
		path, taken := begin("paused.example")
		var n standing
		b.do(http.MethodPost, path+"/pause", http.StatusOK, nil, &n)
		require.Equal(t, notify.StatusPaused, n.Status)
		<-time.After(2 * time.Second)
		then := taken()
		require.Less(t, then, 300)
		require.Never(t, func() bool { return taken() > then }, 2*time.Second, 100*time.Millisecond, "it has stopped within 2 s")
		b.do(http.MethodPost, path+"/resume", http.StatusOK, nil, &n)
		require.Equal(t, notify.StatusSending, n.Status)
		require.Equal(t, notify.Counts{Total: 400, Sent: 400}, b.wait(n.ID).Counts)
		require.Equal(t, 400, taken())
	})
	t.Run("cancelled", func(t *testing.T) {
		path, taken := begin("cancelled.example")
		status, n := b.cancel(strings.TrimPrefix(path, "/v1/notifications/"))
		require.Equal(t, http.StatusOK, status)
		n = b.wait(n.ID)
		require.Equal(t, notify.StatusCancelled, n.Status)
		require.Equal(t, taken(), n.Counts.Sent)
		require.Equal(t, 400, n.Counts.Sent+n.Counts.Skipped)
		require.Greater(t, n.Counts.Skipped, 100)
		for _, d := range b.deliveries(n.ID) {
			require.Equal(t, d.State == notify.StateSkipped, d.Reason == notify.ReasonCancelled)
			require.False(t, d.Resent)
		}
		var again standing
		b.do(http.MethodPost, path+"/cancel", http.StatusOK, nil, &again)
		require.Equal(t, n, again)
	})
	for address, mails := range server.mails() {
		require.Len(t, mails, 1, address)
	}
}

func TestADeliveryThatBacksOffIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	server.refuse(func(string) error { return &smtp.SMTPError{Code: 451, Message: "later"} })
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	id := b.send(map[string]any{"template": "welcome", "to": to("u%d", "example.com", 2), "data": map[string]any{"film": "x"}})
	b.eventually("it was tried", func() bool {
		var queued list[delivery]
		b.do(http.MethodGet, "/v1/notifications/"+id+"/deliveries?state=queued", http.StatusOK, nil, &queued)
		if len(queued.Items) < 2 {
			return false
		}
		var one delivery
		return b.status(http.MethodGet, "/v1/deliveries/"+queued.Items[0].ID, nil) == http.StatusOK &&
			b.do(http.MethodGet, "/v1/deliveries/"+queued.Items[0].ID, http.StatusOK, nil, &one) != nil && len(one.Attempts) > 1
	})
	var n standing
	b.do(http.MethodPost, "/v1/notifications/"+id+"/cancel", http.StatusOK, nil, &n)
	require.Equal(t, notify.StatusCancelled, b.wait(id).Status)
	require.Equal(t, notify.Counts{Total: 2, Skipped: 2}, b.wait(id).Counts)
}

func TestTheWholeStackKilledWhileNotificationsWait(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	s := newStack(t, server.url())
	s.up()
	at := time.Now().Add(8 * time.Second).UTC()
	ids := make([]string, 100)
	parallel(len(ids), func(i int) {
		request := later(at, fmt.Sprintf("u%d@example.com", i))
		request["template"] = nil
		delete(request, "template")
		request["content"] = map[string]any{"email": map[string]any{"subject": "s", "html": "<p>h</p>"}}
		ids[i] = s.send(request)
	})
	s.killAll()
	<-time.After(time.Until(at))
	require.Empty(t, server.mails())
	s.up()
	for _, id := range ids {
		require.Equal(t, notify.StatusDone, s.belfry.wait(id).Status)
	}
	require.Len(t, server.mails(), len(ids))
	for address, mails := range server.mails() {
		require.Len(t, mails, 1, address)
	}
}

func TestCLICancelsAndMoves(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	c := commandLine{t, b}
	out := c.do("send", "--template", "welcome", "--to", "ann@"+newDomain(), "--data", `{"film":"x"}`, "--delay", "2h", "-o", "json")
	var n standing
	require.NoError(t, json.Unmarshal([]byte(out), &n))
	require.Equal(t, notify.StatusScheduled, n.Status)
	require.Contains(t, c.do("reschedule", n.ID, "--send-at", "2027-06-01T09:00:00+02:00"), "2027-06-01T07:00:00Z")
	require.Contains(t, c.do("pause", n.ID), "paused")
	require.Contains(t, c.do("resume", n.ID), "scheduled")
	require.Contains(t, c.do("cancel", n.ID), "1 skipped")
	require.Contains(t, c.do("cancel", n.ID), "cancelled")
	_, complaint, code := c.run("reschedule", n.ID, "--delay", "1h")
	require.Equal(t, 1, code)
	require.Contains(t, complaint, "too late")
}
