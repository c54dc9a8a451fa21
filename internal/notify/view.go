package notify

import "time"

// Links lead on from a notification.
type Links struct {
	Self       string `json:"self"`
	TemporalUI string `json:"temporal_ui,omitempty" doc:"Absent where BELFRY_TEMPORAL_UI_URL is not set"`
}

// LinksOf are those of the notification with the id. What its workflow's address
// is in the Temporal UI is for uiLink to say; nil where there is no UI.
func LinksOf(id string, uiLink func(id string) string) Links {
	l := Links{Self: "/v1/notifications/" + id}
	if uiLink != nil {
		l.TemporalUI = uiLink(id)
	}
	return l
}

// A NotificationView is a notification as others see it, over HTTP and among the
// outcomes.
type NotificationView struct {
	ID         string       `json:"id" format:"uuid"`
	Status     Status       `json:"status"`
	Template   *TemplateRef `json:"template,omitempty"`
	Channels   []Channel    `json:"channels" nullable:"false"`
	Counts     Counts       `json:"counts"`
	CreatedAt  time.Time    `json:"created_at"`
	SendAt     time.Time    `json:"send_at"`
	ExpiresAt  time.Time    `json:"expires_at"`
	FinishedAt *time.Time   `json:"finished_at,omitempty"`
	Tags       []string     `json:"tags" nullable:"false"`
	Metadata   Object       `json:"metadata"`
	Links      Links        `json:"links"`
}

// View is the notification as others see it; uiLink as for LinksOf.
func (r *Record) View(uiLink func(id string) string) NotificationView {
	return NotificationView{
		ID: r.ID, Status: r.Status, Template: r.Template, Channels: r.Channels, Counts: r.Counts,
		CreatedAt: r.CreatedAt.UTC(), SendAt: r.SendAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), FinishedAt: r.FinishedAt,
		Tags: r.Tags, Metadata: r.Metadata, Links: LinksOf(r.ID, uiLink),
	}
}
