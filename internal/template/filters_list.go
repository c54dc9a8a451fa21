package template

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/osteele/liquid/values"
)

// onList is a filter of lists without arguments.
func onList(f func([]any) any) filter {
	return filter{0, 0, func(r *run, in any, _ []any) (any, error) {
		items, err := r.list(in)
		if err != nil {
			return nil, err
		}
		return f(items), nil
	}}
}

func size(_ *run, in any, _ []any) (any, error) {
	switch v := in.(type) {
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	case values.Range:
		return max(v.Len(), 0), nil
	}
	return utf8.RuneCountInString(toText(in)), nil
}

func compact(items []any) any {
	return slices.DeleteFunc(slices.Clone(items), func(item any) bool { return item == nil })
}

func concat(r *run, in any, args []any) (any, error) {
	a, err := r.list(in)
	if err != nil {
		return nil, err
	}
	b, err := r.list(args[0])
	if err != nil {
		return nil, err
	}
	return slices.Concat(a, b), nil
}

func first(items []any) any {
	if len(items) == 0 {
		return nil
	}
	return items[0]
}

func last(items []any) any {
	if len(items) == 0 {
		return nil
	}
	return items[len(items)-1]
}

func joinList(r *run, in any, args []any) (any, error) {
	items, err := r.list(in)
	if err != nil {
		return nil, err
	}
	separator := " "
	if len(args) > 0 {
		separator = toText(args[0])
	}
	var out strings.Builder
	for _, item := range items {
		if item == nil {
			continue
		}
		text := toText(item)
		if out.Len()+len(separator)+len(text) > maxValueBytes {
			return nil, errValue
		}
		if out.Len() > 0 {
			out.WriteString(separator)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

func mapList(r *run, in any, args []any) (any, error) {
	items, err := r.list(in)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = propertyOf(item, args[0])
	}
	return out, nil
}

// propertyOf is nil for what has no such property.
func propertyOf(item, name any) any {
	object, _ := item.(map[string]any)
	return object[toText(name)]
}

func reverse(items []any) any {
	out := slices.Clone(items)
	slices.Reverse(out)
	return out
}

// sorting sorts by the values or by a property of them, as key makes them
// comparable. What is nil comes first; what cannot be compared keeps its place.
func sorting(key func(any) any) func(*run, any, []any) (any, error) {
	return func(r *run, in any, args []any) (any, error) {
		items, err := r.list(in)
		if err != nil {
			return nil, err
		}
		type keyed struct{ key, item any }
		order := make([]keyed, len(items))
		for i, item := range items {
			by := item
			if len(args) > 0 {
				by = propertyOf(item, args[0])
			}
			order[i] = keyed{key(by), item}
		}
		slices.SortStableFunc(order, func(a, b keyed) int {
			switch {
			case r.work(2) != nil: // ends the sorting soon
				return 0
			case (a.key == nil) != (b.key == nil):
				if a.key == nil {
					return -1
				}
				return 1
			case values.Less(a.key, b.key):
				return -1
			case values.Less(b.key, a.key):
				return 1
			}
			return 0
		})
		out := make([]any, len(order))
		for i := range order {
			out[i] = order[i].item
		}
		return out, r.fatal
	}
}

func plainKey(value any) any { return value }

// naturalKey makes upper and lower case alike.
func naturalKey(value any) any {
	if text, ok := value.(string); ok {
		return strings.ToLower(text)
	}
	return value
}

// uniq keeps the first of equal elements.
func uniq(r *run, in any, _ []any) (any, error) {
	items, err := r.list(in)
	if err != nil {
		return nil, err
	}
	type composite string // apart from a string that looks the same
	seen := make(map[any]bool, len(items))
	out := make([]any, 0, len(items))
	for _, item := range items {
		key := item
		switch item.(type) {
		case []any, map[string]any:
			text, err := json.Marshal(item)
			if err != nil {
				return nil, err
			}
			key = composite(text)
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, item)
		}
	}
	return out, nil
}
