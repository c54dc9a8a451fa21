// Package workflows says what happens to a notification, in which order, over
// what time. It is deterministic and does no input or output of its own: the
// package activities does.
package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/notify"
)

// Task queues. Direct mail has slots of its own, so that broadcasts never take
// them.
const (
	TaskQueue          = "belfry"            // the workflows, and what is done in them
	EmailTaskQueue     = "belfry-email"      // retries of direct mail
	EmailHighTaskQueue = "belfry-email-high" // the same of high priority
	EmailBulkTaskQueue = "belfry-email-bulk" // pages of large notifications
)

// Search attributes of a notification. They are set where the server knows
// them; `temporal operator search-attribute create` adds them.
var (
	TemplateAttribute = temporal.NewSearchAttributeKeyKeyword("BelfryTemplate")
	ChannelAttribute  = temporal.NewSearchAttributeKeyKeywordList("BelfryChannel")
	TagsAttribute     = temporal.NewSearchAttributeKeyKeywordList("BelfryTags")
)

// NotificationID is the workflow id of a notification.
func NotificationID(id string) string { return "notification/" + id }

// DirectLimit is how many deliveries at most go the direct way by default:
// their first attempt is made by the worker that got the workflow, before
// anything else is written down about it.
const DirectLimit = 10

// PageSize is how many recipients are delivered by one activity.
const PageSize = 500

// pages cuts a notification's recipients into pages.
func pages(in Input) []pageRange {
	var all []pageRange
	for from := 0; from < in.Recipients; from += PageSize {
		all = append(all, pageRange{from, min(from+PageSize, in.Recipients)})
	}
	return all
}

type pageRange struct{ from, to int }

// NewInput is the input of a notification's workflow. Up to directLimit
// deliveries go the direct way.
func NewInput(n *notify.Notification, directLimit int) Input {
	var sendAt *time.Time
	if n.SendAt.After(n.CreatedAt) {
		sendAt = &n.SendAt
	}
	return Input{
		ID:         n.ID,
		Recipients: len(n.To),
		Direct:     n.Deliveries() <= directLimit && n.Priority != notify.PriorityLow,
		Priority:   n.Priority,
		SendAt:     sendAt,
	}
}
