package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v4"
)

type templatePutCommand struct {
	server
	File string `arg:"" help:"The template, a YAML or JSON file with name, description and channels; a folder with template.yaml, email.subject, email.html, email.txt, inbox.title, inbox.txt and inbox.url; or - for standard input."`
}

// templateFile is a template as its author keeps it.
type templateFile struct {
	Name        string                       `json:"name,omitempty" yaml:"name"`
	Description string                       `json:"description,omitempty" yaml:"description"`
	Channels    map[string]map[string]string `json:"channels" yaml:"channels"`

	// What show adds is allowed, and left out when it is put back.
	Version   int    `json:"version,omitzero" yaml:"version"`
	CreatedAt string `json:"created_at,omitempty" yaml:"created_at"`
}

// Run creates a template or, where there is one of its name, adds a version.
func (c *templatePutCommand) Run(ctx context.Context, env *environment) error {
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
	got, err := client.ask(ctx, http.MethodPost, "/v1/templates", nil, file)
	if isRefused(err, http.StatusConflict) {
		path := templatePath(file.Name)
		file.Name = ""
		got, err = client.ask(ctx, http.MethodPut, path, nil, file)
	}
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
	return env.print(printableLine(t.ref()) + "\n")
}

func (c *templatePutCommand) load(ctx context.Context, env *environment) (*templateFile, error) {
	if c.File == "-" {
		text, err := env.readInput(ctx)
		if err != nil {
			return nil, err
		}
		return parseTemplate(text, json.Valid(text))
	}
	if info, err := os.Stat(c.File); err == nil && info.IsDir() {
		return readTemplateFolder(os.DirFS(c.File))
	}
	text, err := os.ReadFile(c.File)
	if err != nil {
		return nil, withoutPath(err)
	}
	return parseTemplate(text, filepath.Ext(c.File) == ".json" || json.Valid(text))
}

func parseTemplate(text []byte, isJSON bool) (*templateFile, error) {
	return parseFile[templateFile](text, isJSON)
}

// parseFile reads a file strictly, so that nothing in it is passed over in
// silence: an unknown field or one that is there twice is an error.
func parseFile[T any](text []byte, isJSON bool) (*T, error) {
	var file T
	if isJSON {
		return &file, describeJSON(jsonv2.Unmarshal(text, &file, jsonv2.RejectUnknownMembers(true)))
	}
	return &file, describeYAML(yaml.Load(text, &file, yaml.WithKnownFields()))
}

// describeJSON leaves Go's types out of an error.
func describeJSON(err error) error {
	wrong, ok := errors.AsType[*jsonv2.SemanticError](err)
	switch {
	case !ok:
		return err
	case wrong.Err == nil:
		return fmt.Errorf("%s: a %s does not belong here", wrong.JSONPointer, wrong.JSONKind)
	}
	return fmt.Errorf("%s: %w", wrong.JSONPointer, wrong.Err)
}

// describeYAML does so too, and knows the commonest slip.
func describeYAML(err error) error {
	wrong, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		return err
	}
	text, _, _ := strings.Cut(wrong.Message, " in type ")
	if strings.HasPrefix(text, "cannot construct !!map into string") {
		text = "not a text; one that begins with { needs quotes"
	}
	if wrong.Mark.Line > 0 {
		text = fmt.Sprintf("line %d: %s", wrong.Mark.Line, text)
	}
	return errors.New(text)
}

// folderParts are the files of a folder that hold one part of a template each.
var folderParts = []struct{ file, channel, part string }{
	{"email.subject", "email", "subject"},
	{"email.html", "email", "html"},
	{"email.txt", "email", "text"},
	{"inbox.title", "inbox", "title"},
	{"inbox.txt", "inbox", "body"},
	{"inbox.url", "inbox", "url"},
}

// readTemplateFolder puts a template together from template.yaml and a file for
// each part.
func readTemplateFolder(folder fs.FS) (*templateFile, error) {
	text, err := fs.ReadFile(folder, "template.yaml")
	if err != nil {
		return nil, err
	}
	file, err := parseTemplate(text, false)
	if err != nil {
		return nil, fmt.Errorf("template.yaml: %w", err)
	}
	for _, p := range folderParts {
		text, err := fs.ReadFile(folder, p.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if file.Channels == nil {
			file.Channels = map[string]map[string]string{}
		}
		if file.Channels[p.channel] == nil {
			file.Channels[p.channel] = map[string]string{}
		}
		if _, there := file.Channels[p.channel][p.part]; there {
			return nil, fmt.Errorf("%s: template.yaml has it too", p.file)
		}
		value := string(text)
		if p.part != "html" && p.part != "text" && p.part != "body" { // of one line
			value = strings.TrimRight(value, "\r\n")
		}
		file.Channels[p.channel][p.part] = value
	}
	return file, nil
}

// withoutPath is a file error without the path, where that is named already.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
