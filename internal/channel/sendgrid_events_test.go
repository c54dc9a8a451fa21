package channel

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// signed are the headers with which SendGrid would post the body.
func signed(t testing.TB, key *ecdsa.PrivateKey, body []byte, at time.Time) http.Header {
	t.Helper()
	timestamp := strconv.FormatInt(at.Unix(), 10)
	hash := sha256.Sum256(append([]byte(timestamp), body...))
	signature, err := ecdsa.SignASN1(rand.Reader, key, hash[:])
	require.NoError(t, err)
	header := http.Header{}
	header.Set(eventwebhook.TimestampHTTPHeader, timestamp)
	header.Set(eventwebhook.VerificationHTTPHeader, base64.StdEncoding.EncodeToString(signature))
	return header
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func encodedKey(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(der)
}

func TestOnlySendGridsSignatureIsTaken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key, other := newKey(t), newKey(t)
	body := []byte("[]\r\n")
	tests := []struct {
		name   string
		header func() http.Header
		body   []byte
		ok     bool
	}{
		{"signed", func() http.Header { return signed(t, key, body, now) }, body, true},
		{"said again a day later", func() http.Header { return signed(t, key, body, now.Add(-24*time.Hour)) }, body, true},
		{"our clock is behind", func() http.Header { return signed(t, key, body, now.Add(time.Minute)) }, body, true},
		{"too old", func() http.Header { return signed(t, key, body, now.Add(-26*time.Hour)) }, body, false},
		{"from the future", func() http.Header { return signed(t, key, body, now.Add(time.Hour)) }, body, false},
		{"by another key", func() http.Header { return signed(t, other, body, now) }, body, false},
		{"another body", func() http.Header { return signed(t, key, body, now) }, []byte("[ ]\r\n"), false},
		{"another time", func() http.Header {
			h := signed(t, key, body, now)
			h.Set(eventwebhook.TimestampHTTPHeader, strconv.FormatInt(now.Unix()+1, 10))
			return h
		}, body, false},
		{"no headers", func() http.Header { return http.Header{} }, body, false},
		{"no signature", func() http.Header {
			h := signed(t, key, body, now)
			h.Del(eventwebhook.VerificationHTTPHeader)
			return h
		}, body, false},
		{"not base64", func() http.Header {
			h := signed(t, key, body, now)
			h.Set(eventwebhook.VerificationHTTPHeader, "*")
			return h
		}, body, false},
		{"zeros", func() http.Header {
			h := signed(t, key, body, now)
			h.Set(eventwebhook.VerificationHTTPHeader, "MAYCAQACAQA=")
			return h
		}, body, false},
		{"a time that is none", func() http.Header {
			h := signed(t, key, body, now)
			h.Set(eventwebhook.TimestampHTTPHeader, "yesterday")
			return h
		}, body, false},
	}
	for _, test := range tests {
		_, err := SendGridEvents(&key.PublicKey, test.header(), test.body, now)
		if test.ok {
			require.NoError(t, err, test.name)
		} else {
			require.ErrorIs(t, err, ErrSignature, test.name)
		}
	}
}

// The request is the one that sendgrid-go tests its own check with.
func TestARealRequestIsTaken(t *testing.T) {
	t.Parallel()
	key, err := ParseSendGridWebhookKey(" MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==\n")
	require.NoError(t, err)
	body := `[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]` + "\r\n"
	header := http.Header{}
	header.Set(eventwebhook.TimestampHTTPHeader, "1600112502")
	header.Set(eventwebhook.VerificationHTTPHeader, "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=")
	events, err := SendGridEvents(key, header, []byte(body), time.Unix(1600112510, 0))
	require.NoError(t, err)
	require.Empty(t, events, "it is not about a mail of Belfry's")
}

func TestWebhookKeysAreChecked(t *testing.T) {
	t.Parallel()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"empty": "", "no base64": "*", "no key": "AAAA", "another kind of key": encodedKey(t, public),
	} {
		_, err := ParseSendGridWebhookKey(text)
		require.Error(t, err, name)
	}
	key := newKey(t)
	parsed, err := ParseSendGridWebhookKey(encodedKey(t, &key.PublicKey))
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(parsed))
}

