package notify

import (
	"slices"
	"strings"
	"time"
)

// An EventKind says what a provider reports of a message it has taken.
type EventKind string

// What a provider may report.
const (
	EventDelivered EventKind = "delivered" // the recipient's server took it
	EventBounced   EventKind = "bounced"   // the recipient's server refused it
	EventDropped   EventKind = "dropped"   // the provider did not try
)

// An Event is what was learnt of a delivery after it had been handed to a
// provider. Its id, EventID, makes it the same however often it is reported.
type Event struct {
	ID             string    `json:"id" bson:"_id"`
	DeliveryID     string    `json:"delivery_id"`
	NotificationID string    `json:"notification_id"`
	Provider       string    `json:"provider"`
	Kind           EventKind `json:"kind"`
	At             time.Time `json:"at"`
	Detail         string    `json:"detail,omitempty"` // the provider's words
}

// EventID is the id of a delivery's event which the provider knows under its
// own id.
func EventID(deliveryID, providersID string) string { return deliveryID + "/" + providersID }

// Learn is the delivery with what its events say, and whether that is news.
// The events may have come in any order and some of them be known already: the
// same events make the same delivery. One that bounced or was dropped has
// failed, whatever else is said of it; else one that was delivered is so,
// whatever Belfry knew of it. Each failure shows as an attempt.
//
// A failure that another provider reports than the one who carried the delivery
// in the end says nothing: it is about an earlier attempt.
func (d Delivery) Learn(events []Event) (learnt Delivery, changed bool) {
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b Event) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	learnt = d
	var failures []Attempt
	for _, e := range events {
		if learnt.Provider == "" { // nobody answered, and here is one who had it
			learnt.Provider = e.Provider
		}
		switch e.Kind {
		case EventBounced, EventDropped:
			if learnt.Provider == e.Provider {
				failures = append(failures, Attempt{At: e.At, Provider: e.Provider, Error: e.Detail})
			}
		case EventDelivered:
			learnt.State, learnt.Reason = StateDelivered, ""
		}
	}
	if failures != nil {
		learnt.State, learnt.Reason = StateFailed, ReasonRejected
		learnt.Attempts = slices.DeleteFunc(slices.Clone(d.Attempts), func(known Attempt) bool {
			return slices.ContainsFunc(failures, known.same)
		})
		learnt.Attempts = append(learnt.Attempts, failures...)
	}
	changed = learnt.State != d.State || learnt.Reason != d.Reason || learnt.Provider != d.Provider ||
		!slices.EqualFunc(learnt.Attempts, d.Attempts, Attempt.same)
	return learnt, changed
}

func (a Attempt) same(b Attempt) bool {
	return a.At.Equal(b.At) && a.Provider == b.Provider && a.Error == b.Error
}
