// Package event reads events from AMQP messages: CloudEvents 1.0, structured
// and binary, and plain JSON with AMQP properties.
//
// See CloudEvents' JSON format, and its AMQP binding, whose application
// properties are the headers of AMQP 0.9.1.
package event

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/notify"
)

// SendType is the type of an event whose data is a request as
// POST /v1/notifications takes it. No trigger takes such events.
const SendType = "belfry.notification.send"

// Limits of a message.
const (
	MaxBytes     = 1 << 20 // the body
	MaxAttribute = 1024    // bytes of an attribute that is read
	MaxNesting   = 64      // how deep JSON may be nested
)

// An Event is something that happened, as somebody told it. Source and ID
// together name it: told again it is the same.
type Event struct {
	ID      string
	Source  string
	Type    string
	Subject string          // may be empty
	Time    time.Time       // when it happened, zero where that is not said
	Data    json.RawMessage // JSON, nil where there is none; what is not JSON is a string
}

// Decode reads the event in a message. The error is notify.CodeInvalid and says
// everything that is wrong, for whoever sent the message.
func Decode(d *amqp.Delivery) (*Event, error) {
	var p problems
	if len(d.Body) > MaxBytes {
		p.add("body", "is %d bytes long, at most %d are allowed", len(d.Body), MaxBytes)
	}
	switch strings.ToLower(d.ContentEncoding) {
	case "", "utf-8", "utf8", "identity":
	default:
		p.add("content_encoding", "%q is not supported", clip(d.ContentEncoding))
	}
	media, err := mediaType(d.ContentType)
	if err != nil {
		p.add("content_type", "%v", err)
	}
	if p != nil {
		return nil, p.err()
	}
	var attributes map[string]any
	var data json.RawMessage
	switch {
	case media == structuredType:
		attributes, data = structured(d.Body, &p)
		p.reference(attributes)
	case strings.HasPrefix(media, "application/cloudevents"):
		p.add("content_type", "%q is not supported, CloudEvents come as %s or in headers", clip(media), structuredType)
	default:
		var found bool
		if attributes, found = binaryAttributes(d.Headers, &p); found {
			data = binaryData("body", d.Body, d.ContentType, &p)
			p.reference(attributes)
		} else {
			attributes, data = plain(d, media, &p)
		}
	}
	if p != nil {
		return nil, p.err()
	}
	return build(attributes, data)
}

// build makes an event of its attributes, whose values are strings where they
// are to be.
func build(attributes map[string]any, data json.RawMessage) (*Event, error) {
	var p problems
	if version := p.attribute(attributes, "specversion", true); version != "" && version != "1.0" {
		p.add("specversion", "%q is not supported, only 1.0 is", clip(version))
	}
	e := &Event{
		ID:      p.attribute(attributes, "id", true),
		Source:  p.attribute(attributes, "source", true),
		Type:    p.attribute(attributes, "type", true),
		Subject: p.attribute(attributes, "subject", false),
		Data:    data,
	}
	switch at := attributes["time"].(type) {
	case time.Time: // AMQP has a type for it
		if e.Time = at.UTC(); e.Time.Year() < 1 || e.Time.Year() > 9999 {
			p.add("time", "is not in a year from 1 to 9999")
		}
	default:
		if text := p.attribute(attributes, "time", false); text != "" {
			var err error
			if e.Time, err = time.Parse(time.RFC3339, text); err != nil {
				p.add("time", "is not a time as in RFC 3339")
			}
			e.Time = e.Time.UTC()
		}
	}
	if p != nil {
		return nil, p.err()
	}
	return e, nil
}

// mediaType is a content type without its parameters, in lower case. Texts are
// UTF-8.
func mediaType(contentType string) (string, error) {
	if contentType == "" {
		return "", nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", fmt.Errorf("%q is not a media type", clip(contentType))
	}
	if charset := strings.ToLower(parameters["charset"]); !slices.Contains([]string{"", "utf-8", "utf8", "us-ascii"}, charset) {
		return "", fmt.Errorf("charset %q is not supported, UTF-8 is", clip(charset))
	}
	return media, nil
}

// problems are what is wrong with a message; nil: nothing.
type problems []notify.FieldError

func (p *problems) add(location, format string, args ...any) {
	*p = append(*p, notify.FieldError{Location: location, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	return &notify.Error{Code: notify.CodeInvalid, Detail: "not an event", Fields: *p}
}

// attribute is a string among the attributes, empty where it is not there.
func (p *problems) attribute(attributes map[string]any, name string, required bool) string {
	value, there := attributes[name]
	text, isString := value.(string)
	switch {
	case !there && !required:
	case !there:
		p.add(name, "is missing")
	case !isString:
		p.add(name, "must be a string")
	case text == "":
		p.add(name, "must not be empty")
	case len(text) > MaxAttribute:
		p.add(name, "is %d bytes long, at most %d are allowed", len(text), MaxAttribute)
	case !utf8.ValidString(text):
		p.add(name, "is not UTF-8")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		p.add(name, "must not hold control characters")
	default:
		return text
	}
	return ""
}

// reference checks that the source of a CloudEvent is a URI reference.
func (p *problems) reference(attributes map[string]any) {
	source, _ := attributes["source"].(string)
	if _, err := url.Parse(source); err != nil {
		p.add("source", "is not a URI reference")
	}
}

// clip keeps a wrong value short, and fit to be shown.
func clip(value string) string {
	const most = 60
	if len(value) > most {
		value = value[:most] + "..."
	}
	return strings.ToValidUTF8(value, "?")
}
