package trigger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
)

// Evaluate makes of an event, at a moment, the notification that the trigger
// asks for. It is not matched where the event is of another type, the condition
// does not hold or nobody is to be told. The request may name up to
// MaxRecipients, each once, which are more than one notification takes by value.
//
// An expression that fails on the event is a CodeInvalid with the part; any
// other error is that of ctx. Whether the trigger is enabled is for the caller
// to ask.
func (p *Program) Evaluate(ctx context.Context, e *event.Event, now time.Time) (request *notify.Request, matched bool, err error) {
	if p.broken != nil {
		return nil, false, p.broken
	}
	if e.Type != p.EventType {
		return nil, false, nil
	}
	seen, err := see(e, now)
	if err != nil {
		return nil, false, p.failed("event.data", err)
	}
	limited, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	request, err = p.request(limited, map[string]any{"event": seen, "now": now.UTC()})
	if err != nil && ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	if err != nil || request == nil {
		return nil, false, err
	}
	if p.Delay > 0 {
		at := now.Add(p.Delay)
		request.SendAt = &at
	}
	return request, true, nil
}

// request is nil where the event does not match.
func (p *Program) request(ctx context.Context, vars map[string]any) (*notify.Request, error) {
	if p.condition != nil {
		value, err := p.condition.evaluate(ctx, vars)
		if err == nil && value != types.True && value != types.False {
			err = mustBe("true or false", value)
		}
		if err != nil || value == types.False {
			return nil, p.failed(p.condition.part, err)
		}
	}
	value, err := p.to.evaluate(ctx, vars)
	if err != nil {
		return nil, p.failed(p.to.part, err)
	}
	to, err := recipients(value)
	if err != nil || len(to) == 0 {
		return nil, p.failed(p.to.part, err)
	}
	request := &notify.Request{Template: p.Template, Content: p.Content, To: to, Channels: p.Channels}
	if p.data != nil {
		value, err := p.data.evaluate(ctx, vars)
		if err == nil {
			request.Data, err = object(value)
		}
		if err != nil {
			return nil, p.failed(p.data.part, err)
		}
	}
	return request, nil
}

// failed locates what is wrong with a part; it is nil for nil.
func (p *Program) failed(part string, err error) error {
	if err == nil {
		return nil
	}
	var in fault
	errors.As(err, &in)
	return &notify.Error{
		Code: notify.CodeInvalid, Detail: fmt.Sprintf("trigger %q fails on this event", p.Name),
		Fields: []notify.FieldError{{Location: part + in.path, Message: err.Error()}},
	}
}

// A fault is something wrong somewhere in a value.
type fault struct {
	path    string // such as "[3].email"
	message string
}

func (f fault) Error() string { return f.message }

func mustBe(wanted string, value ref.Val) error {
	return fault{message: fmt.Sprintf("comes to %s, and must come to %s", kind(value), wanted)}
}

func (x *expression) evaluate(ctx context.Context, vars map[string]any) (ref.Val, error) {
	value, _, err := x.program.ContextEval(ctx, vars)
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled), errors.Is(err, interpreter.InterruptError{}):
		return nil, fmt.Errorf("takes too much work: %d steps, %s and a value of %d elements are allowed", maxSteps, maxTime, maxValue)
	case err == nil:
		return value, nil
	}
	if failed, ok := errors.AsType[*types.Err](err); ok {
		return nil, errors.New(at(x.source.GetStartLocation(failed.NodeID()), failed.Error()))
	}
	return nil, errors.New(short(err.Error()))
}

// recipients are those that a value names, each once.
func recipients(value ref.Val) ([]notify.Recipient, error) {
	list, ok := value.(traits.Lister)
	if !ok {
		r, err := recipient(value, "")
		return []notify.Recipient{r}, err
	}
	size, _ := list.Size().(types.Int)
	if size > MaxRecipients {
		return nil, fault{message: fmt.Sprintf("names %d recipients, at most %d are allowed", size, MaxRecipients)}
	}
	seen := make(map[notify.Recipient]bool, size)
	to := make([]notify.Recipient, 0, size)
	for i := range size {
		r, err := recipient(list.Get(i), fmt.Sprintf("[%d]", i))
		if err != nil {
			return nil, err
		}
		if !seen[r.Key()] {
			seen[r.Key()] = true
			to = append(to, r)
		}
	}
	return to, nil
}

func recipient(value ref.Val, path string) (r notify.Recipient, err error) {
	switch v := value.(type) {
	case types.String:
		r.UserID = string(v)
	case traits.Mapper:
		for keys := v.Iterator(); keys.HasNext() == types.True; {
			key := keys.Next()
			field := fmt.Sprint(key.Value())
			text, ok := v.Get(key).(types.String)
			switch {
			case field == "user_id" && ok:
				r.UserID = string(text)
			case field == "email" && ok:
				r.Email = string(text)
			case field == "name" && ok:
				r.Name = string(text)
			case field != "user_id" && field != "email" && field != "name":
				return r, fault{path, fmt.Sprintf("has a field %.64q: a recipient has user_id, or email and name", field)}
			default:
				return r, fault{path + "." + field, "is " + kind(v.Get(key)) + ", and must be a string"}
			}
		}
	default:
		return r, fault{path, fmt.Sprintf("is %s, and must be a user id or a recipient such as {\"email\": ...}", kind(value))}
	}
	if wrong := r.Fault(); wrong != nil {
		if wrong.Location != "" {
			path += "." + wrong.Location
		}
		return r, fault{path, wrong.Message}
	}
	return r, nil
}
