package audience

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/belfry-notify/belfry/internal/notify"
)

// NDJSON reads a JSON object a line, with the keys user_id, email and name, each
// at most once and a string. Blank lines are passed over. It ends with the first
// error: a *LineError, or what reading came to.
func NDJSON(from io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		lines := bufio.NewReaderSize(from, MaxLine+len("\r\n"))
		decoder := jsontext.NewDecoder(bytes.NewReader(nil))
		for number := 1; ; number++ {
			text, err := lines.ReadSlice('\n')
			ended := errors.Is(err, io.EOF)
			if errors.Is(err, bufio.ErrBufferFull) || len(bytes.TrimRight(text, "\r\n")) > MaxLine {
				err = tooLong(number)
			}
			if err != nil && !ended {
				yield(Line{}, err)
				return
			}
			if text = bytes.Trim(text, " \t\r\n"); len(text) > 0 {
				decoder.Reset(bytes.NewReader(text))
				recipient, err := readObject(decoder)
				if err != nil {
					yield(Line{}, &LineError{Line: number, Problem: err.Error()})
					return
				}
				if !yield(Line{Number: number, Recipient: recipient}, nil) {
					return
				}
			}
			if ended {
				return
			}
		}
	}
}

// readObject reads the one object of a line.
func readObject(decoder *jsontext.Decoder) (notify.Recipient, error) {
	var recipient notify.Recipient
	begin, err := decoder.ReadToken()
	if err != nil {
		return recipient, describeJSON(err)
	}
	if begin.Kind() != '{' {
		return recipient, errors.New("is not a JSON object")
	}
	for {
		key, err := decoder.ReadToken()
		if err != nil {
			return recipient, describeJSON(err)
		}
		if key.Kind() == '}' {
			break
		}
		field := key.String() // a token is gone with the next one
		value, err := decoder.ReadToken()
		if err != nil {
			return recipient, describeJSON(err)
		}
		text := ""
		if value.Kind() == '"' {
			text = value.String()
		}
		if !set(&recipient, field, text) {
			return recipient, fmt.Errorf("unknown field %.64q", field)
		}
		if value.Kind() != '"' {
			return recipient, fmt.Errorf("%s is not a string", field)
		}
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return recipient, errors.New("there is more after the JSON object")
	}
	return recipient, nil
}

// describeJSON words a syntax error without the library's name and without
// quoting the line.
func describeJSON(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case !errors.As(err, &syntax):
		return fmt.Errorf("not JSON: %w", err)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fmt.Errorf("repeated key %.64q", syntax.JSONPointer.LastToken())
	}
	return fmt.Errorf("not JSON: %s, byte %d", strings.TrimPrefix(syntax.Err.Error(), "jsontext: "), syntax.ByteOffset)
}
