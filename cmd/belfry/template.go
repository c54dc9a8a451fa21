package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type templateCommand struct {
	List    templateListCommand    `cmd:"" help:"List the templates, each in its newest version."`
	Show    templateShowCommand    `cmd:"" help:"Show a template; with -o json as put takes it."`
	Put     templatePutCommand     `cmd:"" help:"Create a template, or add a version to it."`
	Preview templatePreviewCommand `cmd:"" help:"Render a template and send nothing."`
}

// templateView is a template as the server shows it. Channels has
// the parts of each by their names.
type templateView struct {
	Name        string                       `json:"name"`
	Version     int                          `json:"version"`
	Description string                       `json:"description"`
	CreatedAt   time.Time                    `json:"created_at"`
	Channels    map[string]map[string]string `json:"channels"`
}

func (t templateView) ref() string { return fmt.Sprintf("%s@%d", t.Name, t.Version) }

func templatePath(name string) string { return "/v1/templates/" + url.PathEscape(name) }

type templateListCommand struct{ server }

// Run lists the templates.
func (c *templateListCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	templates, err := list[templateView](ctx, client, "/v1/templates", nil)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printValue(struct {
			Items []shown[templateView] `json:"items"`
		}{templates})
	}
	if len(templates) == 0 {
		return nil
	}
	rows := [][]string{{"NAME", "VERSION", "CREATED", "CHANNELS", "DESCRIPTION"}}
	for _, t := range templates {
		rows = append(rows, []string{
			t.is.Name, strconv.Itoa(t.is.Version), when(t.is.CreatedAt),
			strings.Join(slices.Sorted(maps.Keys(t.is.Channels)), ", "), t.is.Description,
		})
	}
	return env.print(aligned(rows))
}

type templateShowCommand struct {
	server
	Name    string `arg:"" help:"Name of the template."`
	Version int    `help:"Version to show; the newest one by default." placeholder:"N"`
}

// Run shows a template.
func (c *templateShowCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	path := templatePath(c.Name)
	if c.Version != 0 {
		path += "?version=" + strconv.Itoa(c.Version)
	}
	got, err := client.ask(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	var t templateView
	if err := got.decode(&t); err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	rows := [][]string{{"template", t.ref()}, {"created", when(t.CreatedAt)}}
	if t.Description != "" {
		rows = append(rows, []string{"description", t.Description})
	}
	text := aligned(rows)
	for _, channel := range slices.Sorted(maps.Keys(t.Channels)) {
		text += "\n" + printableLine(channel) + "\n" + contentText(t.Channels[channel])
	}
	return env.print(text)
}

type templatePreviewCommand struct {
	server
	Name       string `arg:"" help:"Name of the template."`
	Version    int    `help:"Version to render; the newest one by default." placeholder:"N"`
	Channel    string `help:"Channel to render for; email by default, or inbox where there is no mail." placeholder:"NAME"`
	Data       string `help:"What the template sees, a JSON object; @FILE reads it from a file, - from standard input." placeholder:"JSON" default:"{}"`
	ToName     string `help:"Name of the recipient it sees." placeholder:"NAME"`
	ToEmail    string `help:"Address of the recipient it sees." placeholder:"ADDRESS"`
	ToID       string `help:"User id of the recipient it sees." placeholder:"ID" name:"to-id"`
	ToLocale   string `help:"Locale of the recipient it sees, such as pt-BR." placeholder:"TAG"`
	ToTimeZone string `help:"Time zone of the recipient it sees, such as Europe/Lisbon." placeholder:"ZONE"`
}

type previewRequest struct {
	Data      json.RawMessage  `json:"data"`
	Recipient previewRecipient `json:"recipient"`
	Channel   string           `json:"channel,omitempty"`
	Version   int              `json:"version,omitempty"`
}

type previewRecipient struct {
	ID       string `json:"id,omitempty"`
	Email    string `json:"email,omitempty"`
	Name     string `json:"name,omitempty"`
	Locale   string `json:"locale,omitempty"`
	TimeZone string `json:"time_zone,omitempty"`
}

// Run renders a template.
func (c *templatePreviewCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	data, err := env.readObject(ctx, "--data", c.Data)
	if err != nil {
		return err
	}
	got, err := client.ask(ctx, http.MethodPost, templatePath(c.Name)+"/preview", nil, previewRequest{
		Data: data, Channel: c.Channel, Version: c.Version,
		Recipient: previewRecipient{ID: c.ToID, Email: c.ToEmail, Name: c.ToName, Locale: c.ToLocale, TimeZone: c.ToTimeZone},
	})
	if err != nil {
		return err
	}
	var preview struct {
		Content map[string]string `json:"content"`
	}
	if err := got.decode(&preview); err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	return env.print(contentText(preview.Content))
}

// contentText lays out the parts of a channel's content: what is one line
// first, then each longer text under its name.
func contentText(parts map[string]string) string {
	lines := [][]string{}
	texts := ""
	for _, part := range partOrder(parts) {
		switch part {
		case "text", "html", "body":
			texts += fmt.Sprintf("\n--- %s\n%s\n", part, strings.TrimRight(printable(parts[part]), "\n"))
		default:
			lines = append(lines, []string{part, parts[part]})
		}
	}
	return aligned(lines) + texts
}

// partOrder is the names of parts as a reader wants them.
func partOrder(parts map[string]string) []string {
	order := []string{"subject", "title", "from", "reply_to", "url", "text", "html", "body"}
	order = slices.DeleteFunc(order, func(part string) bool { _, there := parts[part]; return !there })
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if !slices.Contains(order, part) {
			order = append(order, part)
		}
	}
	return order
}
