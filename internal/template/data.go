package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/belfry-notify/belfry/internal/notify"
)

var errObject = errors.New("not a JSON object")

// decode reads the text of a JSON object into values that Liquid knows.
func decode(data notify.Object) (map[string]any, error) {
	if len(data) > notify.MaxDataBytes {
		return nil, fmt.Errorf("longer than %d bytes", notify.MaxDataBytes)
	}
	if data == "" {
		return nil, nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, errObject
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errObject
	}
	for key, value := range object {
		object[key] = fromJSON(value)
	}
	return object, nil
}

// fromJSON replaces the numbers in a decoded value.
func fromJSON(value any) any {
	switch v := value.(type) {
	case json.Number:
		return fromNumber(v.String())
	case []any:
		for i, item := range v {
			v[i] = fromJSON(item)
		}
	case map[string]any:
		for key, item := range v {
			v[key] = fromJSON(item)
		}
	}
	return value
}

// fromNumber keeps the digits of an integer: as an int, or as text where it
// does not fit. Other numbers are floats.
func fromNumber(number string) any {
	if n, err := strconv.Atoi(number); err == nil {
		return n
	}
	if strings.ContainsAny(number, ".eE") {
		if f, err := strconv.ParseFloat(number, 64); err == nil {
			return f
		}
	}
	return number
}

// recipientOf is what templates see as recipient. What is not known is empty,
// not missing, so that it can be printed and has a default.
func recipientOf(to notify.User) map[string]any {
	return map[string]any{
		"id":        to.ID,
		"email":     to.Email,
		"name":      to.Name,
		"locale":    to.Locale,
		"time_zone": to.TimeZone,
	}
}
