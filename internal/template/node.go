package template

import (
	"errors"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/values"
)

// A node is a parsed piece of a part. It is not changed by rendering.
type node interface{ render(r *run) error }

// Not errors: what break and continue hand up to their loop.
var (
	errBreak    = errors.New("break")
	errContinue = errors.New("continue")
)

func (r *run) renderAll(nodes []node) error {
	for _, n := range nodes {
		if err := n.render(r); err != nil {
			return err
		}
	}
	return nil
}

// A literal is text between tags.
type literal string

func (l literal) render(r *run) error { return r.out.writeString(string(l)) }

// An output is {{ value }}.
type output struct {
	line  int
	value expressions.Expression
}

func (o *output) render(r *run) error {
	value, err := r.evaluate(o.line, o.value, strict)
	if err != nil {
		return err
	}
	return r.print(value)
}

// A conditional is an if or an unless.
type conditional struct{ branches []branch }

type branch struct {
	line int
	test expressions.Expression // nil for else
	body []node
}

func (c *conditional) render(r *run) error {
	for _, b := range c.branches {
		if b.test == nil {
			return r.renderAll(b.body)
		}
		value, err := r.evaluate(b.line, b.test, lenient)
		if err != nil {
			return err
		}
		if value != nil && value != false {
			return r.renderAll(b.body)
		}
	}
	return nil
}

// A choice is a case.
type choice struct {
	line    int
	value   expressions.Expression
	options []option
}

type option struct {
	line   int
	values []expressions.Expression // none for else
	body   []node
}

func (c *choice) render(r *run) error {
	value, err := r.evaluate(c.line, c.value, lenient)
	if err != nil {
		return err
	}
	for _, o := range c.options {
		chosen := o.values == nil
		for i := 0; i < len(o.values) && !chosen; i++ {
			candidate, err := r.evaluate(o.line, o.values[i], lenient)
			if err != nil {
				return err
			}
			chosen = r.equal(value, candidate)
		}
		if chosen {
			return r.renderAll(o.body)
		}
	}
	return nil
}

type jump struct{ out bool }

func (j jump) render(*run) error {
	if j.out {
		return errBreak
	}
	return errContinue
}

type assignment struct {
	line  int
	name  string
	value expressions.Expression
}

func (a *assignment) render(r *run) error {
	value, err := r.evaluate(a.line, a.value, strictInFilters)
	if err != nil {
		return err
	}
	if span, ok := value.(values.Range); ok {
		if value, err = r.list(span); err != nil {
			return err
		}
	}
	return r.assign(a.name, value)
}

// A capture renders its body into a variable. In a part that is escaped the
// result is markup: its text is the author's and its values are escaped by now.
type capture struct {
	line int
	name string
	body []node
}

func (c *capture) render(r *run) error {
	r.line = c.line
	outer := r.out
	r.out = &buffer{limit: maxValueBytes, tooLong: errValue}
	err := r.renderAll(c.body)
	captured := r.out.String()
	r.out = outer
	if err != nil && !errors.Is(err, errBreak) && !errors.Is(err, errContinue) {
		return err
	}
	var value any = captured
	if r.escape {
		value = markup(captured)
	}
	if err := r.assign(c.name, value); err != nil {
		return err
	}
	return err
}

// A cycle writes its texts in turn, each time it is reached.
type cycle struct {
	line  int
	group string
	texts []string
}

func (c *cycle) render(r *run) error {
	n := r.cycles[c.group]
	if r.cycles == nil {
		r.cycles = map[string]int{}
	}
	r.cycles[c.group] = n + 1
	return r.out.writeString(c.texts[n%len(c.texts)])
}
