package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/mongotest"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/internal/template"
)

const sendGridWebhook = "/v1/webhooks/sendgrid"

// A webhookServer is the API with SendGrid's webhook set up.
type webhookServer struct {
	*server
	key *ecdsa.PrivateKey
}

func newWebhookServer(t *testing.T) *webhookServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	kept, err := store.Open(mongotest.NewURI(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, kept.Close(context.WithoutCancel(t.Context()))) })
	served, err := api.NewServer(api.Config{
		Version: "test", Access: &access.Authenticator{}, Store: kept, Templates: template.New(), Starter: &starts{},
		Log: slog.New(slog.DiscardHandler), Now: time.Now, SendGridWebhookKey: &key.PublicKey,
	})
	require.NoError(t, err)
	s := &webhookServer{server: &server{t: t, http: httptest.NewServer(served.Handler()), store: kept}, key: key}
	t.Cleanup(s.http.Close)
	return s
}

// post signs a body and posts it as SendGrid does.
func (s *webhookServer) post(body string, signedAt time.Time) (*http.Response, []byte) {
	s.t.Helper()
	timestamp := strconv.FormatInt(signedAt.Unix(), 10)
	hash := sha256.Sum256([]byte(timestamp + body))
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, hash[:])
	require.NoError(s.t, err)
	return s.ask(http.MethodPost, sendGridWebhook, body,
		"X-Twilio-Email-Event-Webhook-Signature", base64.StdEncoding.EncodeToString(signature),
		"X-Twilio-Email-Event-Webhook-Timestamp", timestamp)
}

// tell posts events that must be answered with the status.
func (s *webhookServer) tell(status int, events ...object) {
	s.t.Helper()
	body, err := json.Marshal(events)
	require.NoError(s.t, err)
	response, answer := s.post(string(body)+"\r\n", time.Now())
	require.Equal(s.t, status, response.StatusCode, "%s", answer)
	if status == http.StatusServiceUnavailable {
		require.NotEmpty(s.t, response.Header.Get("Retry-After"))
	}
}

// ended stores a notification that has ended and its deliveries, all sent.
func (s *webhookServer) ended(deliveries int, status notify.Status) (*notify.Record, []*notify.Delivery) {
	s.t.Helper()
	at := time.Now().UTC().Truncate(time.Millisecond)
	r := &notify.Record{
		Notification: notify.Notification{ID: uuid.NewString(), Channels: []notify.Channel{notify.ChannelEmail}, CreatedAt: at, SendAt: at, ExpiresAt: at.Add(time.Hour)},
		Progress:     notify.Progress{Status: status, Counts: notify.Counts{Total: deliveries, Sent: deliveries}, FinishedAt: &at},
	}
	all := make([]*notify.Delivery, deliveries)
	for i := range all {
		to := notify.Recipient{Email: fmt.Sprintf("u%d@example.com", i)}
		r.To = append(r.To, to)
		all[i] = &notify.Delivery{
			ID: notify.DeliveryID(r.ID, notify.ChannelEmail, to), NotificationID: r.ID, Channel: notify.ChannelEmail,
			Provider: "sendgrid", Address: to.Email, State: notify.StateSent, CreatedAt: at, SentAt: &at, Claim: 1,
			Attempts: []notify.Attempt{{At: at, Provider: "sendgrid"}},
		}
		require.NoError(s.t, s.store.InsertDelivery(s.t.Context(), all[i]))
	}
	require.NoError(s.t, s.store.InsertNotification(s.t.Context(), r))
	return r, all
}

func (s *webhookServer) state(d *notify.Delivery) notify.State {
	s.t.Helper()
	return get[notify.Delivery](s.server, http.MethodGet, "/v1/deliveries/"+d.ID, http.StatusOK, nil).State
}

func (s *webhookServer) counts(r *notify.Record) (notify.Status, notify.Counts) {
	s.t.Helper()
	shown := get[notify.Progress](s.server, http.MethodGet, "/v1/notifications/"+r.ID, http.StatusOK, nil)
	return shown.Status, shown.Counts
}

