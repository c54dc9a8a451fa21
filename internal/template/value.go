package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/osteele/liquid/render"
	"github.com/osteele/liquid/values"
)

// Values are nil, bool, int, float64, string, markup, []any and
// map[string]any, as in JSON; besides, while an expression is evaluated,
// values.Range, and *position for forloop.

// markup is text that goes into HTML as it is: captured, escaped or declared
// safe by the author.
type markup string

// Sizes for the limits, in bytes. What a value really takes depends on Go;
// these are near enough and the same everywhere.
const (
	elementBytes   = 16  // any value, in a list or an object
	longFloatBytes = 330 // besides, a very large or small float, which has that many digits as text
	bytesPerUnit   = 64  // of text handled in a unit of work
)

// print writes a value as {{ }} shows it, escaped where the part is.
func (r *run) print(value any) error {
	switch v := value.(type) {
	case string:
		if !r.escape {
			return r.out.writeString(v)
		}
		_, err := render.HtmlEscaper.WriteString(r.out, v)
		return err
	case []any:
		for _, item := range v {
			if err := r.work(1); err != nil {
				return err
			}
			if err := r.print(item); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if err := r.work(deepCostOf(v)); err != nil {
			return err
		}
		return r.print(toText(v))
	default: // holds nothing to escape
		return r.out.writeString(toText(v))
	}
}

// toText is a value as text: what {{ }} would show, not escaped.
func toText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case markup:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		var all strings.Builder
		for _, item := range v {
			all.WriteString(toText(item))
		}
		return all.String()
	case map[string]any:
		object, _ := json.Marshal(v) //nolint:errchkjson // these values can all be marshalled
		return string(object)
	case values.Range:
		return fmt.Sprintf("%v..%v", v.Index(0), v.Index(v.Len()-1))
	}
	return ""
}

// toNumber is an int or a float64. Text that is no number is an error: Liquid
// takes it for 0, but a mail with a wrong sum is worse than none.
func toNumber(value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return 0, nil
	case int, float64:
		return v, nil
	case string:
		s := strings.TrimSpace(v)
		if n, err := strconv.Atoi(s); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(s, 64)
		if err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, nil
		}
	case markup:
		return toNumber(string(v))
	}
	return nil, errNumber
}

// The message does not tell the value, which may be secret.
var errNumber = errors.New("a value that is not a number")

// toInt is a whole number, also of a string or a float without a fraction.
func toInt(value any) (int, bool) {
	number, err := toNumber(value)
	if err != nil {
		return 0, false
	}
	if f, ok := number.(float64); ok {
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, false
		}
		return int(f), true
	}
	return number.(int), true
}

// list is a value as a list: of one element for what is not one.
func (r *run) list(value any) ([]any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case []any:
		return v, nil
	case values.Range:
		if v.Len() > maxValueBytes/elementBytes {
			return nil, errValue
		}
		items := make([]any, max(v.Len(), 0))
		for i := range items {
			items[i] = v.Index(i)
		}
		return items, r.work(len(items))
	default:
		return []any{v}, nil
	}
}

// isEmpty is what default replaces, empty and blank are equal to.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case markup:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// equal is the library's Equal for objects too, and counts its work.
func (r *run) equal(a, b any) bool {
	if r.work(1) != nil {
		return false
	}
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !r.equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, value := range a {
			other, ok := b[key]
			if !ok || !r.equal(value, other) {
				return false
			}
		}
		return true
	}
	return values.Equal(a, b)
}

// sizeOf is how many bytes a value takes with all that is in it, or something
// more than limit if that is more.
func sizeOf(value any, limit int) int {
	switch v := value.(type) {
	case string:
		return elementBytes + len(v)
	case markup:
		return elementBytes + len(v)
	case []any:
		size := elementBytes
		for i := 0; i < len(v) && size <= limit; i++ {
			size += sizeOf(v[i], limit-size)
		}
		return size
	case map[string]any:
		size := elementBytes
		for key, item := range v {
			if size > limit {
				break
			}
			size += elementBytes + len(key) + sizeOf(item, limit-size)
		}
		return size
	case float64:
		if magnitude := math.Abs(v); magnitude > 1e21 || magnitude < 1e-21 {
			return elementBytes + longFloatBytes
		}
	}
	return elementBytes
}

// costOf is the work of looking at a value without what is inside.
func costOf(value any) int {
	switch v := value.(type) {
	case string:
		return 1 + len(v)/bytesPerUnit
	case markup:
		return 1 + len(v)/bytesPerUnit
	case []any:
		return 1 + len(v)
	case map[string]any:
		return 1 + len(v)
	}
	return 1
}

// deepCostOf is the work of going through a value and all that is inside.
func deepCostOf(value any) int {
	switch value.(type) {
	case []any, map[string]any:
		return sizeOf(value, maxValueBytes) / elementBytes
	}
	return costOf(value)
}
