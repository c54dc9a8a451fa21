// Package amqptest gives tests a virtual host of their own on the real RabbitMQ
// that `make test` starts.
package amqptest

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// NewURL names a fresh virtual host, which is deleted when the test ends.
func NewURL(t testing.TB) string {
	t.Helper()
	base, management := os.Getenv("BELFRY_AMQP_URL"), os.Getenv("BELFRY_TEST_RABBITMQ")
	const how = "run it with `make test`, or with `bin/stack exec --rabbitmq -- go test ...`"
	require.NotEmpty(t, base, "this test needs RabbitMQ: "+how)
	require.NotEmpty(t, management, "this test needs RabbitMQ's HTTP API, whose address is to be in BELFRY_TEST_RABBITMQ: "+how)
	u, err := url.Parse(base)
	require.NoError(t, err)
	name := "test-" + strings.ReplaceAll(uuid.NewString(), "-", "")
	call := func(ctx context.Context, method, path, body string) {
		request, err := http.NewRequestWithContext(ctx, method, management+path, strings.NewReader(body)) //nolint:gosec // the tests' own server
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request) //nolint:gosec // likewise
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Less(t, answer.StatusCode, http.StatusMultipleChoices, "%s %s: %s", method, path, answer.Status)
	}
	call(t.Context(), http.MethodPut, "/api/vhosts/"+name, "{}")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		call(ctx, http.MethodDelete, "/api/vhosts/"+name, "")
	})
	call(t.Context(), http.MethodPut, "/api/permissions/"+name+"/"+url.PathEscape(u.User.Username()),
		`{"configure":".*","write":".*","read":".*"}`)
	u.Path = "/" + name
	return u.String()
}

// A Client looks at queues and publishes, as others do.
type Client struct {
	t          testing.TB
	connection *amqp.Connection
	channel    *amqp.Channel
}

// NewClient connects to the RabbitMQ at url.
func NewClient(t testing.TB, url string) *Client {
	t.Helper()
	connection, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() }) // the server may have gone
	c := &Client{t: t, connection: connection}
	c.open()
	return c
}

func (c *Client) open() {
	c.t.Helper()
	var err error
	c.channel, err = c.connection.Channel()
	require.NoError(c.t, err)
	require.NoError(c.t, c.channel.Confirm(false))
}

// Publish publishes messages and returns when all are confirmed.
func (c *Client) Publish(exchange, key string, messages ...amqp.Publishing) {
	c.t.Helper()
	confirmations := make([]*amqp.DeferredConfirmation, len(messages))
	for i, m := range messages {
		m.DeliveryMode = amqp.Persistent
		var err error
		confirmations[i], err = c.channel.PublishWithDeferredConfirm(exchange, key, false, false, m)
		require.NoError(c.t, err)
	}
	for _, confirmation := range confirmations {
		confirmed, err := confirmation.WaitContext(c.t.Context())
		require.NoError(c.t, err)
		require.True(c.t, confirmed)
	}
}

// Length is how many messages wait in a queue, not counting those that are
// delivered; -1 where there is no such queue.
func (c *Client) Length(queue string) int {
	c.t.Helper()
	state, err := c.channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		c.open() // the channel is closed by that
		return -1
	}
	return state.Messages
}

// Take takes the messages out of a queue.
func (c *Client) Take(queue string) []amqp.Delivery {
	c.t.Helper()
	var taken []amqp.Delivery
	for {
		d, found, err := c.channel.Get(queue, true)
		require.NoError(c.t, err)
		if !found {
			return taken
		}
		taken = append(taken, d)
	}
}

// Channel is for whatever else a test does.
func (c *Client) Channel() *amqp.Channel { return c.channel }
