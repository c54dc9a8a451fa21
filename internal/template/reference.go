package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/values"
)

// A reference is a value that was reached by a variable's name or made by a
// filter. It knows how, to name what is missing in it. It is a values.Value, which the library asks
// for its properties and comparisons. The library's own values can neither
// name what is missing nor compare objects, count a string's bytes for its
// size, and call Go methods by name.
type reference struct {
	run   *run
	value any
	name  string     // of the variable, or
	of    *reference // what it is a property or an element of, by
	key   any
	dot   bool // the key stands after a dot, not in brackets
}

// path is how a template's author wrote the reference: order.items[0].name.
func (f *reference) path() string {
	switch {
	case f.of == nil:
		return f.name
	case f.dot:
		return f.of.path() + "." + toText(f.key)
	}
	if n, ok := f.key.(int); ok {
		return f.of.path() + "[" + strconv.Itoa(n) + "]"
	}
	return f.of.path() + "['" + toText(f.key) + "']"
}

// missing is what stands for a variable that is missing, or present but null.
func (r *run) missing(f *reference, isNull bool) values.Value {
	switch {
	case r.strictness != strict:
		return nothing{values.ValueOf(nil)}
	case isNull:
		panic(expressions.InterpreterError(fmt.Sprintf("variable %q is null", f.path())))
	default:
		panic(expressions.InterpreterError(fmt.Sprintf("undefined variable %q", f.path())))
	}
}

// Interface is the value.
func (f *reference) Interface() any { return f.value }

// PropertyValue is what stands after a dot.
func (f *reference) PropertyValue(key values.Value) values.Value {
	name := toText(key.Interface())
	var value any
	isNull := false
	switch v := f.value.(type) {
	case map[string]any:
		if value, isNull = v[name]; !isNull && name == "size" {
			value = len(v)
		}
	case []any:
		value = listProperty(v, name)
	case string:
		if name == "size" {
			value = utf8.RuneCountInString(v)
		}
	case *position:
		value = v.property(name)
	}
	return f.child(&reference{value: value, key: key.Interface(), dot: true}, isNull)
}

func listProperty(items []any, name string) any {
	switch name {
	case "first":
		return first(items)
	case "last":
		return last(items)
	case "size":
		return len(items)
	}
	return nil
}

// IndexValue is what stands in brackets: a name, or an index that counts from
// the end if it is negative.
func (f *reference) IndexValue(key values.Value) values.Value {
	child := &reference{key: key.Interface()}
	isNull := false
	switch v := f.value.(type) {
	case map[string]any:
		child.value, isNull = v[toText(child.key)]
	case []any:
		if i, ok := toInt(child.key); ok && child.key != nil {
			if i < 0 {
				i += len(v)
			}
			if isNull = i >= 0 && i < len(v); isNull {
				child.value = v[i]
			}
		}
	}
	return f.child(child, isNull)
}

func (f *reference) child(c *reference, isNull bool) values.Value {
	c.run, c.of = f.run, f
	if c.value == nil {
		return f.run.missing(c, isNull)
	}
	return c
}

// Int makes numbers in text usable in a range.
func (f *reference) Int() int {
	n, ok := toInt(f.value)
	if !ok {
		panic(expressions.InterpreterError("a range needs whole numbers"))
	}
	return n
}

// Equal compares objects and lists by what is in them.
func (f *reference) Equal(other values.Value) bool {
	if e, ok := other.(emptiness); ok {
		return e.Equal(f)
	}
	return f.run.equal(f.value, other.Interface())
}

// Less compares numbers with numbers and text with text.
func (f *reference) Less(other values.Value) bool { return values.Less(f.value, other.Interface()) }

// Contains looks for an element, a key or a part of a text.
func (f *reference) Contains(element values.Value) bool {
	wanted := element.Interface()
	switch v := f.value.(type) {
	case map[string]any:
		_, ok := v[toText(wanted)]
		return ok
	case []any:
		for _, item := range v {
			if f.run.equal(item, wanted) {
				return true
			}
		}
	case string, markup:
		return strings.Contains(toText(v), toText(wanted))
	}
	return false
}

// Test is whether the value is true in an if.
func (f *reference) Test() bool { return f.value != nil && f.value != false }

// nothing stands for a missing variable where that is allowed.
type nothing struct{ values.Value }

// Int is 0: a range up to it is empty.
func (n nothing) Int() int { return 0 }

// PropertyValue of what is missing is missing too.
func (n nothing) PropertyValue(values.Value) values.Value { return n }

// IndexValue of what is missing is missing too.
func (n nothing) IndexValue(values.Value) values.Value { return n }

// emptiness is empty or blank, to compare with.
type emptiness struct{ values.Value }

// Equal is true for what default would replace.
func (e emptiness) Equal(other values.Value) bool { return isEmpty(other.Interface()) }
