package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/event"
)

// listening is a program that wants to know all outcomes. It connects to
// RabbitMQ itself, whatever is between that and Belfry.
type listening struct {
	mu   sync.Mutex
	came map[string]int // by id
	last map[string]*event.Event
}

func listenTo(t *testing.T, url string) *listening {
	t.Helper()
	l := &listening{came: map[string]int{}, last: map[string]*event.Event{}}
	channel := amqptest.NewClient(t, url).Channel()
	require.NoError(t, channel.ExchangeDeclare("belfry.outcomes", amqp.ExchangeTopic, true, false, false, false, nil))
	_, err := channel.QueueDeclare("outcomes", true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	require.NoError(t, err)
	require.NoError(t, channel.QueueBind("outcomes", "#", "belfry.outcomes", false, nil))
	messages, err := channel.Consume("outcomes", "", true, false, false, false, nil)
	require.NoError(t, err)
	go func() {
		for m := range messages {
			e, err := event.Decode(&m)
			if err != nil || m.RoutingKey != e.Type {
				t.Errorf("not an outcome: %v %s", err, m.Body)
				continue
			}
			l.mu.Lock()
			l.came[e.ID]++
			l.last[e.ID] = e
			l.mu.Unlock()
		}
	}()
	return l
}

// about are the outcomes about deliveries and notifications, by their subjects.
func (l *listening) about() map[string]*event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	about := map[string]*event.Event{}
	for _, e := range l.last {
		about[e.Subject] = e
	}
	return about
}

// again is how many came more than once.
func (l *listening) again() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.came {
		n += times - 1
	}
	return n
}

// requireOutcomes waits until all is told about a notification, as GET shows it.
// It gives how much earlier the end is that was told: a worker that dies over it
// has told of an earlier one.
func (b *belfry) requireOutcomes(l *listening, id string, deliveries int) (earlier time.Duration) {
	b.t.Helper()
	b.waitWithin(id, 5*patience)
	b.eventually("the end is told", func() bool { return l.about()[id] != nil })
	ended := b.deliveries(id)
	require.Len(b.t, ended, deliveries)
	b.eventually("every delivery is told", func() bool {
		about := l.about()
		return !slices.ContainsFunc(ended, func(d delivery) bool { return about[d.ID] == nil })
	})
	about := l.about()
	for _, d := range ended {
		e := about[d.ID]
		require.Equal(b.t, "belfry.delivery."+string(d.State), e.Type)
		want, err := json.Marshal(d.Delivery)
		require.NoError(b.t, err)
		require.JSONEq(b.t, string(want), string(e.Data))
	}
	var shown, told map[string]any
	b.do(http.MethodGet, "/v1/notifications/"+id, http.StatusOK, nil, &shown)
	require.NoError(b.t, json.Unmarshal(about[id].Data, &told))
	earlier = instant(b.t, shown["finished_at"]).Sub(instant(b.t, told["finished_at"]))
	require.GreaterOrEqual(b.t, earlier, time.Duration(0))
	told["finished_at"] = shown["finished_at"]
	require.Equal(b.t, shown, told)
	return earlier
}

func instant(t *testing.T, text any) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, fmt.Sprint(text))
	require.NoError(t, err)
	return at
}

