package channel

import (
	"errors"
	"net/mail"
	"strings"

	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"

	"github.com/belfry-notify/belfry/internal/notify"
)

// The custom arguments that hold the ids of the delivery and of its
// notification. SendGrid gives them back with every event of the message ("Event
// Webhook Reference").
const (
	SendGridDeliveryArg     = "belfry_delivery_id"
	SendGridNotificationArg = "belfry_notification_id"
)

// compose makes the request body of a message: the same message, the same
// bytes. What SendGrid refuses is mostly left to it, so that its words get into
// the delivery; here is what it would let through, or word badly. Errors are
// contentErrors.
func (s *SendGrid) compose(m notify.Message) ([]byte, error) {
	bad := func(field, problem string) error {
		return &contentError{notify.ReasonBadContent, field, errors.New(problem)}
	}
	from, to, replyTo, err := s.parties(m)
	switch {
	case err != nil:
		return nil, err
	case hasLineBreak(m.Email.Subject):
		return nil, bad("subject", "contains a line break or NUL")
	case m.Email.Subject == "":
		return nil, bad("subject", "is empty, which SendGrid refuses")
	case m.Email.HTML == "" && m.Email.Text == "":
		return nil, bad("html", "is empty, and so is text")
	}
	v3 := &sgmail.SGMailV3{
		From:             party(from),
		Subject:          m.Email.Subject,
		Personalizations: []*sgmail.Personalization{{To: []*sgmail.Email{party(to)}}},
		Headers: map[string]string{
			"Message-ID":     "<" + m.DeliveryID + "@" + s.config.MessageIDDomain + ">",
			"Auto-Submitted": "auto-generated", // RFC 3834, section 5
		},
		CustomArgs: map[string]string{SendGridDeliveryArg: m.DeliveryID, SendGridNotificationArg: m.NotificationID},
	}
	if replyTo != nil {
		v3.ReplyTo = party(replyTo)
	}
	// In this order ("Mail Send", errors of content), and none of them empty.
	if m.Email.Text != "" {
		v3.AddContent(&sgmail.Content{Type: "text/plain", Value: m.Email.Text})
	}
	if m.Email.HTML != "" {
		v3.AddContent(&sgmail.Content{Type: "text/html", Value: m.Email.HTML})
	}
	return sgmail.GetRequestBody(v3), nil
}

// parties checks the addresses of a message; replyTo is nil where it has none.
func (s *SendGrid) parties(m notify.Message) (from, to, replyTo *mail.Address, err error) {
	if hasLineBreak(m.Name) {
		return nil, nil, nil, &contentError{notify.ReasonBadAddress, "name", errors.New("contains a line break or NUL")}
	}
	if to, err = parseAddress(m.Address); err != nil {
		return nil, nil, nil, &contentError{notify.ReasonBadAddress, "address", err}
	}
	to.Name = recipientName(m.Name)
	from = s.from
	if m.Email.From != "" {
		if from, err = parseMailbox(m.Email.From); err != nil {
			return nil, nil, nil, &contentError{notify.ReasonBadContent, "from", err}
		}
	}
	if m.Email.ReplyTo != "" {
		if replyTo, err = parseMailbox(m.Email.ReplyTo); err != nil {
			return nil, nil, nil, &contentError{notify.ReasonBadContent, "reply_to", err}
		}
	}
	return from, to, replyTo, nil
}

// recipientName leaves out of a name what SendGrid takes for the end of a
// recipient: "to.name cannot include either the ; or , characters" ("Mail Send",
// Limitations).
func recipientName(name string) string {
	return displayName(strings.NewReplacer(",", " ", ";", " ").Replace(name))
}

func party(a *mail.Address) *sgmail.Email {
	quoted := path(a) // in angle brackets
	return &sgmail.Email{Name: a.Name, Address: quoted[1 : len(quoted)-1]}
}
