package idp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// decodeUsers reads the entries of a users file, unchecked.
func decodeUsers(name string, text []byte) ([]userEntry, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // a byte order mark
	switch {
	case !utf8.Valid(text):
		return nil, errors.New("not in UTF-8")
	case len(bytes.TrimSpace(text)) == 0: // such as one that is just being written
		return nil, errors.New("empty; a list of no users is []")
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return decodeJSON(text)
	case ".yaml", ".yml":
		return decodeYAML(text)
	default:
		return nil, errors.New("the name must end in .json, .yaml or .yml")
	}
}

func decodeJSON(text []byte) ([]userEntry, error) {
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
			line := 1 + bytes.Count(text[:wrong.Offset], []byte("\n"))
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		return nil, err
	}
	list, ok := document.([]any)
	if !ok {
		return nil, errors.New("not a list of users")
	}
	entries := make([]userEntry, len(list))
	for i, item := range list {
		if err := entries[i].fromJSON(item); err != nil {
			return nil, entryError(i, entries[i].ID, err)
		}
	}
	return entries, nil
}

func (e *userEntry) fromJSON(item any) error {
	object, ok := item.(map[string]any)
	if !ok {
		return errors.New("not an object")
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value, ok := object[name].(string)
		if !ok && object[name] != nil { // null is as good as missing
			return fmt.Errorf("%q: not a string", name)
		}
		if err := e.set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// decodeYAML takes every scalar as it is written: an unquoted phone number or
// a name such as "no" is text too.
func decodeYAML(text []byte) ([]userEntry, error) {
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		if wrong, ok := errors.AsType[*yaml.LoadError](err); ok {
			return nil, fmt.Errorf("line %d: %s", max(1, wrong.Mark.Line), wrong.Message)
		}
		return nil, err
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.SequenceNode {
		return nil, errors.New("not a list of users")
	}
	list := document.Content[0].Content
	entries := make([]userEntry, len(list))
	for i, item := range list {
		if err := entries[i].fromYAML(item); err != nil {
			return nil, entryError(i, entries[i].ID, err)
		}
	}
	return entries, nil
}

func (e *userEntry) fromYAML(item *yaml.Node) error {
	if item.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: not a mapping of fields", item.Line)
	}
	for i := 0; i+1 < len(item.Content); i += 2 {
		name, value := item.Content[i], item.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if name.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: %q: not a plain value", name.Line, name.Value)
		}
		text := value.Value
		if value.ShortTag() == "!!null" {
			text = ""
		}
		if err := e.set(name.Value, text); err != nil {
			return fmt.Errorf("line %d: %w", name.Line, err)
		}
	}
	return nil
}
