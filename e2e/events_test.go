package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
)

const (
	exchange  = "belfry.events"
	queue     = "belfry.intake"
	deadQueue = "belfry.intake.dead"
)

// newEventful prepares a Belfry with events from a virtual host of its own.
func newEventful(t *testing.T, server *mailServer) *belfry {
	t.Helper()
	return newBelfry(t).with("BELFRY_SMTP_URL", server.url()).with("BELFRY_AMQP_URL", amqptest.NewURL(t))
}

// starter runs one and waits until it is connected.
func (b *belfry) starter() *process {
	b.t.Helper()
	p := b.run("starter")
	b.eventually("the starter is connected", func() bool { return strings.Contains(p.log.String(), "connected to RabbitMQ") })
	return p
}

// A producer that is not Go has a mail sent in each encoding.
func TestEventsFromPython(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newEventful(t, server)
	p := b.run("all")
	b.ready()
	b.eventually("connected", func() bool { return strings.Contains(p.log.String(), "connected to RabbitMQ") })
	domain := newDomain()
	out, err := exec.CommandContext(t.Context(), pythonWith(t, "pika"), "testdata/producer.py", b.variables["BELFRY_AMQP_URL"], domain).CombinedOutput()
	require.NoError(t, err, "%s", out)
	b.eventually("four mails", func() bool { return len(server.mails()) == 4 })
	for _, name := range []string{"structured", "underscore", "colon", "plain"} {
		mails := server.mails()[name+"@"+domain]
		require.Len(t, mails, 1, name)
		require.Contains(t, mails[0].body, "=D0=A1=D1=82=D0=B0=D0=BB=D0=BA=D0=B5=D1=80", "the film, quoted-printable")
	}
}

// pythonWith is one that has a module: Debian's own, which need not be the first
// on PATH.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(candidate, "-c", "import "+module).Run() == nil {
			return candidate
		}
	}
	require.Fail(t, "no Python with "+module+": run dev/rabbitmq.sh, which says how to get it")
	return ""
}

// The connection to RabbitMQ breaks under a stream, the producer's and Belfry's.
func TestEventsOverConnectionsThatBreak(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newEventful(t, server)
	proxy := b.before("BELFRY_AMQP_URL")
	b.run("api")
	b.run("worker")
	b.ready()
	b.starter()
	s := emit(t, b.variables["BELFRY_AMQP_URL"], newDomain(), chaos(t, "CHAOS_EVENTS", 300))
	for percent := 20; percent < 100; percent += 20 {
		s.reached(percent)
		proxy.cut()
		proxy.restore()
	}
	b.requireEachOnce(server, s)
}

// The server itself is stopped, then killed, and each time started again with
// what it had on disk.
func TestEventsOverARabbitMQThatIsStopped(t *testing.T) {
	t.Parallel()
	busyLane.enter(t)
	rabbitmq := newBroker(t)
	rabbitmq.up()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url()).with("BELFRY_AMQP_URL", rabbitmq.url)
	b.run("api")
	b.run("worker")
	b.ready()
	b.starter()
	s := emit(t, rabbitmq.url, newDomain(), chaos(t, "CHAOS_EVENTS", 300))
	s.reached(30)
	rabbitmq.stop()
	require.NoError(t, rabbitmq.err)
	rabbitmq.up()
	s.reached(60)
	<-time.After(time.Second) // half a second after its start, RabbitMQ 3.10 may forget which quorum queues it has
	rabbitmq.killAll()
	rabbitmq.up()
	b.requireEachOnce(server, s)
}

// One of two starters is killed again and again.
func TestStartersKilledUnderAStream(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newEventful(t, server)
	b.run("api")
	b.run("worker")
	b.ready()
	first, second := b.starter(), b.starter()
	kills := chaos(t, "CHAOS_KILLS", 2)
	s := emit(t, b.variables["BELFRY_AMQP_URL"], newDomain(), chaos(t, "CHAOS_EVENTS", 300))
	for kill := range kills {
		s.reached(100 * (kill + 1) / (kills + 2))
		<-time.After(time.Duration(rand.IntN(50)) * time.Millisecond)
		first.kill()
		first = b.starter()
	}
	b.requireEachOnce(server, s)
	second.stop()
	require.NotContains(t, second.log.String(), "handled=0", "both work")
	client := amqptest.NewClient(t, b.variables["BELFRY_AMQP_URL"])
	require.Zero(t, client.Length(deadQueue))
}

// What nothing can be made of is a dead letter that says why, and the others
// come through.
func TestMalformedEventsAmongGoodOnes(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newEventful(t, server)
	b.run("api")
	b.run("worker")
	b.ready()
	starter := b.starter()
	n := chaos(t, "CHAOS_MALFORMED", 200)
	client := amqptest.NewClient(t, b.variables["BELFRY_AMQP_URL"])
	s := emit(t, b.variables["BELFRY_AMQP_URL"], newDomain(), n)
	kinds := malformed(t)
	for i := range n {
		message := kinds[i%len(kinds)].message
		headers := amqp.Table{"number": int32(i)}
		for name, value := range message.Headers {
			headers[name] = value
		}
		message.Headers = headers
		client.Publish(exchange, "any", message)
	}
	b.requireEachOnce(server, s)
	b.eventually("all dead letters", func() bool { return client.Length(deadQueue) == n })
	require.Zero(t, client.Length(queue))
	seen := map[int32]bool{}
	for _, d := range client.Take(deadQueue) {
		number, ok := d.Headers["number"].(int32)
		require.True(t, ok)
		require.False(t, seen[number])
		seen[number] = true
		require.Contains(t, d.Headers["belfry-reason"], kinds[int(number)%len(kinds)].reason)
	}
	require.Equal(t, 1, strings.Count(starter.log.String(), "connected to RabbitMQ"), "it had to connect again")
	starter.stop()
	require.NoError(t, starter.err)
	require.Contains(t, starter.log.String(), fmt.Sprintf("handled=%d dead_lettered=%d requeued=0", n, n))
}

