package api

import (
	"errors"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/schedule"
	"github.com/belfry-notify/belfry/internal/trigger"
)

// TriggerName is the trigger that a path names.
type TriggerName struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" example:"order-placed"`
}

type createTriggerInput struct {
	Body struct {
		Name string `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" example:"order-placed"`
		TriggerBody
	}
}

// TriggerBody is what a trigger is made of. Its expressions are CEL and see
// event (id, source, type, subject, time, data) and now.
type TriggerBody struct {
	EventType string           `json:"event_type" minLength:"1" maxLength:"256" example:"shop.order.placed" doc:"The type of the events that it is for"`
	Condition string           `json:"condition,omitempty" maxLength:"4096" example:"event.data.total > 100" doc:"CEL: whether an event is told of; each is by default. Expressions see event (id, source, type, subject, time, data) and now"`
	To        string           `json:"to" maxLength:"4096" example:"event.data.user_id" doc:"CEL: who is told, a user id, a recipient {'email': ..., 'name': ...} or a list of these; somebody named twice is told once, of an empty list nobody"`
	Template  string           `json:"template,omitempty" maxLength:"80" example:"welcome" doc:"A template's name, or name@version. Exactly one of template and content"`
	Content   *notify.Bodies   `json:"content,omitempty" doc:"Free-form content, Liquid too"`
	Channels  []notify.Channel `json:"channels,omitempty" enum:"email,inbox" minItems:"1" nullable:"false" doc:"Each recipient gets each, none twice; [\"email\"] by default"`
	Data      string           `json:"data,omitempty" maxLength:"4096" example:"{'film': event.data.film}" doc:"CEL: the object that the template sees, up to 64 KiB"`
	Delay     string           `json:"delay,omitempty" example:"90m" maxLength:"32" doc:"After how long it is to go out, such as 90s, 10m or 24h, up to two years; at once by default"`
	Enabled   *bool            `json:"enabled,omitempty" doc:"false leaves its events alone; true by default"`
}

// Resolve finds everything that is wrong with a trigger beyond its schema.
func (b *TriggerBody) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	errs := b.notification().Resolve(ctx, prefix)
	c := checks{prefix: prefix.String()}
	if hasControl(b.EventType) {
		c.add("event_type", "must not hold control characters", nil)
	}
	if b.EventType == event.SendType {
		c.add("event_type", "an event of this type is a notification by itself, and needs no trigger", b.EventType)
	}
	_, err := trigger.Compile(b.definition("", time.Time{}))
	var wrong *notify.Error
	if errors.As(err, &wrong) {
		for _, f := range wrong.Fields {
			c.add(strings.TrimPrefix(f.Location, "body."), f.Message, nil)
		}
	}
	return append(errs, c.errs...)
}

var _ huma.ResolverWithPath = (*TriggerBody)(nil)

// notification is a request as events lead to it, but for its recipients and
// data, to be checked as all requests are.
func (b *TriggerBody) notification() *notificationRequest {
	return &notificationRequest{
		Template: b.Template, Content: b.Content, Channels: b.Channels, Delay: b.Delay, To: []recipient{{UserID: "somebody"}},
	}
}

// definition is what a body defines. A delay that is none is 0.
func (b *TriggerBody) definition(name string, at time.Time) *trigger.Definition {
	delay, err := time.ParseDuration(b.Delay)
	if err != nil { // Resolve has said so, or there is none
		delay = 0
	}
	return &trigger.Definition{
		Name: name, CreatedAt: at, EventType: b.EventType, Condition: b.Condition, To: b.To, Template: b.Template, Content: b.Content,
		Channels: b.Channels, Data: b.Data, Delay: delay, Enabled: b.Enabled == nil || *b.Enabled,
	}
}

// triggerView is a trigger as callers see it.
type triggerView struct {
	Name      string           `json:"name"`
	Version   int              `json:"version"`
	CreatedAt time.Time        `json:"created_at" doc:"Of this version"`
	EventType string           `json:"event_type"`
	Condition string           `json:"condition,omitempty"`
	To        string           `json:"to"`
	Template  string           `json:"template,omitempty"`
	Content   *notify.Bodies   `json:"content,omitempty"`
	Channels  []notify.Channel `json:"channels,omitempty" enum:"email,inbox" nullable:"false"`
	Data      string           `json:"data,omitempty"`
	Delay     string           `json:"delay,omitempty"`
	Enabled   bool             `json:"enabled"`
}

func viewTrigger(d *trigger.Definition) triggerView {
	view := triggerView{
		Name: d.Name, Version: d.Version, CreatedAt: d.CreatedAt.UTC(), EventType: d.EventType, Condition: d.Condition, To: d.To,
		Template: d.Template, Content: d.Content, Channels: d.Channels, Data: d.Data, Enabled: d.Enabled,
	}
	if d.Delay > 0 {
		view.Delay = schedule.Short(d.Delay)
	}
	return view
}
