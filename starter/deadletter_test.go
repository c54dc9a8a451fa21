package starter

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/amqptest"
	"github.com/belfry-notify/belfry/internal/event"
)

func logger(to *syncBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }

// A dead letter is the message as it came, whatever that was, and nothing in it
// makes RabbitMQ do something again.
func TestADeadLetterIsTheMessageAsItCame(t *testing.T) {
	t.Parallel()
	url := amqptest.NewURL(t)
	r := startAt(t, url, &handler{handle: func(context.Context, *event.Event) error { return errRefused }})
	r.connected(1)
	at := time.Unix(1_800_000_000, 0)
	kinds := amqp.Table{
		"text": "ü", "bytes": []byte{0, 0xff}, "no": nil, "yes": true, "int8": int8(-1), "uint8": uint8(200), "int16": int16(-2), "uint16": uint16(60000),
		"int32": int32(-3), "uint32": uint32(4e9), "int64": int64(-4), "float32": float32(1.5), "float64": 2.5,
		"decimal": amqp.Decimal{Scale: 2, Value: 314}, "time": at, "list": []any{"a", int32(1), amqp.Table{"b": "c"}}, "table": amqp.Table{"d": amqp.Table{}},
	}
	message := plain(1)
	message.Headers = amqp.Table{"CC": []any{Queue, DeadQueue}, "BCC": []any{Queue}, ReasonHeader: "of long ago"}
	for name, value := range kinds {
		message.Headers[name] = value
	}
	message.Body, message.ContentType = []byte(`{"film":"Solaris"}`), "application/json"
	message.CorrelationId, message.ReplyTo, message.Timestamp, message.Priority = "c", "q", at, 3
	message.Expiration, message.UserId = "60000", "guest"
	if !strings.Contains(url, "guest:") { // RabbitMQ checks who it is
		message.UserId = ""
	}
	r.Publish(Exchange, "films.new", message)
	r.eventually("buried", func() bool { return r.Length(DeadQueue) == 1 })
	require.Never(t, func() bool { return r.Counters.Handled.Load()+r.Counters.DeadLettered.Load() > 1 }, 500*time.Millisecond, 50*time.Millisecond, "a copy came back")
	require.Zero(t, r.Length(Queue))

	dead := r.Take(DeadQueue)
	require.Len(t, dead, 1)
	for _, d := range dead {
		for name, value := range kinds {
			require.Equal(t, value, d.Headers[name], name)
		}
		require.Equal(t, errRefused.Error(), d.Headers[ReasonHeader])
		require.Equal(t, Exchange, d.Headers[exchangeHeader])
		require.Equal(t, "films.new", d.Headers[routingKeyHeader])
		require.NotContains(t, d.Headers, "CC")
		require.Empty(t, d.Expiration)
		require.Empty(t, d.UserId)
		require.Equal(t, []any{`{"film":"Solaris"}`, "application/json", "c", "q", at, uint8(3), "t", "1", "test", amqp.Persistent},
			[]any{string(d.Body), d.ContentType, d.CorrelationId, d.ReplyTo, d.Timestamp, d.Priority, d.Type, d.MessageId, d.AppId, d.DeliveryMode})
	}
	require.Contains(t, r.log.String(), `type=t source=test id=1 reason="no such film"`)
}

// Each is buried once, without a new connection, and holds nobody up.
func TestMessagesThatCouldDoHarm(t *testing.T) {
	t.Parallel()
	h := &handler{handle: func(_ context.Context, e *event.Event) error {
		switch e.Type {
		case "panic":
			var nothing *event.Event
			return fmt.Errorf("%s", nothing.ID)
		case "long":
			return fmt.Errorf("%s", strings.Repeat("ü", maxReason))
		case "bytes":
			return fmt.Errorf("\xff\xfe")
		}
		return nil
	}}
	r := start(t, h)
	r.connected(1)
	long := amqp.Table{}
	for i := range 513 {
		long[fmt.Sprint("header", i)] = strings.Repeat("x", 240) // together all that a frame holds, nearly
	}
	deep := any("x")
	for range 30 {
		deep = amqp.Table{"t": deep}
	}
	of := func(typ string) amqp.Publishing {
		m := plain(1)
		m.Type = typ
		return m
	}
	messages := []amqp.Publishing{
		of("panic"), of("long"), of("bytes"),
		{Headers: long, Body: []byte("not JSON")},
		{Headers: amqp.Table{"deep": deep}, Body: []byte("not JSON")},
		{Body: make([]byte, event.MaxBytes+1)},
		{Headers: amqp.Table{"cloudEvents_id": amqp.Table{}, "cloudEvents:type": []any{}}},
		{ContentType: "\xff\x00", Type: "\xff", MessageId: "\x00", AppId: "\n"},
	}
	r.Publish(Exchange, "", messages...)
	r.publish(100, 200)
	r.eventually("the good ones are handled", func() bool { return r.Counters.Handled.Load() == 100 })
	r.eventually("the others are buried", func() bool { return r.Length(DeadQueue) == len(messages) })
	require.Zero(t, r.Length(Queue))
	require.EqualValues(t, 1, r.Counters.Connections.Load(), r.log.String())
	reasons := map[string]int{}
	for _, d := range r.Take(DeadQueue) {
		reason, ok := d.Headers[ReasonHeader].(string)
		require.True(t, ok)
		require.LessOrEqual(t, len(reason), maxReason+100)
		reasons[strings.SplitAfterN(reason, " ", 3)[0]]++
	}
	require.Equal(t, 1, reasons["Belfry "], reasons)
}
