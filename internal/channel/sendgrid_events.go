package channel

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sendgrid/sendgrid-go/helpers/eventwebhook"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Bounds of the time that SendGrid signed a request at. SendGrid repeats a
// request that is not answered with 2xx for up to 24 hours after the event
// ("Troubleshooting the Event Webhook"), and nothing says that it signs the
// repetition anew: with the usual few minutes, all that happened while Belfry
// was away would be lost. Letting a recorded request be played again for a day
// does no harm, since an event counts once by its id, whoever brings it.
const (
	MaxSignatureAge  = 25 * time.Hour
	maxSignatureLead = 10 * time.Minute // our clock may be behind
)

// ErrSignature says that a request is not SendGrid's, or too old.
var ErrSignature = errors.New("the signature is refused")

// ParseSendGridWebhookKey reads the Verification Key that SendGrid shows for a
// signed event webhook: a public ECDSA key, base64 of DER ("Getting Started
// with the Event Webhook Security Features").
func ParseSendGridWebhookKey(text string) (*ecdsa.PublicKey, error) {
	// Not eventwebhook.ConvertPublicKeyBase64ToECDSA, which panics at a key of
	// another kind.
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("not base64, as SendGrid shows its Verification Key")
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("not a public key, as SendGrid shows its Verification Key")
	}
	ec, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("not a key for ECDSA")
	}
	return ec, nil
}

// SendGridEvents reads a request of SendGrid's signed event webhook: what it
// says of deliveries, without those events that tell Belfry nothing and those
// of mail that is not Belfry's. The error is ErrSignature, or says that the body
// is no list.
func SendGridEvents(key *ecdsa.PublicKey, header http.Header, body []byte, now time.Time) ([]notify.Event, error) {
	if err := checkSignature(key, header, body, now); err != nil {
		return nil, err
	}
	var reported []json.RawMessage
	if err := json.Unmarshal(body, &reported); err != nil {
		return nil, errors.New("the body is not a JSON array of events")
	}
	var events []notify.Event
	for _, text := range reported {
		// One event of a shape unheard of must not have all the others sent
		// again for a day.
		var e sendGridEvent
		if json.Unmarshal(text, &e) != nil {
			continue
		}
		if event, ok := e.event(); ok {
			events = append(events, event)
		}
	}
	return events, nil
}

func checkSignature(key *ecdsa.PublicKey, header http.Header, body []byte, now time.Time) error {
	timestamp := header.Get(eventwebhook.TimestampHTTPHeader)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: no time of signing is given", ErrSignature)
	}
	valid, err := eventwebhook.VerifySignature(key, body, header.Get(eventwebhook.VerificationHTTPHeader), timestamp)
	if err != nil || !valid {
		return fmt.Errorf("%w: it is not SendGrid's", ErrSignature)
	}
	switch age := now.Sub(time.Unix(seconds, 0)); {
	case age > MaxSignatureAge:
		return fmt.Errorf("%w: it is older than %s", ErrSignature, MaxSignatureAge)
	case age < -maxSignatureLead:
		return fmt.Errorf("%w: it is from the future", ErrSignature)
	}
	return nil
}

// A sendGridEvent is one of a request's events ("Event Webhook Reference").
// Custom arguments stand among the fields.
type sendGridEvent struct {
	Event          string `json:"event"`
	ID             string `json:"sg_event_id"`
	Timestamp      int64  `json:"timestamp"` // Unix time
	DeliveryID     string `json:"belfry_delivery_id"`
	NotificationID string `json:"belfry_notification_id"` // empty in mail that went out before it was given
	Reason         string `json:"reason"`
	Response       string `json:"response"`
	Type           string `json:"type"` // of a bounce: bounce or blocked
}

// event is what Belfry keeps of it; not ok when that is nothing. Deferred and
// processed are no news: SendGrid goes on trying, for up to 72 hours.
func (e sendGridEvent) event() (notify.Event, bool) {
	var kind notify.EventKind
	said := e.Reason
	switch e.Event {
	case "delivered":
		kind, said = notify.EventDelivered, e.Response
	case "bounce": // also a block, of which the message is not tried again either
		kind = notify.EventBounced
	case "dropped":
		kind = notify.EventDropped
	default:
		return notify.Event{}, false
	}
	if e.DeliveryID == "" {
		return notify.Event{}, false
	}
	if e.ID == "" { // "is unique for every event where sg_event_id is present"
		e.ID = fmt.Sprintf("%s-%d", e.Event, e.Timestamp)
	}
	if kind != notify.EventDelivered {
		what := e.Event
		if e.Type != "" {
			what = e.Type
		}
		said = strings.TrimSuffix(what+": "+said, ": ")
	}
	return notify.Event{
		ID:             notify.EventID(e.DeliveryID, e.ID),
		DeliveryID:     e.DeliveryID,
		NotificationID: e.NotificationID,
		Provider:       "sendgrid",
		Kind:           kind,
		At:             time.Unix(e.Timestamp, 0).UTC(),
		Detail:         capDetail(said),
	}, true
}
