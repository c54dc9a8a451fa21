package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/notify"
)

// notificationRequest is the body of POST /v1/notifications.
type notificationRequest struct {
	Template  string            `json:"template,omitempty" maxLength:"80" example:"welcome" doc:"A template's name, or name@version. Exactly one of template and content"`
	Content   *notify.Bodies    `json:"content,omitempty" doc:"Free-form content, Liquid too"`
	To        []recipient       `json:"to" required:"false" minItems:"1" maxItems:"1000" nullable:"false" doc:"Who is told; somebody named twice is told once. Exactly one of to and audience"`
	Audience  *audienceChoice   `json:"audience,omitempty" doc:"Who is told, in place of to"`
	Channels  []notify.Channel  `json:"channels,omitempty" enum:"email,inbox" minItems:"1" nullable:"false" doc:"Each recipient gets each, none twice; [\"email\"] by default"`
	Data      object            `json:"data,omitempty" doc:"What the template sees, up to 64 KiB"`
	SendAt    *time.Time        `json:"send_at,omitempty" doc:"When it is to go out, within two years; a moment already past means now. Not with delay"`
	Delay     string            `json:"delay,omitempty" example:"90m" maxLength:"32" doc:"After how long it is to go out, such as 90s, 10m or 24h. Not with send_at"`
	ExpiresAt *time.Time        `json:"expires_at,omitempty" doc:"What has not gone out by then is skipped; 24 h after it is to go out by default, two years after it at most"`
	Priority  notify.Priority   `json:"priority,omitempty" enum:"high,normal,low" doc:"normal by default"`
	Provider  string            `json:"provider,omitempty" maxLength:"32" example:"smtp" doc:"Forces one for mails; as configured by default"`
	OnUnknown notify.OnUnknown  `json:"on_unknown,omitempty" enum:"resend,skip" doc:"What to do where nobody knows whether it went out; resend by default"`
	Rate      string            `json:"rate,omitempty" maxLength:"16" example:"200/s" doc:"How many messages go out a second or a minute, at most; as fast as it goes by default"`
	Tags      []string          `json:"tags,omitempty" maxItems:"16" nullable:"false"`
	Metadata  map[string]string `json:"metadata,omitempty" doc:"Yours to keep with it, up to 16 keys"`
}

// audienceChoice says who is told without naming them.
type audienceChoice struct {
	ID       string `json:"id,omitempty" format:"uuid" doc:"Of an uploaded audience. Exactly one of id and all_users"`
	AllUsers bool   `json:"all_users,omitempty" doc:"All users that the idp knows when it goes out"`
}

// recipient is one entry of "to".
type recipient struct {
	UserID string `json:"user_id,omitempty" maxLength:"256" doc:"A user the idp knows. Exactly one of user_id and email"`
	Email  string `json:"email,omitempty" maxLength:"320"`
	Name   string `json:"name,omitempty" maxLength:"256" doc:"With email: the name to write to"`
}

// Resolve finds everything that is wrong with a request beyond its schema.
func (r *notificationRequest) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	return r.check(templatesOf(ctx), prefix.String())
}

