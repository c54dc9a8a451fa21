package api

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/notify"
)

// checkBodies finds everything that is wrong with content: no channel at all,
// empty parts, faults in the Liquid.
func checkBodies(templates Templates, at string, bodies notify.Bodies) []error {
	if bodies == (notify.Bodies{}) {
		return []error{fieldError(at, "needs content for at least one channel", nil)}
	}
	var errs []error
	needs := func(part, text string) {
		if strings.TrimSpace(text) == "" {
			errs = append(errs, fieldError(at+"."+part, "must not be empty", nil))
		}
	}
	if bodies.Email != nil {
		needs("email.subject", bodies.Email.Subject)
		needs("email.html", bodies.Email.HTML)
	}
	if bodies.Inbox != nil {
		needs("inbox.title", bodies.Inbox.Title)
		needs("inbox.body", bodies.Inbox.Body)
	}
	for _, e := range templates.Check(at, bodies) {
		errs = append(errs, fieldError(e.Location, e.Message, e.Value))
	}
	return errs
}

func fieldError(location, message string, value any) error {
	return &huma.ErrorDetail{Location: location, Message: message, Value: value}
}

// contentView is content as rendered, in the shape of its channel.
type contentView struct {
	email *emailView
	inbox *notify.InboxContent
}

// emailView is a mail as rendered: its text is there even if it has no words.
type emailView struct {
	Subject string `json:"subject"`
	HTML    string `json:"html"`
	Text    string `json:"text"`
	From    string `json:"from,omitempty"`
	ReplyTo string `json:"reply_to,omitempty"`
}

// viewContent shows content; nil where there is none, or it was erased.
func viewContent(rendered *notify.Bodies) *contentView {
	if rendered == nil || *rendered == (notify.Bodies{}) {
		return nil
	}
	return &contentView{email: (*emailView)(rendered.Email), inbox: rendered.Inbox}
}

// MarshalJSON writes the one there is.
func (c contentView) MarshalJSON() ([]byte, error) {
	if c.inbox != nil {
		return json.Marshal(c.inbox)
	}
	return json.Marshal(c.email)
}

// Schema is that of either.
func (contentView) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "As rendered, by the channel",
		OneOf: []*huma.Schema{
			r.Schema(reflect.TypeFor[emailView](), true, "EmailView"),
			r.Schema(reflect.TypeFor[notify.InboxContent](), true, "InboxContent"),
		},
	}
}

var _ huma.SchemaProvider = contentView{}
