package template

import (
	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/values"
)

// strictness says where in an expression a missing variable is an error. The
// library's own strict mode is not used: it looks at what comes out of {{ }},
// so that {{ nme | upcase }} passes, and it cannot name the variable.
type strictness int

const (
	lenient         strictness = iota // nowhere: if, unless, case, for
	strict                            // everywhere but before default: {{ }}
	strictInFilters                   // where a filter would swallow it: assign
)

// A scope gives an expression its variables and filters. F is the type of a
// compiled operand, which the library does not export: newScope lets the
// compiler infer it, and so a scope is an expressions.Context.
type scope[F ~func(expressions.Context) values.Value] struct{ run *run }

func newScope(r *run) expressions.Context {
	return scopeLike(expressions.Context.ApplyFilter, r)
}

func scopeLike[F ~func(expressions.Context) values.Value](
	_ func(expressions.Context, string, F, []F) (any, error), r *run,
) expressions.Context {
	return any(scope[F]{r}).(expressions.Context)
}

// Get is the value of a variable: a values.Value, which the library takes as
// it is, or nil.
func (s scope[F]) Get(name string) any {
	r := s.run
	value, ok := r.lookup(name)
	switch {
	case value != nil:
		if err := r.work(costOf(value)); err != nil {
			panic(expressions.InterpreterError(err.Error()))
		}
		return &reference{run: r, value: value, name: name}
	case !ok && (name == "empty" || name == "blank"):
		return emptiness{values.ValueOf(nil)}
	}
	return r.missing(&reference{name: name}, ok)
}

func (r *run) lookup(name string) (value any, ok bool) {
	if v, ok := r.variables[name]; ok {
		return v.value, v.value != nil // assigned from a missing one, it is missing too
	}
	switch {
	case name == "forloop" && r.loop != nil, name == "tablerowloop" && r.loop != nil:
		return r.loop, true
	case name == "recipient":
		return r.recipient, true
	}
	value, ok = r.data[name]
	return value, ok
}

// ApplyFilter evaluates a filter's operands and applies it. inspect has seen
// that the filter exists and has its arguments.
func (s scope[F]) ApplyFilter(name string, input F, args []F) (any, error) {
	r, f := s.run, filters[name]
	outer := r.strictness
	if outer == strictInFilters {
		r.strictness = strict
	}
	inFilters := r.strictness
	if name == "default" {
		r.strictness = lenient
	}
	in := input(r.scope).Interface()
	r.strictness = inFilters
	operands := make([]any, len(args))
	for i, arg := range args {
		operands[i] = arg(r.scope).Interface()
	}
	r.strictness = outer

	out, err := r.apply(f, in, operands)
	if err != nil || out == nil {
		return nil, err
	}
	return &reference{run: r, value: out}, nil
}

// Set is part of expressions.Context; the library never calls it here.
func (s scope[F]) Set(string, any) {}

// Clone is part of expressions.Context; the library never calls it here.
func (s scope[F]) Clone() expressions.Context { return s.run.scope }