// Every way in which a delivery can end is told, and how the whole ended: once,
// while nothing goes wrong.
func TestOutcomesOfEveryKind(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newEventful(t, server)
	b.run("all")
	b.ready()
	l := listenTo(t, b.variables["BELFRY_AMQP_URL"])
	server.refuse(func(to string) error {
		if strings.HasPrefix(to, "no@") {
			return errNoMailbox
		}
		return nil
	})
	id := b.send(map[string]any{"template": "welcome", "data": map[string]any{"film": "Solaris"}, "metadata": map[string]any{"order": "17"}, "to": []any{
		map[string]any{"email": "ann@example.com"}, map[string]any{"email": "no@example.com"}, map[string]any{"user_id": "nobody"},
	}})
	waits := b.send(map[string]any{"template": "welcome", "data": map[string]any{"film": "Solaris"}, "to": to("u%d", "example.com", 3), "delay": "1h"})
	b.do(http.MethodPost, "/v1/notifications/"+waits+"/cancel", http.StatusOK, nil, nil)
	fails := b.send(map[string]any{"template": "welcome", "data": map[string]any{}, "to": to("u%d", "example.com", 2)})
	many := b.broadcast(120, nil)
	require.Zero(t, b.requireOutcomes(l, id, 3))
	require.Zero(t, b.requireOutcomes(l, waits, 3))
	require.Zero(t, b.requireOutcomes(l, fails, 2))
	require.Zero(t, b.requireOutcomes(l, many, 120))
	about := l.about()
	require.Equal(t, []string{"belfry.notification.done", "belfry.notification.cancelled", "belfry.notification.failed", "belfry.notification.done"},
		[]string{about[id].Type, about[waits].Type, about[fails].Type, about[many].Type})
	kinds := map[string]int{}
	for _, e := range about {
		kinds[e.Type]++
	}
	require.Equal(t, map[string]int{
		"belfry.delivery.sent": 121, "belfry.delivery.failed": 4, "belfry.delivery.skipped": 3,
		"belfry.notification.done": 2, "belfry.notification.cancelled": 1, "belfry.notification.failed": 1,
	}, kinds)
	require.Zero(t, l.again())

	// Tried again by hand it ends anew, and so does the whole.
	server.refuse(nil)
	var failed []string
	for subject, e := range about {
		if e.Type == "belfry.delivery.failed" && strings.Contains(string(e.Data), "no@example.com") {
			failed = append(failed, subject)
		}
	}
	require.Len(t, failed, 1)
	b.do(http.MethodPost, "/v1/deliveries/"+failed[0]+"/retry", http.StatusAccepted, nil, nil)
	b.eventually("told that it was sent", func() bool { return l.said(failed[0], "sent") })
}

// said says whether an outcome of a subject was told.
func (l *listening) said(subject, state string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.last {
		if e.Subject == subject && strings.HasSuffix(e.Type, "."+state) {
			return true
		}
	}
	return false
}

// RabbitMQ is away and a worker is killed, in turn, while notifications to few
// and to many go out: neither holds anything up, and all is told in the end.
func TestOutcomesWhileRabbitMQIsAwayAndWorkersDie(t *testing.T) {
	t.Parallel()
	idleLane.enter(t)
	server := newMailServer(t)
	b := newEventful(t, server)
	l := listenTo(t, b.variables["BELFRY_AMQP_URL"])
	proxy := b.before("BELFRY_AMQP_URL")
	b.run("api")
	worker := b.run("worker")
	b.ready()
	b.eventually("outcomes are published", func() bool { return strings.Contains(worker.log.String(), "outcomes are published") })

	n := chaos(t, "CHAOS_EVENTS", 600)
	server.slow(5 * time.Millisecond)
	many := b.broadcast(n, nil)
	few := map[string]int{}
	send := func() {
		for i := range 20 {
			few[b.send(map[string]any{"template": "welcome", "data": map[string]any{"film": "Solaris"}, "to": to(fmt.Sprintf("few%d-%d-%%d", len(few), i), "example.com", 2)})] = 2
		}
	}
	send()
	b.moment("some have mail", func() bool { return server.came() > n/5 })
	worker.kill()
	worker = b.run("worker")
	send()
	proxy.cut()
	send()
	b.moment("more have mail while RabbitMQ is away", func() bool { return server.came() > n/2 })
	worker.kill()
	worker = b.run("worker")
	send()
	b.waitWithin(many, 5*patience)
	proxy.restore()
	b.requireOutcomes(l, many, n)
	for id, deliveries := range few {
		b.requireOutcomes(l, id, deliveries)
	}
	t.Logf("%d outcomes came more than once", l.again())
	worker.stop()
	require.NoError(t, worker.err)
}