var eventIDs = strings.Repeat("x", 90) // they are long

func sendGridEvent(d *notify.Delivery, kind string, more object) object {
	e := object{
		"email": d.Address, "event": kind, "timestamp": time.Now().Unix(), "sg_event_id": kind + eventIDs,
		"sg_message_id": "abc.filter0001", "belfry_delivery_id": d.ID, "pool": object{"name": "x", "id": 1},
	}
	for k, v := range more {
		e[k] = v
	}
	return e
}

func TestSendGridConfirmsDeliveries(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	r, d := s.ended(4, notify.StatusDone)
	events := []object{
		sendGridEvent(d[0], "processed", nil),
		sendGridEvent(d[0], "delivered", object{"response": "250 OK"}),
		sendGridEvent(d[1], "bounce", object{"type": "bounce", "reason": "550 5.1.1 no such user", "status": "5.1.1"}),
		sendGridEvent(d[1], "delivered", nil),
		sendGridEvent(d[2], "dropped", object{"reason": "Bounced Address"}),
		sendGridEvent(d[3], "deferred", object{"response": "451 later", "attempt": "5"}),
		sendGridEvent(d[3], "open", object{"useragent": "x"}),
		{"event": "delivered", "email": "x@example.com", "sg_event_id": "1", "timestamp": 1},
		{"event": "delivered", "sg_event_id": "1", "timestamp": 1, "belfry_delivery_id": uuid.NewString()},
		{"event": "delivered", "sg_event_id": "1", "timestamp": 1, "belfry_delivery_id": "not an id"},
	}
	for range 2 { // said again, nothing changes
		s.tell(http.StatusNoContent, events...)
		require.Equal(t, []notify.State{notify.StateDelivered, notify.StateFailed, notify.StateFailed, notify.StateSent},
			[]notify.State{s.state(d[0]), s.state(d[1]), s.state(d[2]), s.state(d[3])})
		bounced := get[notify.Delivery](s.server, http.MethodGet, "/v1/deliveries/"+d[1].ID, http.StatusOK, nil)
		require.Equal(t, notify.ReasonRejected, bounced.Reason)
		require.Len(t, bounced.Attempts, 2)
		require.Equal(t, "bounce: 550 5.1.1 no such user", bounced.Attempts[1].Error)
		require.Equal(t, "sendgrid", bounced.Attempts[1].Provider)
		status, counts := s.counts(r)
		require.Equal(t, notify.StatusDone, status)
		require.Equal(t, notify.Counts{Total: 4, Sent: 1, Delivered: 1, Failed: 2}, counts)
	}
}

func TestANotificationWhoseOnlyMailBouncedHasFailed(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	r, d := s.ended(1, notify.StatusDone)
	s.tell(http.StatusNoContent, sendGridEvent(d[0], "bounce", nil))
	status, counts := s.counts(r)
	require.Equal(t, notify.StatusFailed, status)
	require.Equal(t, notify.Counts{Total: 1, Failed: 1}, counts)
}

func TestAnUnknownDeliveryIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	r, d := s.ended(1, notify.StatusDone)
	d[0].State = notify.StateUnknown
	require.NoError(t, s.store.ReplaceDelivery(t.Context(), d[0]))
	s.tell(http.StatusNoContent, sendGridEvent(d[0], "delivered", nil))
	_, counts := s.counts(r)
	require.Equal(t, notify.Counts{Total: 1, Delivered: 1}, counts)
}

func TestEventsOfARunningNotificationAreTaken(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	r, d := s.ended(2, notify.StatusSending)
	s.tell(http.StatusNoContent, sendGridEvent(d[0], "delivered", nil))
	status, counts := s.counts(r)
	require.Equal(t, notify.StatusSending, status)
	require.Equal(t, notify.Counts{Total: 2, Sent: 1, Delivered: 1}, counts)
}

