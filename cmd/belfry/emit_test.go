package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/event"
)

// newEvents is a RabbitMQ with an exchange and, bound to it, a queue.
func newEvents(t *testing.T) (url string, client *amqptest.Client) {
	t.Helper()
	url = amqptest.NewURL(t)
	client = amqptest.NewClient(t, url)
	require.NoError(t, client.Channel().ExchangeDeclare("belfry.events", amqp.ExchangeTopic, true, false, false, false, nil))
	_, err := client.Channel().QueueDeclare("taken", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, client.Channel().QueueBind("taken", "film.#", "belfry.events", false, nil))
	return url, client
}

func TestEmit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "film.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"film":"<Solaris>"}`), 0o600))
	for name, test := range map[string]struct {
		args  []string
		input string
		want  event.Event
	}{
		"structured": {[]string{"--data", `{"year":1972}`, "--id", "1", "--subject", "tarkovsky/solaris", "--source", "/films"}, "",
			event.Event{ID: "1", Source: "/films", Subject: "tarkovsky/solaris", Data: json.RawMessage(`{"year":1972}`)}},
		"binary, from a file": {[]string{"--data", "@" + file, "--id", "ü", "--encoding", "binary", "--subject", "s"}, "",
			event.Event{ID: "ü", Source: "belfry-emit", Subject: "s", Data: json.RawMessage(`{"film":"<Solaris>"}`)}},
		"plain, from standard input": {[]string{"--data", "-", "--id", "2", "--encoding", "plain"}, "12345678901234567890",
			event.Event{ID: "2", Source: "belfry-emit", Data: json.RawMessage(`12345678901234567890`)}},
		"without data": {[]string{"--id", "3"}, "", event.Event{ID: "3", Source: "belfry-emit", Data: json.RawMessage(`{}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, client := newEvents(t)
			before := time.Now().Add(-time.Second)
			got := caller{input: test.input}.run(t.Context(), append([]string{"emit", "--amqp", url, "--type", "film.released"}, test.args...)...)
			require.Equal(t, ran{out: test.want.ID + "\n"}, got)
			taken := client.Take("taken")
			require.Len(t, taken, 1)
			require.Equal(t, "film.released", taken[0].RoutingKey)
			require.Equal(t, amqp.Persistent, taken[0].DeliveryMode)
			e, err := event.Decode(&taken[0])
			require.NoError(t, err)
			require.WithinRange(t, e.Time, before, time.Now())
			test.want.Type, test.want.Time = "film.released", e.Time
			require.Equal(t, &test.want, e)
		})
	}
}

func TestEmitGivesAnEventAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	url, client := newEvents(t)
	ids := map[string]bool{}
	for range 2 {
		got := caller{}.run(t.Context(), "emit", "--amqp", url, "--type", "film.seen")
		require.Zero(t, got.code, got.err)
		ids[strings.TrimSpace(got.out)] = true
	}
	for _, d := range client.Take("taken") {
		e, err := event.Decode(&d)
		require.NoError(t, err)
		require.Contains(t, ids, e.ID)
		delete(ids, e.ID)
	}
	require.Empty(t, ids)
}

// Many events share a connection, and each id is printed in its turn.
func TestEmitLines(t *testing.T) {
	t.Parallel()
	const n = 3*unconfirmed + 7
	for _, encoding := range []string{"structured", "binary", "plain"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			url, client := newEvents(t)
			var input, ids strings.Builder
			for i := range n {
				_, _ = fmt.Fprintf(&input, "{\"id\":\"%d\",\"data\":{\"n\":%d},\"time\":\"2026-01-02T03:04:05Z\"}\n\n", i, i)
				_, _ = fmt.Fprintln(&ids, i)
			}
			input.WriteString(`{"id":"last","type":"film.seen","source":"elsewhere"}`) // without an end of line
			ids.WriteString("last\n")
			got := caller{input: input.String()}.run(t.Context(), "emit", "--amqp", url, "--lines", "--type", "film.released", "--encoding", encoding)
			require.Equal(t, ran{out: ids.String()}, got)
			taken := client.Take("taken")
			require.Len(t, taken, n+1)
			for i, d := range taken[:n] {
				e, err := event.Decode(&d)
				require.NoError(t, err)
				require.Equal(t, &event.Event{
					ID: fmt.Sprint(i), Source: "belfry-emit", Type: "film.released", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
					Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)),
				}, e)
			}
			last, err := event.Decode(&taken[n])
			require.NoError(t, err)
			require.Equal(t, "elsewhere film.seen", last.Source+" "+last.Type)
		})
	}
}

// What comes before a line that is wrong is published and said to be.
func TestEmitStopsAtALineThatIsWrong(t *testing.T) {
	t.Parallel()
	const good = `{"id":"1","type":"film.seen"}`
	for name, test := range map[string]struct{ line, says string }{
		"no JSON":        {"film", "line 2: not JSON"},
		"no object":      {"[]", "line 2: not a JSON object"},
		"a key twice":    {`{"id":"2","id":"3"}`, "line 2: repeated key at /id"},
		"no type":        {`{"id":"2"}`, "line 2: not an event"},
		"no attribute":   {`{"Id":"2","type":"film.seen"}`, `line 2: "Id" is not the name of an attribute`},
		"of two kinds":   {`{"type":"film.seen","data":1,"data_base64":""}`, "line 2: not an event"},
		"far too long":   {`{"type":"film.seen","data":"` + strings.Repeat("x", maxLine) + `"}`, "line 2: "},
		"a long id":      {`{"type":"film.seen","id":"` + strings.Repeat("x", 256) + `"}`, "line 2: id: is 256 bytes long"},
		"another number": {`{"type":"film.seen","id":17}`, "id: must be a string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, client := newEvents(t)
			got := caller{input: good + "\n" + test.line + "\n" + good}.run(t.Context(), "emit", "--amqp", url, "--lines")
			require.NotZero(t, got.code)
			require.Equal(t, "1\n", got.out)
			require.Contains(t, got.err, test.says)
			require.Len(t, client.Take("taken"), 1)
		})
	}
}

// Whoever reads what is wrong knows whether to emit an event again.
func TestEmitSaysWhatNobodyTook(t *testing.T) {
	t.Parallel()
	url, client := newEvents(t)
	args := []string{"emit", "--amqp", url}
	run := func(input string, more ...string) ran {
		return caller{input: input}.run(t.Context(), append(args, more...)...)
	}

	got := run("", "--type", "order.placed", "--id", "1")
	require.Equal(t, ran{code: exitFailed, err: "belfry: event 1 was not taken: no queue is bound to the exchange belfry.events for its type; belfry starter makes one\n"}, got)
	got = run("", "--type", "film.seen", "--id", "1", "--exchange", "nowhere")
	require.Equal(t, ran{code: exitFailed, err: "belfry: event 1 was not taken: there is no exchange nowhere here; belfry starter makes it\n"}, got)

	got = run(`{"id":"1","type":"film.seen"}`+"\n"+`{"id":"2","type":"order.placed"}`+"\n"+`{"id":"3","type":"film.seen"}`, "--lines")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "event 2 was not taken")
	require.Contains(t, []string{"1\n", "1\n3\n"}, got.out, "the third may have been on its way")
	require.Len(t, client.Take("taken"), strings.Count(got.out, "\n"))

	got = caller{}.run(t.Context(), "emit", "--amqp", "amqp://u:secret@127.0.0.1:1/", "--type", "t")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "connect to RabbitMQ: ")
	require.NotContains(t, got.err, "secret")
}

// A terminal that nobody types into keeps nothing from ending.
func TestEmitLinesIsInterrupted(t *testing.T) {
	t.Parallel()
	url, client := newEvents(t)
	in, out := io.Pipe()
	defer out.Close() // nobody reads any more
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	printed := &firstWrite{done: make(chan struct{})}
	code := make(chan int)
	go func() {
		code <- execute(ctx, []string{"emit", "--amqp", url, "--lines"}, &environment{in: in, out: printed, err: io.Discard})
	}()
	_, err := io.WriteString(out, `{"id":"1","type":"film.seen"}`+"\n")
	require.NoError(t, err)
	<-printed.done
	interrupt()
	require.Equal(t, exitInterrupted, <-code)
	require.Len(t, client.Take("taken"), 1)
}

// firstWrite says when something is written.
type firstWrite struct{ done chan struct{} }

func (f *firstWrite) Write(p []byte) (int, error) {
	close(f.done)
	return len(p), nil
}
