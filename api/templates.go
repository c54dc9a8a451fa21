package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-notify/belfry/internal/notify"
)

// serverKey is under which a request's context holds the Server, so that what
// its schema cannot say is checked together with everything else.
type serverKey struct{}

// TemplateName is the template that a path names.
type TemplateName struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" example:"welcome"`
}

// TemplateBody is what a template and its next versions are made of.
type TemplateBody struct {
	Description string        `json:"description,omitempty" maxLength:"1000"`
	Channels    notify.Bodies `json:"channels"`
}

// Resolve checks the Liquid of every part.
func (b *TemplateBody) Resolve(ctx huma.Context, prefix *huma.PathBuffer) []error {
	return checkBodies(templatesOf(ctx), prefix.String()+".channels", b.Channels)
}

func templatesOf(ctx huma.Context) Templates {
	s, _ := ctx.Context().Value(serverKey{}).(*Server)
	return s.Templates
}

var (
	_ huma.ResolverWithPath = (*TemplateBody)(nil)
	_ huma.ResolverWithPath = (*notificationRequest)(nil)
	_ huma.ResolverWithPath = (*previewRequest)(nil)
)

type templateOutput struct{ Body *notify.Template }

type createTemplateInput struct {
	Body struct {
		Name string `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" example:"welcome"`
		TemplateBody
	}
}

type previewInput struct {
	TemplateName
	Body previewRequest
}

type previewRequest struct {
	Data      object            `json:"data,omitempty" doc:"What the template sees, up to 64 KiB"`
	Recipient *previewRecipient `json:"recipient,omitempty"`
	Channel   notify.Channel    `json:"channel,omitempty" enum:"email,inbox" doc:"By default email, or inbox where the template has no mail"`
	Version   int               `json:"version,omitempty" minimum:"1"`
}

// Resolve checks the data as that of a notification.
func (r *previewRequest) Resolve(_ huma.Context, prefix *huma.PathBuffer) []error {
	c := checks{prefix: prefix.String()}
	c.data(r.Data.Object)
	return c.errs
}

type previewRecipient struct {
	ID       string `json:"id,omitempty" maxLength:"256"`
	Email    string `json:"email,omitempty" maxLength:"320"`
	Name     string `json:"name,omitempty" maxLength:"256"`
	Locale   string `json:"locale,omitempty" maxLength:"64"`
	TimeZone string `json:"time_zone,omitempty" maxLength:"64"`
}

type preview struct {
	Channel notify.Channel `json:"channel"`
	Content *contentView   `json:"content"`
}

func (s *Server) templateRoutes(api huma.API) {
	huma.Register(api, route(http.MethodPost, "/v1/templates", "create-template", "Create a template", http.StatusCreated, http.StatusConflict),
		func(ctx context.Context, in *createTemplateInput) (*templateOutput, error) {
			t := s.template(in.Body.Name, in.Body.TemplateBody)
			if err := s.Store.CreateTemplate(ctx, t); err != nil {
				return nil, s.fail(err)
			}
			return &templateOutput{Body: t}, nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/templates", "list-templates", "List templates, each in its newest version", http.StatusOK),
		func(ctx context.Context, in *struct{ Page }) (*listingOutput[notify.Template], error) {
			after, err := in.afterKey()
			if err != nil {
				return nil, s.fail(err)
			}
			templates, err := s.Store.ListTemplates(ctx, after, in.Limit+1)
			if err != nil {
				return nil, s.fail(err)
			}
			return cut(templates, in.Limit, func(t notify.Template) any { return t.Name }), nil
		})
	huma.Register(api, route(http.MethodGet, "/v1/templates/{name}", "get-template", "Read a template", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *struct {
			TemplateName
			Version int `query:"version" minimum:"1" doc:"The newest one by default"`
		}) (*templateOutput, error) {
			t, err := s.Store.VisibleTemplate(ctx, in.Name, in.Version)
			if err != nil {
				return nil, s.fail(err)
			}
			return &templateOutput{Body: t}, nil
		})
	huma.Register(api, route(http.MethodPut, "/v1/templates/{name}", "update-template", "Add a version to a template", http.StatusOK, http.StatusNotFound),
		func(ctx context.Context, in *struct {
			TemplateName
			Body TemplateBody
		}) (*templateOutput, error) {
			t := s.template(in.Name, in.Body)
			if err := s.Store.UpdateTemplate(ctx, t); err != nil {
				return nil, s.fail(err)
			}
			return &templateOutput{Body: t}, nil
		})
	huma.Register(api, route(http.MethodDelete, "/v1/templates/{name}", "delete-template", "Hide a template", http.StatusNoContent, http.StatusNotFound),
		func(ctx context.Context, in *TemplateName) (*struct{}, error) {
			if err := s.Store.DeleteTemplate(ctx, in.Name, s.now()); err != nil {
				return nil, s.fail(err)
			}
			return nil, nil
		})
	huma.Register(api, route(http.MethodPost, "/v1/templates/{name}/preview", "preview-template", "Render a template and send nothing", http.StatusOK, http.StatusNotFound),
		s.preview)
}

func (s *Server) template(name string, body TemplateBody) *notify.Template {
	return &notify.Template{Name: name, Description: body.Description, CreatedAt: s.now(), Channels: body.Channels}
}

func (s *Server) preview(ctx context.Context, in *previewInput) (*struct{ Body preview }, error) {
	t, err := s.Store.VisibleTemplate(ctx, in.Name, in.Body.Version)
	if err != nil {
		return nil, s.fail(err)
	}
	channel := in.Body.Channel
	if channel == "" {
		channel = notify.ChannelEmail
		if !t.Channels.Has(channel) {
			channel = notify.ChannelInbox
		}
	}
	if !t.Channels.Has(channel) {
		return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{{
			Location: "body.channel", Message: "the template has no content for it", Value: channel,
		}}})
	}
	var to notify.User
	if r := in.Body.Recipient; r != nil {
		to = notify.User{ID: r.ID, Email: r.Email, Name: r.Name, Locale: r.Locale, TimeZone: r.TimeZone}
	}
	rendered, err := s.render(ctx, channel, t.Channels, in.Body.Data.Object, to)
	if err != nil {
		return nil, s.fail(inTemplate(err))
	}
	return &struct{ Body preview }{preview{Channel: channel, Content: viewContent(rendered)}}, nil
}

// render renders what there is for a channel.
func (s *Server) render(ctx context.Context, channel notify.Channel, of notify.Bodies, data notify.Object, to notify.User) (*notify.Bodies, error) {
	if channel == notify.ChannelInbox {
		item, err := s.Templates.Inbox(ctx, *of.Inbox, data, to)
		return &notify.Bodies{Inbox: &item}, err
	}
	mail, err := s.Templates.Email(ctx, *of.Email, data, to)
	return &notify.Bodies{Email: &mail}, err
}

// inTemplate locates the faults of a rendering as those of a template are: in
// its channels. They are not in the request.
func inTemplate(err error) error {
	var e *notify.Error
	if !errors.As(err, &e) {
		return err
	}
	located := *e
	located.Fields = slices.Clone(e.Fields)
	for i, f := range located.Fields {
		if f.Location == "data" {
			located.Fields[i].Location = "body.data"
		} else {
			located.Fields[i].Location = "channels." + f.Location
		}
	}
	return &located
}
