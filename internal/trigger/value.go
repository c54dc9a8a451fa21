package trigger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
)

// seen is an event as expressions see it.
type seen struct {
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Type    string    `json:"type"`
	Subject string    `json:"subject"`
	Time    time.Time `json:"time"`
	Data    any       `json:"data"`
}

// see is what expressions see of an event. One without a time happens now.
func see(e *event.Event, now time.Time) (*seen, error) {
	data, err := decode(e.Data)
	if err != nil {
		return nil, err
	}
	at := e.Time
	if at.IsZero() {
		at = now
	}
	return &seen{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: at.UTC(), Data: data}, nil
}

// value is the event as an object, which can be data.
func (e *seen) value() ref.Val {
	return types.DefaultTypeAdapter.NativeToValue(map[string]any{
		"id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject, "time": e.Time, "data": e.Data,
	})
}

// decode reads an event's data; nil where there is none.
func decode(text json.RawMessage) (any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if len(text) > event.MaxBytes {
		return nil, fmt.Errorf("is %d bytes long, at most %d are allowed", len(text), event.MaxBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, errors.New("is not JSON")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("is not JSON")
	}
	return withNumbers(value), nil
}

// withNumbers makes integers of the numbers in a decoded value, so that they
// keep their digits, and doubles of the others. What does not fit is text, as it
// is for templates.
func withNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return f
		}
		return v.String()
	case []any:
		for i, item := range v {
			v[i] = withNumbers(item)
		}
	case map[string]any:
		for key, item := range v {
			v[key] = withNumbers(item)
		}
	}
	return value
}

// object is the data of a notification that a value stands for.
func object(value ref.Val) (notify.Object, error) {
	if seen, ok := value.Value().(*seen); ok {
		value = seen.value()
	}
	fields, ok := value.(traits.Mapper)
	if !ok {
		return "", mustBe(wantsObject, value)
	}
	if fields.Contains(types.String("recipient")) == types.True {
		return "", fault{".recipient", "the key is Belfry's own: templates find the recipient under it"}
	}
	text, err := appendJSON(nil, value)
	if string(text) == "{}" {
		return "", err
	}
	return notify.Object(text), err
}

// kind is the type of a value, for error texts.
func kind(value ref.Val) string {
	return strings.TrimSuffix(strings.TrimPrefix(value.Type().TypeName(), "google.protobuf."), "_type")
}

var tooLong = fault{message: fmt.Sprintf("is longer than %d bytes", notify.MaxDataBytes)}

// appendJSON writes a value as JSON, until that is longer than data may be. The
// same value gives the same text.
func appendJSON(text []byte, value ref.Val) ([]byte, error) {
	var err error
	switch v := value.(type) {
	case types.Null:
		text = append(text, "null"...)
	case types.Bool:
		text = strconv.AppendBool(text, bool(v))
	case types.Int:
		text = strconv.AppendInt(text, int64(v), 10)
	case types.Uint:
		text = strconv.AppendUint(text, uint64(v), 10)
	case types.Double:
		var number []byte
		if number, err = json.Marshal(float64(v)); err != nil {
			return nil, fault{message: "is a number that JSON does not know"}
		}
		text = append(text, number...)
	case types.String:
		text, err = jsontext.AppendQuote(text, string(v))
	case types.Timestamp:
		text, err = jsontext.AppendQuote(text, v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		text, err = jsontext.AppendQuote(text, v.String())
	case traits.Mapper:
		text, err = appendObject(text, v)
	case traits.Lister:
		text, err = appendList(text, v)
	default:
		seen, ok := value.Value().(*seen)
		if !ok {
			return nil, fault{message: "is " + kind(value) + ", which JSON does not know"}
		}
		text, err = appendJSON(text, seen.value())
	}
	if err == nil && len(text) > notify.MaxDataBytes {
		err = tooLong
	}
	return text, err
}

func appendObject(text []byte, fields traits.Mapper) ([]byte, error) {
	var keys []string
	for it := fields.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			return nil, fault{message: "has a key that is no string"}
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	text = append(text, '{')
	for i, key := range keys {
		if i > 0 {
			text = append(text, ',')
		}
		var err error
		if text, err = jsontext.AppendQuote(text, key); err != nil {
			return nil, err
		}
		if text, err = appendJSON(append(text, ':'), fields.Get(types.String(key))); err != nil {
			return nil, within("."+key, err)
		}
	}
	return append(text, '}'), nil
}

func appendList(text []byte, items traits.Lister) ([]byte, error) {
	text = append(text, '[')
	size, _ := items.Size().(types.Int)
	for i := range size {
		if i > 0 {
			text = append(text, ',')
		}
		var err error
		if text, err = appendJSON(text, items.Get(i)); err != nil {
			return nil, within(fmt.Sprintf("[%d]", i), err)
		}
	}
	return append(text, ']'), nil
}

// within locates a fault in what it was found in. That all of it is too long is
// no fault of a part.
func within(step string, err error) error {
	var f fault
	if !errors.As(err, &f) || f == tooLong {
		return err
	}
	return fault{step + f.path, f.message}
}