type malformedEvent struct {
	message amqp.Publishing
	reason  string // holds this
}

func malformed(t *testing.T) []malformedEvent {
	t.Helper()
	const structured = "application/cloudevents+json"
	ask := func(change func(r map[string]any)) amqp.Publishing {
		request := map[string]any{"template": "welcome", "to": to("u%d", "example.com", 1), "data": map[string]any{"film": "x"}}
		change(request)
		message := sendEvent("malformed", "")
		var err error
		message.Body, err = json.Marshal(request)
		require.NoError(t, err)
		return message
	}
	body := func(contentType, text string) amqp.Publishing {
		return amqp.Publishing{ContentType: contentType, Body: []byte(text)}
	}
	of := func(text string) amqp.Publishing {
		return amqp.Publishing{Type: "belfry.notification.send", MessageId: "malformed", AppId: "e2e", Body: []byte(text)}
	}
	anonymous, compressed := sendEvent("", "a@example.com"), sendEvent("1", "a@example.com")
	compressed.ContentEncoding = "gzip"
	return []malformedEvent{
		{amqp.Publishing{}, "message_id: is missing"},
		{anonymous, "message_id: is missing"},
		{compressed, "content_encoding"},
		{body("", "\x00\xff"), "type: is missing"},
		{body(structured, ""), "body: not JSON"},
		{body(structured, "{"), "body: not JSON"},
		{body(structured, "[]"), "must be a JSON object"},
		{body(structured, `{"specversion":"0.3","id":"1","source":"s","type":"t"}`), "specversion"},
		{body(structured, `{"specversion":"1.0","id":"1","id":"2","source":"s","type":"t"}`), "repeated key"},
		{body(structured, `{"specversion":"1.0","source":"s","type":"belfry.notification.send","data":{}}`), "id: is missing"},
		{body(structured, `{"specversion":"1.0","id":"1","source":"s","type":"t","data":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`), "nested deeper"},
		{body("application/cloudevents-batch+json", "[]"), "content_type"},
		{amqp.Publishing{Headers: amqp.Table{"cloudEvents_id": int64(1), "cloudEvents_type": "t"}}, "id: must be a string"},
		{amqp.Publishing{Headers: amqp.Table{"cloudEvents_specversion": "1.0", "cloudEvents_id": "1", "cloudEvents:id": "2"}}, "twice"},
		{amqp.Publishing{Body: bytes.Repeat([]byte(" "), 1<<20+1)}, "at most 1048576"},
		{of(""), "the event has no data"},
		{of("17"), "expected object"},
		{of("{"), "not JSON"},
		{ask(func(r map[string]any) { r["template"] = "nothere" }), `nothere`},
		{ask(func(r map[string]any) { r["template"] = "welcome@7" }), `welcome`},
		{ask(func(r map[string]any) { r["subject"] = "x" }), "body.subject"},
		{ask(func(r map[string]any) { r["to"] = to("u%d", "example.com", 1001) }), "body.to"},
		{ask(func(r map[string]any) { r["to"] = []any{map[string]any{"email": "nobody"}} }), "body.to[0].email"},
		{ask(func(r map[string]any) {
			r["audience"] = map[string]any{"id": "4518e644-1ff3-4003-a14e-99dfe3fdd7ab"}
			delete(r, "to")
		}), "body.audience.id"},
		{ask(func(r map[string]any) { r["data"] = map[string]any{"x": strings.Repeat("x", 70_000)} }), "body.data"},
		{ask(func(r map[string]any) { r["expires_at"] = "2020-01-01T00:00:00Z" }), "body.expires_at"},
		{ask(func(r map[string]any) { r["provider"] = "pigeon" }), "body.provider"},
	}
}

// While Temporal or MongoDB is away, events wait in RabbitMQ and none is a dead
// letter; they go on by themselves.
func TestEventsWhileANeighbourIsAway(t *testing.T) {
	t.Parallel()
	for neighbour, variable := range map[string]string{"temporal": "TEMPORAL_ADDRESS", "mongo": "BELFRY_MONGO_URI"} {
		t.Run(neighbour, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t)
			b := newEventful(t, server)
			b.run("api")
			b.run("worker")
			b.ready()
			proxy := b.before(variable)
			starter := b.starter()
			client := amqptest.NewClient(t, b.variables["BELFRY_AMQP_URL"])
			s := emit(t, b.variables["BELFRY_AMQP_URL"], newDomain(), 200)
			s.reached(30)
			proxy.cut()
			b.eventually("the starter waits", func() bool { return strings.Contains(starter.log.String(), "events wait") })
			s.reached(100)
			b.eventually("the starter holds none", func() bool { return len(server.mails())+client.Length(queue) >= s.n }) // more: a start whose answer was lost
			<-time.After(time.Duration(chaos(t, "CHAOS_AWAY", 2)) * time.Second)
			require.Zero(t, client.Length(deadQueue))
			require.Less(t, len(server.mails()), s.n)
			proxy.restore()
			b.requireEachOnce(server, s)
			require.Zero(t, client.Length(deadQueue))
		})
	}
}
