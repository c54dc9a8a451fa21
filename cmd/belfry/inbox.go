package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type inboxCommand struct {
	List    inboxListCommand    `cmd:"" help:"List what is in a user's inbox, newest first."`
	Read    inboxReadCommand    `cmd:"" help:"Mark items as read."`
	Unread  inboxUnreadCommand  `cmd:"" help:"Mark items as not read."`
	Archive inboxArchiveCommand `cmd:"" help:"Archive items."`
	ReadAll inboxReadAllCommand `cmd:"" help:"Mark all items of a user as read."`
}

// inboxOf is whose inbox a command is about.
type inboxOf struct {
	server
	User string `required:"" help:"Id of the user." placeholder:"ID"`
}

func (o inboxOf) path() string { return "/v1/users/" + url.PathEscape(o.User) + "/inbox" }

// itemView is an item as the server shows it.
type itemView struct {
	ID         string     `json:"id"`
	Title      string     `json:"title"`
	CreatedAt  time.Time  `json:"created_at"`
	SeenAt     *time.Time `json:"seen_at"`
	ReadAt     *time.Time `json:"read_at"`
	ArchivedAt *time.Time `json:"archived_at"`
}

// state is the most that was done with an item.
func (i itemView) state() string {
	switch {
	case i.ArchivedAt != nil:
		return "archived"
	case i.ReadAt != nil:
		return "read"
	case i.SeenAt != nil:
		return "seen"
	default:
		return "new"
	}
}

func itemTable(items []shown[itemView]) string {
	rows := [][]string{{"ID", "CREATED", "STATE", "TITLE"}}
	for _, i := range items {
		rows = append(rows, []string{i.is.ID, when(i.is.CreatedAt), i.is.state(), i.is.Title})
	}
	return aligned(rows)
}

type inboxListCommand struct {
	inboxOf
	Unread   bool `help:"Only what was not read."`
	Archived bool `help:"What was archived, too."`
}

// Run lists an inbox.
func (c *inboxListCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	query := url.Values{}
	if c.Unread {
		query.Set("unread", "true")
	}
	if c.Archived {
		query.Set("archived", "true")
	}
	items, err := list[itemView](ctx, client, c.path(), query)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printValue(struct {
			Items []shown[itemView] `json:"items"`
		}{items})
	}
	if len(items) == 0 {
		return nil
	}
	return env.print(itemTable(items))
}

// changedItems are items that something is done with.
type changedItems struct {
	inboxOf
	Items []string `arg:"" name:"item" help:"Ids of the items."`
}

type (
	inboxReadCommand    struct{ changedItems }
	inboxUnreadCommand  struct{ changedItems }
	inboxArchiveCommand struct{ changedItems }
)

// Run marks items as read.
func (c *inboxReadCommand) Run(ctx context.Context, env *environment) error {
	return c.change(ctx, env, "read")
}

// Run marks items as not read.
func (c *inboxUnreadCommand) Run(ctx context.Context, env *environment) error {
	return c.change(ctx, env, "unread")
}

// Run archives items.
func (c *inboxArchiveCommand) Run(ctx context.Context, env *environment) error {
	return c.change(ctx, env, "archive")
}

// change changes the items one after the other, and shows them as they are then.
func (c *changedItems) change(ctx context.Context, env *environment, what string) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	var items []shown[itemView]
	for _, id := range c.Items {
		got, err := client.ask(ctx, http.MethodPost, c.path()+"/"+url.PathEscape(id)+"/"+what, nil, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		var item shown[itemView]
		if err := got.decode(&item); err != nil {
			return err
		}
		items = append(items, item)
	}
	if c.asJSON() {
		return env.printValue(struct {
			Items []shown[itemView] `json:"items"`
		}{items})
	}
	return env.print(itemTable(items))
}

type inboxReadAllCommand struct{ inboxOf }

// Run marks all items of a user as read.
func (c *inboxReadAllCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	got, err := client.ask(ctx, http.MethodPost, c.path()+"/read-all", nil, nil)
	if err != nil {
		return err
	}
	var left struct {
		Unread int `json:"unread"`
	}
	if err := got.decode(&left); err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(got.text)
	}
	return env.print(fmt.Sprintf("%d unread\n", left.Unread))
}
