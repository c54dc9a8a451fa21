package notify

import (
	"fmt"
	"time"
)

// A TemplateRef names one version of a template.
type TemplateRef struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// String is name@version.
func (r TemplateRef) String() string { return fmt.Sprintf("%s@%d", r.Name, r.Version) }

// A Template is one immutable version of named content.
type Template struct {
	Name        string    `json:"name"`
	Version     int       `json:"version"`
	Description string    `json:"description"`
	CreatedAt   time.Time `json:"created_at"`
	Channels    Bodies    `json:"channels"`
}

// Ref is the template's name and version.
func (t *Template) Ref() TemplateRef { return TemplateRef{Name: t.Name, Version: t.Version} }

// Bodies is content for each channel; nil where there is none.
type Bodies struct {
	Email *Email        `json:"email,omitempty"`
	Inbox *InboxContent `json:"inbox,omitempty"`
}

// Has says whether there is content for the channel.
func (b *Bodies) Has(channel Channel) bool {
	switch channel {
	case ChannelEmail:
		return b.Email != nil
	case ChannelInbox:
		return b.Inbox != nil
	default:
		return false
	}
}

// Email is the content of a mail: Liquid source in a template, text after
// rendering.
type Email struct {
	Subject string `json:"subject"`
	HTML    string `json:"html"`
	Text    string `json:"text,omitempty"`
	From    string `json:"from,omitempty"`
	ReplyTo string `json:"reply_to,omitempty"`
}

// InboxContent is the content of an item of an inbox: Liquid source in a
// template, text after rendering.
type InboxContent struct {
	Title string `json:"title"`
	Body  string `json:"body"`
	URL   string `json:"url,omitempty"` // absolute, http or https, or a path
}
