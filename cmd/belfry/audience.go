package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type audienceCommand struct {
	Put    audiencePutCommand    `cmd:"" help:"Upload a recipient list of any length, for send --audience-id."`
	Show   audienceShowCommand   `cmd:"" help:"Show how many are in an audience."`
	Delete audienceDeleteCommand `cmd:"" help:"Delete an audience and who is in it."`
}

// audience is a recipient list as the server shows it.
type audience struct {
	ID         string    `json:"id"`
	Total      int       `json:"total"`
	Duplicates int       `json:"duplicates"`
	CreatedAt  time.Time `json:"created_at"`
}

type shownAudience = shown[audience]

// decodeAudience reads one; what decodes but has no id came from somebody else
// than Belfry.
func decodeAudience(got answer) (shownAudience, error) {
	var a shownAudience
	if err := got.decode(&a); err != nil {
		return a, err
	}
	if a.is.ID == "" {
		return a, errors.New("read Belfry's answer: it is no audience")
	}
	return a, nil
}

// kept is what became of the lines of an upload.
func (a audience) kept() string {
	return fmt.Sprintf("audience %s: %d kept, %d dropped as duplicates", a.ID, a.Total, a.Duplicates)
}

func audiencePath(id string) string { return "/v1/audiences/" + url.PathEscape(id) }

type audiencePutCommand struct {
	server
	File   string `arg:"" help:"The recipients: a .csv file whose first line names the columns (user_id or email, and name), an .ndjson or .jsonl file of recipients, or - for standard input."`
	Format string `help:"What the file is, csv or ndjson; by default what its name ends in." placeholder:"FORMAT"`
}

// Run uploads an audience.
func (c *audiencePutCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	list, err := newRecipientList(c.File, "--format", c.Format)
	if err != nil {
		return err
	}
	a, err := c.upload(ctx, env, client, list)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(a.text)
	}
	env.complain(a.is.kept())
	return env.print(printableLine(a.is.ID) + "\n")
}

type audienceShowCommand struct {
	server
	ID string `arg:"" help:"Id of the audience."`
}

// Run shows an audience.
func (c *audienceShowCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	got, err := client.ask(ctx, http.MethodGet, audiencePath(c.ID), nil, nil)
	if err != nil {
		return err
	}
	a, err := decodeAudience(got)
	if err != nil {
		return err
	}
	if c.asJSON() {
		return env.printJSON(a.text)
	}
	return env.print(aligned([][]string{
		{"audience", a.is.ID}, {"recipients", strconv.Itoa(a.is.Total)},
		{"duplicates", strconv.Itoa(a.is.Duplicates)}, {"created", when(a.is.CreatedAt)},
	}))
}

type audienceDeleteCommand struct {
	server
	ID string `arg:"" help:"Id of the audience."`
}

// Run deletes an audience.
func (c *audienceDeleteCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	_, err = client.ask(ctx, http.MethodDelete, audiencePath(c.ID), nil, nil)
	return err
}
