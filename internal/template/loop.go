package template

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/values"
)

// A loop is a for or a tablerow. It replaces the library's, which has no limit
// and cannot be stopped.
type loop struct {
	expressions.Loop
	line  int
	table bool
	body  []node
	none  []node // the else clause
}

// turns is what a loop goes over, without having made it: (1..100000000) is
// two numbers.
type turns struct {
	length int
	at     func(i int) any
}

func (l *loop) render(r *run) error {
	over, err := l.turns(r)
	if err != nil {
		return err
	}
	if over.length == 0 {
		return r.renderAll(l.none)
	}
	columns := over.length
	if l.table && l.Cols != nil {
		if columns, err = l.number(r, "cols", l.Cols); err != nil {
			return err
		}
		columns = max(columns, 1)
	}

	outer, shadowed, wasSet := r.loop, r.variables[l.Variable], r.has(l.Variable)
	delete(r.variables, l.Variable) // but it is held on to
	r.loop = &position{outer: outer, length: over.length}
	err = l.turn(r, over, columns)
	r.loop = outer
	r.drop(l.Variable)
	if wasSet {
		r.variables[l.Variable] = shadowed
	}
	return err
}

// turn renders the body once for each value.
func (l *loop) turn(r *run, over turns, columns int) error {
	for i := range over.length {
		if r.turns++; r.turns > maxTurns {
			r.line, r.fatal = l.line, errTurns
			return r.fatal
		}
		r.loop.index = i
		r.drop(l.Variable)
		r.variables[l.Variable] = variable{value: over.at(i)}
		if l.table {
			r.out.writeString(openCell(i, columns)) //nolint:errcheck // the next write fails too
		}
		err := r.renderAll(l.body)
		if l.table && (err == nil || errors.Is(err, errContinue) || errors.Is(err, errBreak)) {
			last := (i+1)%columns == 0 || i+1 == over.length || errors.Is(err, errBreak)
			if err := r.out.writeString(closeCell(last)); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, errBreak):
			return nil
		case err != nil && !errors.Is(err, errContinue):
			return err
		}
		if err := r.work(1); err != nil { // an empty body works too
			return err
		}
	}
	return nil
}

func openCell(i, columns int) string {
	cell := `<td class="col` + strconv.Itoa(i%columns+1) + `">`
	if i%columns > 0 {
		return cell
	}
	return `<tr class="row` + strconv.Itoa(i/columns+1) + `">` + cell
}

func closeCell(last bool) string {
	if last {
		return "</td></tr>"
	}
	return "</td>"
}

// turns evaluates what the loop goes over: first offset and limit, then
// reversed, as Liquid documents them (the library reverses first).
func (l *loop) turns(r *run) (turns, error) {
	value, err := r.evaluate(l.line, l.Expr, lenient)
	if err != nil {
		return turns{}, err
	}
	over := turnsOf(value)
	if l.Offset != nil {
		offset, err := l.number(r, "offset", l.Offset)
		if err != nil {
			return turns{}, err
		}
		offset = min(max(offset, 0), over.length)
		at := over.at
		over = turns{over.length - offset, func(i int) any { return at(offset + i) }}
	}
	if l.Limit != nil {
		limit, err := l.number(r, "limit", l.Limit)
		if err != nil {
			return turns{}, err
		}
		over.length = min(max(limit, 0), over.length)
	}
	if l.Reversed {
		forth := over
		over.at = func(i int) any { return forth.at(forth.length - 1 - i) }
	}
	return over, nil
}

// turnsOf is empty for what cannot be looped over, as for a missing variable.
func turnsOf(value any) turns {
	switch v := value.(type) {
	case []any:
		return turns{len(v), func(i int) any { return v[i] }}
	case values.Range:
		return turns{max(v.Len(), 0), v.Index}
	case map[string]any: // in the order of its keys, to be the same each time
		keys := slices.Sorted(maps.Keys(v))
		return turns{len(keys), func(i int) any { return []any{keys[i], v[keys[i]]} }}
	}
	return turns{}
}

// number evaluates a modifier, a whole number.
func (l *loop) number(r *run, name string, x expressions.Expression) (int, error) {
	value, err := r.evaluate(l.line, x, lenient)
	if err != nil {
		return 0, err
	}
	n, ok := toInt(value)
	if !ok {
		return 0, faultf(l.line, "%s is not a whole number", name)
	}
	return n, nil
}

// A position is what a template sees as forloop.
type position struct {
	outer  *position
	index  int // from 0
	length int
}

// property answers forloop.index and the like, nil for what there is not.
func (p *position) property(name string) any {
	switch name {
	case "index":
		return p.index + 1
	case "index0":
		return p.index
	case "rindex":
		return p.length - p.index
	case "rindex0":
		return p.length - p.index - 1
	case "first":
		return p.index == 0
	case "last":
		return p.index == p.length-1
	case "length":
		return p.length
	case "parentloop":
		if p.outer != nil {
			return p.outer
		}
	}
	return nil
}
