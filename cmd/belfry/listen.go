package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belfry-notify/belfry/client"
)

type listenCommand struct {
	server
	User  string `help:"Id of the user whose inbox it is; not needed with the user's own token." placeholder:"ID"`
	Ack   bool   `help:"Acknowledge the items, so that their deliveries are delivered."`
	After string `help:"Cursor to go on from, as -o json shows them; by default what comes from now on is printed." placeholder:"CURSOR"`
}

// Validate refuses to listen for nobody.
func (c *listenCommand) Validate() error {
	if c.User == "" && c.Key == "" {
		return usagef("needs --user, or a user's own token as --key")
	}
	return nil
}

// Run prints what comes into an inbox, live, until it is interrupted.
func (c *listenCommand) Run(ctx context.Context, env *environment) error {
	api, err := c.client(env)
	if err != nil {
		return err
	}
	listener, err := client.New(client.Config{
		URL: api.base, UserID: c.User, After: c.After, Ack: c.Ack,
		Bearer: func(context.Context) (string, error) { return api.key, nil },
		Lost: func(err error, next time.Duration) {
			env.complain(fmt.Sprintf("%v; connecting again in %s", err, next.Round(time.Millisecond)))
		},
	})
	if err != nil {
		return err
	}
	for event, err := range listener.Listen(ctx) {
		if errors.Is(err, context.Canceled) {
			return nil // that is how listening ends
		}
		if err != nil {
			return err
		}
		if err := c.show(env, event); err != nil {
			return err
		}
	}
	return nil
}

// show prints an event: with JSON the frame as it came, a line each, else what a
// person wants to see of it.
func (c *listenCommand) show(env *environment, event client.Event) error {
	if c.asJSON() {
		return env.print(printableJSON(string(event.Frame)) + "\n")
	}
	switch {
	case event.Connected != nil:
		env.complain(fmt.Sprintf("connected, %d unread", event.Connected.Unread))
	case event.Item != nil:
		return env.print(itemText(event.Item))
	case event.Gap:
		env.complain("too much was missed; the rest is in the inbox")
	case event.Problem != nil:
		env.complain(event.Problem.Detail)
	}
	return nil
}

// itemText is an item for people.
func itemText(item *client.Item) string {
	text := when(item.CreatedAt) + "  " + printableLine(item.Title) + "\n"
	if item.Body != "" {
		text += "  " + printableLine(item.Body) + "\n"
	}
	if item.URL != "" {
		text += "  " + printableLine(item.URL) + "\n"
	}
	return text
}
