// Package strictjson refuses JSON that readers could take for different things.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Check refuses a text that is not one JSON value: one that repeats a key, is
// nested deeper than depth, holds invalid UTF-8 or goes on after its value. The
// error is worded for whoever wrote the text, and quotes no values.
func Check(text []byte, depth int) error {
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		_, err := decoder.ReadToken()
		switch {
		case err != nil:
			return describe(err)
		case decoder.StackDepth() > depth:
			return fmt.Errorf("nested deeper than %d%s", depth, where(decoder.StackPointer()))
		}
		if decoder.StackDepth() == 0 {
			break
		}
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON value")
	}
	return nil
}

// describe words a syntax error without the library's name.
func describe(err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		if errors.Is(err, io.EOF) {
			return errors.New("not JSON: it is empty")
		}
		return fmt.Errorf("not JSON: %w", err)
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return fmt.Errorf("repeated key%s", where(syntax.JSONPointer))
	}
	return fmt.Errorf("not JSON: %s%s, byte %d", strings.TrimPrefix(syntax.Err.Error(), "jsontext: "), where(syntax.JSONPointer), syntax.ByteOffset)
}

// maxPointer is how much is said of a place deep in a text, in bytes.
const maxPointer = 200

func where(pointer jsontext.Pointer) string {
	at := string(pointer)
	if at == "" {
		return ""
	}
	if len(at) > maxPointer {
		at = strings.ToValidUTF8(at[:maxPointer], "") + "..."
	}
	return " at " + at
}
