// Package template checks and renders Liquid templates, within fixed limits of
// time, memory and output.
//
// Expressions are parsed and evaluated by github.com/osteele/liquid. Tags,
// filters and the rendering itself are Belfry's own: the library's loops
// cannot be stopped, its filters build values without end, and its strict mode
// cannot name the variable that is missing.
//
// Rendering is pure: the same source, data and recipient give the same bytes,
// on every machine, so that a delivery can be rendered again.
package template

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
	lru "github.com/hashicorp/golang-lru/v2"
)

// dataCacheSize is how many decoded data objects are kept, each of at most
// notify.MaxDataBytes of text: the recipients of a notification share one.
const dataCacheSize = 32

// An Engine checks and renders templates. It is safe for concurrent use.
type Engine struct {
	mails *cache[notify.Email]
	items *cache[notify.InboxContent]
	data  *lru.Cache[notify.Object, map[string]any]
	now   func() time.Time // measures how long rendering takes; no template sees it
}

// New makes an engine. What it parses it keeps, in up to 64 MiB for mails and as
// much for items of inboxes.
func New() *Engine {
	data, err := lru.New[notify.Object, map[string]any](dataCacheSize)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return &Engine{mails: newCache(mails), items: newCache(items), data: data, now: time.Now}
}

// Check parses every part of the bodies and returns what is wrong: for each
// faulty part its first fault, such as {"channels.email.html", `line 3:
// unknown filter "upcas"`}, where prefix is "channels". A part that is missing
// is no fault.
func (e *Engine) Check(prefix string, bodies notify.Bodies) []notify.FieldError {
	var faults []notify.FieldError
	if bodies.Email != nil {
		faults = mails.parse(*bodies.Email).faults
	}
	if bodies.Inbox != nil {
		faults = append(faults, items.parse(*bodies.Inbox).faults...)
	}
	for i := range faults {
		faults[i].Location = prefix + "." + faults[i].Location
	}
	return faults
}

// Email renders a mail for one recipient. Templates see the keys of data, and
// recipient with its id, email, name, locale and time_zone. HTML is escaped;
// the other parts are not. A text part that the source does not have is made
// from the HTML.
//
// The source may be of a template or free-form. It is parsed once, whatever it
// is called: what was parsed is found again by the source itself.
//
// What is wrong with the source or the data is a *notify.Error with
// CodeInvalid and a field for each faulty part, such as {"email.subject",
// `line 1: undefined variable "film"`}; trying again cannot help. When ctx ends
// first, the error wraps its error.
func (e *Engine) Email(
	ctx context.Context, source notify.Email, data notify.Object, to notify.User,
) (notify.Email, error) {
	rendered, err := renderFor(ctx, e, e.mails, source, data, to)
	if err == nil && source.Text == "" {
		rendered.Text = plainText(rendered.HTML)
	}
	return rendered, err
}

// Inbox renders an item of an inbox, in the way of Email. Nothing is escaped: its
// title and body are text.
func (e *Engine) Inbox(
	ctx context.Context, source notify.InboxContent, data notify.Object, to notify.User,
) (notify.InboxContent, error) {
	return renderFor(ctx, e, e.items, source, data, to)
}

func renderFor[C content](ctx context.Context, e *Engine, kept *cache[C], source C, data notify.Object, to notify.User) (C, error) {
	var none C
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("render %s: %w", kept.kind.channel, err)
	}
	c := kept.get(source)
	if len(c.faults) > 0 {
		return none, invalid(slices.Clone(c.faults))
	}
	object, err := e.decoded(data)
	if err != nil {
		return none, invalid([]notify.FieldError{{Location: "data", Message: err.Error()}})
	}
	return kept.kind.render(c, newRun(ctx, e.now, object, recipientOf(to)))
}

func (e *Engine) decoded(data notify.Object) (map[string]any, error) {
	if object, ok := e.data.Get(data); ok {
		return object, nil
	}
	object, err := decode(data)
	if err == nil {
		e.data.Add(data, object)
	}
	return object, err
}

func invalid(faults []notify.FieldError) error {
	return &notify.Error{Code: notify.CodeInvalid, Detail: "the content cannot be rendered", Fields: faults}
}