func (r *notificationRequest) check(templates Templates, prefix string) []error {
	c := checks{prefix: prefix}
	switch {
	case r.Template == "" && r.Content == nil:
		c.add("template", "needs exactly one of template and content", nil)
	case r.Template != "" && r.Content != nil:
		c.add("content", "needs exactly one of template and content", nil)
	case r.Content != nil:
		c.errs = append(c.errs, checkBodies(templates, c.prefix+".content", *r.Content)...)
	case !intake.TemplateRef.MatchString(r.Template):
		c.add("template", "not a template's name or name@version", r.Template)
	}
	if (len(r.To) > 0) == (r.Audience != nil) {
		c.add("to", "needs exactly one of to and audience", nil)
	}
	if r.Audience != nil && (r.Audience.ID != "") == r.Audience.AllUsers {
		c.add("audience", "needs exactly one of id and all_users, which must be true", nil)
	}
	if r.Rate != "" {
		if _, err := notify.ParseRate(r.Rate); err != nil {
			c.add("rate", err.Error(), r.Rate)
		}
	}
	for i, to := range r.To {
		if i >= notify.MaxRecipients {
			break // the schema says so already
		}
		c.recipient(fmt.Sprintf("to[%d]", i), to)
	}
	if repeats(r.Channels) {
		c.add("channels", validation.MsgExpectedArrayItemsUnique, nil)
	}
	c.data(r.Data.Object)
	c.delay(r)
	for i, tag := range r.Tags {
		if n := utf8.RuneCountInString(tag); n == 0 || n > notify.MaxTagLength || hasControl(tag) {
			c.add(fmt.Sprintf("tags[%d]", i), fmt.Sprintf("needs 1 to %d characters, none of them a control character", notify.MaxTagLength), echo(tag))
		}
	}
	c.metadata(r.Metadata)
	return c.errs
}

// checkNow finds what is wrong with a request at this moment and under this
// configuration. A replay is not asked that again: it was right when it came
// first.
func (s *Server) checkNow(r *notificationRequest) error { return r.checkNow(s.Providers, s.now()) }

func (r *notificationRequest) checkNow(providers []string, now time.Time) error {
	var fields []notify.FieldError
	if r.Provider != "" && !slices.Contains(providers, r.Provider) {
		fields = append(fields, notify.FieldError{
			Location: "body.provider", Message: "is none of those configured: " + strings.Join(providers, ", "), Value: r.Provider,
		})
	}
	due := r.due(now)
	if due.After(now.Add(notify.Horizon)) {
		at, value := "body.send_at", r.Delay
		if r.SendAt != nil {
			value = r.SendAt.Format(time.RFC3339)
		} else {
			at = "body.delay"
		}
		fields = append(fields, notify.FieldError{Location: at, Message: "must be within two years (17520h)", Value: value})
	}
	if r.ExpiresAt != nil && (!r.ExpiresAt.After(due) || r.ExpiresAt.After(due.Add(notify.Horizon))) {
		fields = append(fields, notify.FieldError{
			Location: "body.expires_at", Message: "must be in the future and after send_at, by two years at most", Value: r.ExpiresAt.Format(time.RFC3339),
		})
	}
	if fields == nil {
		return nil
	}
	return &notify.Error{Code: notify.CodeInvalid, Fields: fields}
}

// checks collects what is wrong.
type checks struct {
	prefix string
	errs   []error
}

func (c *checks) add(field, message string, value any) {
	c.errs = append(c.errs, fieldError(c.prefix+"."+field, message, value))
}

// repeats says whether an item comes twice. It stands in for uniqueItems, where
// huma panics about items that cannot be the key of a map, such as lists.
func repeats[T comparable](items []T) bool {
	seen := make(map[T]bool, len(items))
	for _, item := range items {
		if seen[item] {
			return true
		}
		seen[item] = true
	}
	return false
}

func (c *checks) recipient(at string, to recipient) {
	for _, fault := range notify.Recipient(to).Faults() {
		field := at
		if fault.Location != "" {
			field += "." + fault.Location
		}
		c.add(field, fault.Message, echo(fault.Value))
	}
}

func (c *checks) data(data notify.Object) {
	if len(data) > notify.MaxDataBytes {
		c.add("data", fmt.Sprintf("is %d bytes long, at most %d are allowed", len(data), notify.MaxDataBytes), nil)
	}
	if hasRecipientKey(data) {
		c.add("data.recipient", "the key is Belfry's own: templates find the recipient under it", nil)
	}
}

func (c *checks) delay(r *notificationRequest) {
	if r.Delay == "" {
		return
	}
	if r.SendAt != nil {
		c.add("delay", "needs at most one of send_at and delay", nil)
	}
	if d, err := time.ParseDuration(r.Delay); err != nil || d < 0 {
		c.add("delay", "not a duration of 0s or more, such as 90s, 10m or 24h", r.Delay)
	}
}

