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

	"github.com/belfry-notify/belfry/internal/notify"
)

type triggerCommand struct {
	List   triggerListCommand   `cmd:"" help:"List the triggers, each in its newest version."`
	Show   triggerShowCommand   `cmd:"" help:"Show a trigger; with -o json as put takes it."`
	Put    triggerPutCommand    `cmd:"" help:"Create a trigger, or define it anew."`
	Test   triggerTestCommand   `cmd:"" help:"See what an event would lead to, and send nothing."`
	Delete triggerDeleteCommand `cmd:"" help:"Delete a trigger."`
}

// triggerView is a trigger as the server shows it.
type triggerView struct {
	Name      string                       `json:"name"`
	Version   int                          `json:"version"`
	CreatedAt time.Time                    `json:"created_at"`
	EventType string                       `json:"event_type"`
	Condition string                       `json:"condition"`
	To        string                       `json:"to"`
	Template  string                       `json:"template"`
	Content   map[string]map[string]string `json:"content"`
	Channels  []string                     `json:"channels"`
	Data      string                       `json:"data"`
	Delay     string                       `json:"delay"`
	Enabled   bool                         `json:"enabled"`
}

func (t triggerView) ref() string { return fmt.Sprintf("%s@%d", t.Name, t.Version) }

func (t triggerView) enabled() string {
	if t.Enabled {
		return "yes"
	}
	return "no"
}

func triggerPath(name string) string { return "/v1/triggers/" + url.PathEscape(name) }

type triggerListCommand struct{ server }

// Run lists the triggers.
func (c *triggerListCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	triggers, err := list[triggerView](ctx, client, "/v1/triggers", nil)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printValue(struct {
			Items []shown[triggerView] `json:"items"`
		}{triggers})
	}
	if len(triggers) == 0 {
		return nil
	}
	rows := [][]string{{"NAME", "VERSION", "EVENT TYPE", "TEMPLATE", "ENABLED", "CONDITION"}}
	for _, t := range triggers {
		rows = append(rows, []string{t.is.Name, strconv.Itoa(t.is.Version), t.is.EventType, t.is.Template, t.is.enabled(), t.is.Condition})
	}
	return env.print(aligned(rows))
}

type triggerShowCommand struct {
	server
	Name string `arg:"" help:"Name of the trigger."`
}

// Run shows a trigger.
func (c *triggerShowCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	got, err := client.ask(ctx, http.MethodGet, triggerPath(c.Name), nil, nil)
	if err != nil {
		return err
	}
	var t triggerView
	if err := got.decode(&t); err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	text := aligned(withValues([][]string{
		{"trigger", t.ref()}, {"created", when(t.CreatedAt)}, {"enabled", t.enabled()}, {"event type", t.EventType}, {"condition", t.Condition},
		{"to", t.To}, {"template", t.Template}, {"channels", strings.Join(t.Channels, ", ")}, {"data", t.Data}, {"delay", t.Delay},
	}))
	for _, channel := range slices.Sorted(maps.Keys(t.Content)) {
		text += "\n" + printableLine(channel) + "\n" + contentText(t.Content[channel])
	}
	return env.print(text)
}

// withValues leaves out the rows without a value.
func withValues(rows [][]string) [][]string {
	return slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" })
}

type triggerTestCommand struct {
	server
	Name  string `arg:"" help:"Name of the trigger."`
	Event string `required:"" help:"The event, a CloudEvent in JSON with as much as the trigger looks at; - reads it from standard input." placeholder:"FILE"`
}

// Run has a trigger meet an event.
func (c *triggerTestCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	event, err := env.readObject(ctx, "--event", fileValue(c.Event))
	if err != nil {
		return err
	}
	got, err := client.ask(ctx, http.MethodPost, triggerPath(c.Name)+"/test", nil, event)
	if err != nil {
		return err
	}
	var tested struct {
		Matched      bool `json:"matched"`
		Notification struct {
			Template string             `json:"template"`
			To       []notify.Recipient `json:"to"`
			Channels []string           `json:"channels"`
			Data     json.RawMessage    `json:"data"`
			SendAt   time.Time          `json:"send_at"`
		} `json:"notification"`
	}
	if err := got.decode(&tested); err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	if !tested.Matched {
		return env.print("not matched\n")
	}
	n := tested.Notification
	rows := [][]string{
		{"matched", "yes"}, {"template", n.Template}, {"channels", strings.Join(n.Channels, ", ")}, {"data", string(n.Data)}, {"send at", when(n.SendAt)},
	}
	for i, to := range n.To {
		if i == shownRecipients {
			rows = append(rows, []string{"", fmt.Sprintf("and %d more", len(n.To)-i)})
			break
		}
		rows = append(rows, []string{[]string{"to", ""}[min(i, 1)], strings.TrimSpace(to.UserID + to.Email + " " + to.Name)})
	}
	return env.print(aligned(withValues(rows)))
}

// shownRecipients is how many recipients are printed.
const shownRecipients = 10

type triggerDeleteCommand struct {
	server
	Name string `arg:"" help:"Name of the trigger."`
}

// Run deletes a trigger.
func (c *triggerDeleteCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	_, err = client.ask(ctx, http.MethodDelete, triggerPath(c.Name), nil, nil)
	return err
}
