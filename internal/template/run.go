package template

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/osteele/liquid/expressions"
	"github.com/osteele/liquid/values"
)

// A run is one rendering of all parts of a mail. The limits of time and turns
// are carried here, across the parts.
type run struct {
	ctx       context.Context
	now       func() time.Time
	scope     expressions.Context
	data      map[string]any // never changed
	recipient map[string]any

	turns int
	units int           // of work since the clock was last looked at
	last  time.Time     // when that was
	spent time.Duration // up to then
	fatal error         // a limit of the whole run was reached: nothing more is rendered

	// Of the part being rendered:
	escape     bool
	line       int
	out        *buffer
	variables  map[string]variable
	held       int // bytes in variables
	loop       *position
	cycles     map[string]int
	strictness strictness // of the expression being evaluated
}

// A variable was assigned or captured, or belongs to a loop.
type variable struct {
	value any
	size  int // bytes; 0 for a loop's, whose values are part of another one
}

func newRun(ctx context.Context, now func() time.Time, data, recipient map[string]any) *run {
	r := &run{ctx: ctx, now: now, data: data, recipient: recipient, last: now()}
	r.scope = newScope(r)
	return r
}

// render is the text of one part.
func (r *run) render(p *part) (rendered string, err error) {
	r.escape, r.line = p.escape, 1
	r.out = &buffer{limit: p.limit, tooLong: tooLong(p.limit)}
	r.variables, r.held = map[string]variable{}, 0
	r.loop, r.cycles = nil, nil
	defer func() {
		if v := recover(); v != nil { // a flaw of the library, or of ours: the mail cannot be sent, but others can
			err = fault{r.line, "cannot be rendered: " + panicMessage(v)}
		}
	}()
	r.out.Grow(min(p.size+p.size/4, p.limit))
	if err = r.renderAll(p.nodes); err == nil {
		return r.out.String(), nil
	}
	if r.fatal != nil {
		err = r.fatal
	}
	if f := (fault{}); errors.As(err, &f) || errors.Is(err, r.ctx.Err()) {
		return "", err
	}
	return "", fault{r.line, err.Error()}
}

// Work is counted in units of roughly 100 ns, and the clock is looked at after
// so many of them. A small template is done before, however slow the machine.
const unitsPerLook = 4096

// maxStep is the most that counts between two looks at the clock: more is not
// the template's fault, but a machine that stood still.
const maxStep = 50 * time.Millisecond

// work counts work done or about to be done, and says whether to stop.
func (r *run) work(units int) error {
	if r.units += units; r.units < unitsPerLook {
		return r.fatal
	}
	r.units = 0
	now := r.now()
	r.spent += min(now.Sub(r.last), maxStep)
	r.last = now
	switch {
	case r.fatal != nil:
	case r.ctx.Err() != nil:
		r.fatal = r.ctx.Err()
	case r.spent > maxRenderTime:
		r.fatal = errTime
	}
	return r.fatal
}

func (r *run) has(name string) bool {
	_, ok := r.variables[name]
	return ok
}

// drop forgets a variable.
func (r *run) drop(name string) {
	r.held -= r.variables[name].size
	delete(r.variables, name)
}

// assign sets a variable until the end of the part.
func (r *run) assign(name string, value any) error {
	size := sizeOf(value, maxValueBytes)
	if size > maxValueBytes {
		return errValue
	}
	r.held += size - r.variables[name].size
	if r.held > maxHeldBytes {
		return errHeld
	}
	r.variables[name] = variable{value, size}
	return r.work(size / bytesPerUnit)
}

// evaluate is the value of an expression at a line.
func (r *run) evaluate(line int, x expressions.Expression, s strictness) (any, error) {
	r.line, r.strictness = line, s
	if err := r.work(1); err != nil {
		return nil, err
	}
	value, err := x.Evaluate(r.scope)
	if r.fatal != nil {
		return nil, r.fatal
	}
	if err == nil {
		return value, nil
	}
	if failed := (expressions.FilterError{}); errors.As(err, &failed) {
		err = fmt.Errorf("filter %q: %w", failed.FilterName, failed.Err)
	}
	if wrong := values.TypeError(""); errors.As(err, &wrong) { // its text tells the value, which may be secret
		err = errors.New("a value of the wrong type")
	}
	return nil, fault{line, err.Error()}
}

// A buffer takes what is rendered, up to a limit.
type buffer struct {
	strings.Builder
	limit   int   // bytes
	tooLong error // what a longer text is refused with
}

func (b *buffer) writeString(s string) error {
	if b.Len()+len(s) > b.limit {
		return b.tooLong
	}
	b.Builder.WriteString(s)
	return nil
}

// WriteString is writeString for the library's escaper.
func (b *buffer) WriteString(s string) (int, error) {
	if err := b.writeString(s); err != nil {
		return 0, err
	}
	return len(s), nil
}

// Write is writeString for the library's escaper.
func (b *buffer) Write(p []byte) (int, error) { return b.WriteString(string(p)) }

func tooLong(limit int) error {
	if limit == 1<<20 {
		return errors.New("the rendered text is longer than 1 MiB")
	}
	return fmt.Errorf("the rendered text is longer than %d bytes", limit)
}
