// Package outcome tells other programs over RabbitMQ how deliveries and
// notifications ended: as CloudEvents, at least once, under an id that an
// outcome has however often it is told.
package outcome

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// An Event is an outcome as a CloudEvent in structured mode (CloudEvents 1.0,
// JSON format).
type Event struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"` // the id of the delivery or the notification
	Time            time.Time       `json:"time"`    // when it was first to be told
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// source names Belfry in its events.
const source = "belfry"

func newEvent(kind, state, subject, id string, at time.Time, data any) (Event, error) {
	text, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("encode the outcome of %s %s: %w", kind, subject, err)
	}
	return Event{
		SpecVersion: "1.0", ID: id, Source: source, Type: "belfry." + kind + "." + state, Subject: subject,
		Time: at.UTC(), DataContentType: "application/json", Data: text,
	}, nil
}

// ofDelivery is what there is to tell of a delivery that has ended. One that was
// tried again by hand ends under another claim, which is another event.
func ofDelivery(d *notify.Delivery, at time.Time) (Event, error) {
	id := fmt.Sprintf("%s/%d/%s", d.ID, d.Claim, d.State)
	shown := *d
	if shown.Attempts == nil { // as others see it
		shown.Attempts = []notify.Attempt{}
	}
	return newEvent("delivery", string(d.State), d.ID, id, at, shown)
}

// ofNotification is what there is to tell of a notification that has ended.
func ofNotification(v notify.NotificationView, at time.Time) (Event, error) {
	return newEvent("notification", string(v.Status), v.ID, v.ID+"/"+string(v.Status), at, v)
}