func TestEventsAreRead(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0).UTC()
	event := func(id string, kind notify.EventKind, detail string) notify.Event {
		return notify.Event{ID: "d/" + id, DeliveryID: "d", Provider: "sendgrid", Kind: kind, At: at, Detail: detail}
	}
	ofNotification := func(e notify.Event, id string) notify.Event {
		e.NotificationID = id
		return e
	}
	tests := []struct {
		name, event string
		want        []notify.Event
	}{
		{"delivered", `{"event":"delivered","response":"250 OK","sg_event_id":"1","timestamp":1700000000,"belfry_delivery_id":"d","tls":1}`, []notify.Event{event("1", notify.EventDelivered, "250 OK")}},
		{"bounce", `{"event":"bounce","type":"bounce","reason":"550 no such user","status":"5.1.1","sg_event_id":"2","timestamp":1700000000,"belfry_delivery_id":"d"}`, []notify.Event{event("2", notify.EventBounced, "bounce: 550 no such user")}},
		{"its notification", `{"event":"dropped","sg_event_id":"5","timestamp":1700000000,"belfry_delivery_id":"d","belfry_notification_id":"n"}`, []notify.Event{ofNotification(event("5", notify.EventDropped, "dropped"), "n")}},
		{"block", `{"event":"bounce","type":"blocked","reason":"554 go away","sg_event_id":"3","timestamp":1700000000,"belfry_delivery_id":"d"}`, []notify.Event{event("3", notify.EventBounced, "blocked: 554 go away")}},
		{"dropped", `{"event":"dropped","reason":"Bounced Address","sg_event_id":"4","timestamp":1700000000,"belfry_delivery_id":"d"}`, []notify.Event{event("4", notify.EventDropped, "dropped: Bounced Address")}},
		{"no reason", `{"event":"dropped","sg_event_id":"5","timestamp":1700000000,"belfry_delivery_id":"d"}`, []notify.Event{event("5", notify.EventDropped, "dropped")}},
		{"no id", `{"event":"delivered","timestamp":1700000000,"belfry_delivery_id":"d"}`, []notify.Event{event("delivered-1700000000", notify.EventDelivered, "")}},
		{"processed", `{"event":"processed","sg_event_id":"6","timestamp":1700000000,"belfry_delivery_id":"d"}`, nil},
		{"deferred", `{"event":"deferred","attempt":"5","sg_event_id":"7","timestamp":1700000000,"belfry_delivery_id":"d"}`, nil},
		{"open", `{"event":"open","sg_event_id":"8","timestamp":1700000000,"belfry_delivery_id":"d"}`, nil},
		{"an event to come", `{"event":"teleported","belfry_delivery_id":"d"}`, nil},
		{"somebody else's mail", `{"event":"delivered","sg_event_id":"9","timestamp":1700000000}`, nil},
		{"another shape", `{"event":{"kind":"delivered"},"belfry_delivery_id":"d"}`, nil},
		{"no object", `17`, nil},
		{"null", `null`, nil},
	}
	key := newKey(t)
	for _, test := range tests {
		body := []byte("[" + test.event + `,{"event":"delivered","response":"250 OK","sg_event_id":"1","timestamp":1700000000,"belfry_delivery_id":"d"}]`)
		events, err := SendGridEvents(&key.PublicKey, signed(t, key, body, at), body, at)
		require.NoError(t, err, test.name)
		require.Equal(t, append(test.want, event("1", notify.EventDelivered, "250 OK")), events, test.name)
	}
	for _, body := range []string{"", "{}", "17", `[{"event":`} {
		_, err := SendGridEvents(&key.PublicKey, signed(t, key, []byte(body), at), []byte(body), at)
		require.Error(t, err, body)
		require.NotErrorIs(t, err, ErrSignature, body)
	}
}

func FuzzSendGridEvents(f *testing.F) {
	key := newKey(f)
	at := time.Unix(1_700_000_000, 0)
	f.Add([]byte(`[{"event":"bounce","reason":"550 no","sg_event_id":"1","timestamp":1700000000,"belfry_delivery_id":"d"}]`))
	f.Add([]byte(`[{"event":"delivered","timestamp":-1,"belfry_delivery_id":"\u0000"},null,[],{}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := SendGridEvents(&key.PublicKey, signed(t, key, body, at), body, at)
		if err != nil {
			require.NotErrorIs(t, err, ErrSignature)
		}
		for _, e := range events {
			require.NotEmpty(t, e.DeliveryID)
			require.Greater(t, len(e.ID), len(e.DeliveryID)+1)
			require.LessOrEqual(t, len(e.Detail), maxDetail)
		}
	})
}