func (c *checks) metadata(metadata map[string]string) {
	if len(metadata) > notify.MaxMetadataKeys {
		c.add("metadata", fmt.Sprintf("has %d keys, at most %d are allowed", len(metadata), notify.MaxMetadataKeys), nil)
	}
	for key, value := range metadata {
		if n := utf8.RuneCountInString(key); n == 0 || n > notify.MaxMetadataKey {
			c.add("metadata", fmt.Sprintf("a key needs 1 to %d characters", notify.MaxMetadataKey), echo(key))
		}
		if utf8.RuneCountInString(value) > notify.MaxMetadata {
			c.add("metadata."+key, fmt.Sprintf("at most %d characters are allowed", notify.MaxMetadata), nil)
		}
	}
}

// hasRecipientKey says whether data uses the key that is Belfry's own.
func hasRecipientKey(data notify.Object) bool {
	if data == "" {
		return false
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(data), &keys); err != nil {
		return false // not an object: the schema says so
	}
	_, there := keys["recipient"]
	return there
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// normal is the request without the defaults that it spells out, and with its
// times in UTC. Hashes of it are kept: a field that is added must be absent
// from its JSON where a request does not have it.
func (r *notificationRequest) normal() notificationRequest {
	short := *r
	if slices.Equal(r.Channels, []notify.Channel{notify.ChannelEmail}) {
		short.Channels = nil
	}
	if r.Priority == notify.PriorityNormal {
		short.Priority = ""
	}
	if r.OnUnknown == notify.OnUnknownResend {
		short.OnUnknown = ""
	}
	if r.ExpiresAt != nil {
		utc := r.ExpiresAt.UTC()
		short.ExpiresAt = &utc
	}
	if r.SendAt != nil {
		utc := r.SendAt.UTC()
		short.SendAt = &utc
	}
	if d, err := time.ParseDuration(r.Delay); err == nil {
		short.Delay = d.String()
	}
	return short
}

// due is when the request is to go out that came at a moment.
func (r *notificationRequest) due(came time.Time) time.Time {
	due := came
	if r.SendAt != nil {
		due = *r.SendAt
	} else if delay, err := time.ParseDuration(r.Delay); err == nil {
		due = came.Add(delay)
	}
	if due.Before(came) {
		return came
	}
	return due
}

// request is what is asked for by one that came at a moment.
func (r *notificationRequest) request(came time.Time) (*notify.Request, error) {
	metadata, err := metadataObject(r.Metadata)
	due := r.due(came)
	return &notify.Request{
		Template:  r.Template,
		Content:   r.Content,
		To:        r.recipients(),
		Audience:  (*notify.Audience)(r.Audience),
		Channels:  r.Channels,
		Data:      r.Data.Object,
		SendAt:    &due,
		ExpiresAt: r.ExpiresAt,
		Priority:  r.Priority,
		Provider:  r.Provider,
		OnUnknown: r.OnUnknown,
		Rate:      notify.Rate(r.Rate),
		Tags:      r.Tags,
		Metadata:  metadata,
	}, err
}

func metadataObject(metadata map[string]string) (notify.Object, error) {
	if len(metadata) == 0 {
		return "", nil
	}
	text, err := json.Marshal(metadata)
	return notify.Object(text), err
}

// recipients is the request's "to" with each recipient once.
func (r *notificationRequest) recipients() []notify.Recipient {
	seen := make(map[notify.Recipient]bool, len(r.To))
	recipients := make([]notify.Recipient, 0, len(r.To))
	for _, to := range r.To {
		named := notify.Recipient(to)
		if !seen[named.Key()] {
			seen[named.Key()] = true
			recipients = append(recipients, named)
		}
	}
	return recipients
}
