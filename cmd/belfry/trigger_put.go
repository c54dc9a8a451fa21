package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

type triggerPutCommand struct {
	server
	File string `arg:"" help:"The trigger, a YAML or JSON file with name and what the API takes; or - for standard input."`
}

// triggerFile is a trigger as its author keeps it.
type triggerFile struct {
	Name      string                       `json:"name,omitempty" yaml:"name"`
	EventType string                       `json:"event_type,omitempty" yaml:"event_type"`
	Condition string                       `json:"condition,omitempty" yaml:"condition"`
	To        string                       `json:"to,omitempty" yaml:"to"`
	Template  string                       `json:"template,omitempty" yaml:"template"`
	Content   map[string]map[string]string `json:"content,omitempty" yaml:"content"`
	Channels  []string                     `json:"channels,omitempty" yaml:"channels"`
	Data      string                       `json:"data,omitempty" yaml:"data"`
	Delay     string                       `json:"delay,omitempty" yaml:"delay"`
	Enabled   *bool                        `json:"enabled,omitempty" yaml:"enabled"`

	// What show adds is allowed, and left out when it is put back.
	Version   int    `json:"version,omitzero" yaml:"version"`
	CreatedAt string `json:"created_at,omitempty" yaml:"created_at"`
}

// Run creates a trigger or, where there is one of its name, defines it anew.
func (c *triggerPutCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	file, err := c.load(ctx, env)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if file.Name == "" {
		return fmt.Errorf("%s: has no name", c.File)
	}
	file.Version, file.CreatedAt = 0, ""
	got, err := client.ask(ctx, http.MethodPost, "/v1/triggers", nil, file)
	if isRefused(err, http.StatusConflict) {
		path := triggerPath(file.Name)
		file.Name = ""
		got, err = client.ask(ctx, http.MethodPut, path, nil, file)
	}
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
	return env.print(printableLine(t.ref()) + "\n")
}

func (c *triggerPutCommand) load(ctx context.Context, env *environment) (*triggerFile, error) {
	text, err := env.read(ctx, fileValue(c.File))
	if err != nil {
		return nil, withoutPath(err)
	}
	return parseFile[triggerFile]([]byte(text), json.Valid([]byte(text)))
}

// fileValue is the value of a flag that reads a file, or standard input for -.
func fileValue(file string) string {
	if file == "-" {
		return file
	}
	return "@" + file
}
