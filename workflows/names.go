// Package workflows says what happens to a notification, in which order, over
// what time. It is deterministic and does no input or output of its own: the
// package activities does.
package workflows

import (
	"slices"

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
	InboxBulkTaskQueue = "belfry-inbox-bulk" // the same for inboxes, which wait for no mail
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

// NewInput is the input of a notification's workflow.
func NewInput(n *notify.Notification) Input {
	in := Input{
		ID: n.ID, Recipients: n.Recipients(), AllUsers: n.Audience != nil && n.Audience.AllUsers,
		Direct: !n.Bulk, Priority: n.Priority, Rate: n.Rate,
	}
	if !slices.Equal(n.Channels, []notify.Channel{notify.ChannelEmail}) {
		in.Channels = notify.PageOrder(n.Channels)
	}
	if n.SendAt.After(n.CreatedAt) {
		in.SendAt = &n.SendAt
	}
	return in
}
