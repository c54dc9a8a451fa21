package template

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A filter is what may stand after | in an expression. All filters are
// Belfry's own: of the library's, some build values without end (append,
// replace, join), some panic (truncate: 2000), some depend on the machine's
// clock, time zone or map order (date, for objects), and some lose digits
// (plus, divided_by).
type filter struct {
	min, max int // number of arguments
	apply    func(r *run, in any, args []any) (any, error)
}

// filters are the filters of the library by name, but for its debugging aids
// inspect and type. https://shopify.github.io/liquid/ describes them.
var filters = map[string]filter{
	"default": {1, 1, func(_ *run, in any, args []any) (any, error) {
		if isEmpty(in) {
			return args[0], nil
		}
		return in, nil
	}},
	"json": {0, 0, func(_ *run, in any, _ []any) (any, error) {
		text, err := json.Marshal(in)
		return string(text), err
	}},
	"safe": onText(func(s string) any { return markup(s) }),

	"append":         {1, 1, func(r *run, in any, args []any) (any, error) { return join(toText(in), toText(args[0])) }},
	"prepend":        {1, 1, func(r *run, in any, args []any) (any, error) { return join(toText(args[0]), toText(in)) }},
	"capitalize":     onText(capitalize),
	"downcase":       onText(func(s string) any { return strings.ToLower(s) }),
	"upcase":         onText(func(s string) any { return strings.ToUpper(s) }),
	"escape":         onText(escape),
	"escape_once":    onText(escapeOnce),
	"newline_to_br":  {0, 0, newlineToBr},
	"remove":         {1, 1, replacing(-1)},
	"remove_first":   {1, 1, replacing(1)},
	"replace":        {2, 2, replacing(-1)},
	"replace_first":  {2, 2, replacing(1)},
	"strip":          onText(func(s string) any { return strings.TrimSpace(s) }),
	"lstrip":         onText(lstrip),
	"rstrip":         onText(rstrip),
	"strip_html":     onText(stripHTML),
	"strip_newlines": onText(func(s string) any { return newlines.Replace(s) }),
	"truncate":       {0, 2, truncate},
	"truncatewords":  {0, 2, truncateWords},
	"url_encode":     onText(urlEncode),
	"url_decode":     {0, 0, urlDecode},
	"split":          {1, 1, split},
	"slice":          {1, 2, slice},
	"size":           {0, 0, size},

	"compact":      onList(compact),
	"concat":       {1, 1, concat},
	"first":        onList(first),
	"last":         onList(last),
	"join":         {0, 1, joinList},
	"map":          {1, 1, mapList},
	"reverse":      onList(reverse),
	"sort":         {0, 1, sorting(plainKey)},
	"sort_natural": {0, 1, sorting(naturalKey)},
	"uniq":         {0, 0, uniq},

	"abs":        onNumber(absInt, absFloat),
	"ceil":       rounding(ceilFloat),
	"floor":      rounding(floorFloat),
	"round":      {0, 1, round},
	"plus":       arithmetic(addInts, addFloats),
	"minus":      arithmetic(subtractInts, subtractFloats),
	"times":      arithmetic(multiplyInts, multiplyFloats),
	"divided_by": arithmetic(divideInts, divideFloats),
	"modulo":     arithmetic(remainderInts, remainderFloats),

	"date": {0, 1, date},
}

// apply runs a filter and holds what it takes and makes to the limits.
func (r *run) apply(f filter, in any, args []any) (any, error) {
	cost := deepCostOf(in)
	for _, arg := range args {
		cost += deepCostOf(arg)
	}
	if err := r.work(cost); err != nil {
		return nil, err
	}
	out, err := f.apply(r, in, args)
	if err != nil {
		return nil, err
	}
	size := sizeOf(out, maxValueBytes)
	if size > maxValueBytes {
		return nil, errValue
	}
	return out, r.work(size / bytesPerUnit)
}

// takes says how many arguments the filter takes.
func (f filter) takes() string {
	switch {
	case f.max == 0:
		return "no arguments"
	case f.max == 1 && f.min == 1:
		return "1 argument"
	case f.min == f.max:
		return fmt.Sprintf("%d arguments", f.min)
	}
	return fmt.Sprintf("%d to %d arguments", f.min, f.max)
}