func TestAnEventThatComesBeforeTheRecordComesAgain(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	_, known := s.ended(1, notify.StatusDone)
	d := &notify.Delivery{ID: uuid.NewString(), NotificationID: "n", State: notify.StateSent, Claim: 1}
	require.NoError(t, s.store.InsertClaim(t.Context(), &notify.Claim{ID: notify.ClaimID(d.ID, 1), Number: 1, DeliveryID: d.ID, NotificationID: "n"}))
	early := sendGridEvent(d, "delivered", nil)
	s.tell(http.StatusServiceUnavailable, early, sendGridEvent(known[0], "delivered", nil))
	require.Equal(t, notify.StateDelivered, s.state(known[0]), "the others of the batch are done")
	kept, err := s.store.EventsOf(t.Context(), d.ID)
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Equal(t, "n", kept[0].NotificationID)

	require.NoError(t, s.store.InsertDelivery(t.Context(), d))
	s.tell(http.StatusNoContent, early)
	require.Equal(t, notify.StateDelivered, s.state(d))
}

func TestAWebhookThatIsNotSendGridsDoesNothing(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	_, d := s.ended(1, notify.StatusDone)
	body, err := json.Marshal([]object{sendGridEvent(d[0], "bounce", nil)})
	require.NoError(t, err)
	refused := func(status int, code string, response *http.Response, answer []byte) {
		t.Helper()
		require.Equal(t, status, response.StatusCode, "%s", answer)
		require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
		var p problem
		require.NoError(t, json.Unmarshal(answer, &p))
		require.Equal(t, code, p.Code)
	}
	response, answer := s.ask(http.MethodPost, sendGridWebhook, string(body))
	refused(http.StatusForbidden, "bad_signature", response, answer)
	response, answer = s.post(string(body), time.Now().Add(-26*time.Hour))
	refused(http.StatusForbidden, "bad_signature", response, answer)
	response, answer = s.post(string(body), time.Now().Add(time.Hour))
	refused(http.StatusForbidden, "bad_signature", response, answer)
	other := &webhookServer{server: s.server}
	other.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	response, answer = other.post(string(body), time.Now())
	refused(http.StatusForbidden, "bad_signature", response, answer)
	response, answer = s.post(`{"no": "array"}`, time.Now())
	refused(http.StatusUnprocessableEntity, "invalid", response, answer)
	response, answer = s.post("["+strings.Repeat(" ", 4<<20)+"]", time.Now())
	refused(http.StatusRequestEntityTooLarge, "too_large", response, answer)
	require.Equal(t, notify.StateSent, s.state(d[0]))

	unset := newServer(t)
	response, answer = unset.ask(http.MethodPost, sendGridWebhook, string(body))
	refused(http.StatusNotFound, "not_found", response, answer)
}

func TestALargeBatchIsTaken(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	r, d := s.ended(100, notify.StatusDone)
	events := make([]object, 0, 1000)
	for i := range 1000 {
		events = append(events, sendGridEvent(d[i%100], "delivered", object{
			"sg_event_id": fmt.Sprint(i), "useragent": strings.Repeat("x", 1500),
		}))
	}
	s.tell(http.StatusNoContent, events...)
	_, counts := s.counts(r)
	require.Equal(t, notify.Counts{Total: 100, Delivered: 100}, counts)
}

// A delivery that is confirmed while its notification still runs is counted so
// when that has ended.
func TestWhatSendGridTellsOfOneThatRunsIsCountedAtItsEnd(t *testing.T) {
	t.Parallel()
	s := newWebhookServer(t)
	r, deliveries := s.ended(2, notify.StatusSending)
	s.tell(http.StatusNoContent, object{
		"sg_event_id": "e", "event": "delivered", "timestamp": time.Now().Unix(),
		"belfry_delivery_id": deliveries[0].ID, "belfry_notification_id": r.ID,
	})
	require.NoError(t, s.store.UpdateProgress(t.Context(), r.ID, notify.Progress{Status: notify.StatusDone, Counts: r.Counts, FinishedAt: r.FinishedAt}))
	require.Eventually(t, func() bool {
		_, counts := s.counts(r)
		return counts == notify.Counts{Total: 2, Sent: 1, Delivered: 1}
	}, 20*time.Second, 50*time.Millisecond)
}
