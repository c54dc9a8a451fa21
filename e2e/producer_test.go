package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// sendEvent is an event that asks for a mail to an address.
func sendEvent(id, address string) amqp.Publishing {
	body, err := json.Marshal(map[string]any{"template": "welcome", "to": []any{map[string]any{"email": address}}, "data": map[string]any{"film": "Solaris"}})
	if err != nil {
		panic(err)
	}
	return amqp.Publishing{Type: "belfry.notification.send", MessageId: id, AppId: "e2e", ContentType: "application/json", Body: body}
}

// A stream is events that are published one after the other, whatever becomes
// of RabbitMQ: each until it is confirmed, under the same id.
type stream struct {
	t         *testing.T
	url       string
	domain    string
	n         int
	confirmed atomic.Int64
	ended     chan struct{}
}

// emit begins a stream of n events, each asking for a mail to somebody else in
// the domain.
func emit(t *testing.T, amqpURL, domain string, n int) *stream {
	s := &stream{t: t, url: amqpURL, domain: domain, n: n, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for first := 0; first < n && t.Context().Err() == nil; {
			first += s.publish(first)
		}
	}()
	return s
}

// publish publishes events in steps over one connection until it breaks, and
// says how many were confirmed.
func (s *stream) publish(first int) (confirmed int) {
	const step = 5
	<-time.After(20 * time.Millisecond) // also between two tries
	connection, err := amqp.DialConfig(s.url, amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return 0
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil || channel.Confirm(false) != nil {
		return 0
	}
	for first+confirmed < s.n {
		var confirmations []*amqp.DeferredConfirmation
		for id := first + confirmed; id < min(first+confirmed+step, s.n); id++ {
			message := sendEvent(fmt.Sprint(id), fmt.Sprintf("e%d@%s", id, s.domain))
			message.DeliveryMode = amqp.Persistent
			confirmation, err := channel.PublishWithDeferredConfirm("belfry.events", message.Type, true, false, message)
			if err != nil {
				return confirmed
			}
			confirmations = append(confirmations, confirmation)
		}
		for _, confirmation := range confirmations {
			select {
			case <-confirmation.Done():
			case <-time.After(10 * time.Second):
			}
			if !confirmation.Acked() {
				return confirmed
			}
			confirmed++
			s.confirmed.Add(1)
		}
	}
	return confirmed
}

// patience is how long a test waits for what becomes of the stream.
func (s *stream) patience() time.Duration { return 3*patience + time.Duration(s.n)*50*time.Millisecond }

// reached waits until a part of the stream is confirmed, in percent.
func (s *stream) reached(percent int) {
	s.t.Helper()
	eventually(s.t, func() bool { return s.confirmed.Load() >= int64(s.n*percent/100) }, s.patience(), 5*time.Millisecond,
		"%d %% of the events confirmed", percent)
}

// requireEachOnce waits until every event of a stream has ended, and wants one
// notification and one mail for each.
func (b *belfry) requireEachOnce(server *mailServer, s *stream) {
	b.t.Helper()
	s.reached(100)
	eventually(b.t, func() bool { return len(server.mails()) >= s.n }, s.patience(), 100*time.Millisecond, "all mails")
	taken := server.mails()
	require.Len(b.t, taken, s.n)
	for address, mails := range taken {
		require.Len(b.t, mails, 1, address)
	}
	var ids []string
	for cursor := ""; ; {
		var page list[standing]
		b.do(http.MethodGet, "/v1/notifications?limit=200"+cursor, http.StatusOK, nil, &page)
		for _, n := range page.Items {
			ids = append(ids, n.ID)
		}
		if page.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + page.NextCursor
	}
	require.Len(b.t, ids, s.n)
	for _, id := range ids {
		require.Equal(b.t, notify.Counts{Total: 1, Sent: 1}, b.wait(id).Counts)
	}
}

// A broker is a RabbitMQ of a test's own, which can be stopped and started.
type broker struct {
	t    *testing.T
	url  string
	args []string
	*process
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	require.FileExists(t, stackBinary, "build it with `make bin/stack`, or run `make test`")
	r := &broker{t: t, args: []string{"engines", "--data", t.TempDir()}}
	for _, engine := range []string{"amqp", "http"} {
		_, port, err := net.SplitHostPort(freeAddr(t))
		require.NoError(t, err)
		r.args = append(r.args, "--"+engine+"-port", port)
		if engine == "amqp" {
			r.url = "amqp://guest:guest@127.0.0.1:" + port + "/"
		}
	}
	t.Cleanup(func() {
		if r.process != nil {
			r.stop()
		}
	})
	return r
}

// up starts RabbitMQ, with what it had, and waits until it is there.
func (r *broker) up() {
	r.t.Helper()
	command := exec.Command(stackBinary, r.args...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "BELFRY_") {
			command.Env = append(command.Env, variable)
		}
	}
	// All others are given.
	command.Env = append(command.Env, "BELFRY_MONGO_URI=mongodb://127.0.0.1:1/x", "BELFRY_SMTP_URL=smtp://127.0.0.1:1", "BELFRY_IDP_ADDR=127.0.0.1:1", "TEMPORAL_ADDRESS=127.0.0.1:1")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.process = startCommand(r.t, command)
	eventually(r.t, func() bool {
		return strings.Contains(r.log.String(), "Ctrl-C stops them.")
	}, patience, 50*time.Millisecond, "RabbitMQ is ready:\n%s", tail{r.log})
}
