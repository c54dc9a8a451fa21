package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/strictjson"
)

// structuredType is the media type of an event that is JSON as a whole.
const structuredType = "application/cloudevents+json"

// headerPrefixes begin the headers of an event in binary mode. AMQP 1.0 allows
// the colon, which not every broker and client lets through.
var headerPrefixes = []string{"cloudEvents_", "cloudEvents:"}

// structured reads an event that is JSON as a whole.
func structured(body []byte, p *problems) (attributes map[string]any, data json.RawMessage) {
	if err := strictjson.Check(body, MaxNesting); err != nil {
		p.add("body", "%v", err)
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		p.add("body", "must be a JSON object")
		return nil, nil
	}
	attributes = map[string]any{}
	for name, text := range fields {
		if name == "data" || name == "data_base64" || string(text) == "null" {
			continue
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			p.add(name, "%v", err)
		}
		attributes[name] = value
	}
	data = present(fields["data"])
	encoded := present(fields["data_base64"])
	switch {
	case encoded == nil:
		return attributes, data
	case data != nil:
		p.add("data_base64", "needs at most one of data and data_base64")
		return attributes, nil
	}
	var text string
	if err := json.Unmarshal(encoded, &text); err != nil {
		p.add("data_base64", "must be a string")
		return attributes, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		p.add("data_base64", "is not base64")
		return attributes, nil
	}
	contentType, _ := attributes["datacontenttype"].(string)
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	return attributes, binaryData("data_base64", decoded, contentType, p)
}

// binaryAttributes reads those in the headers; found says whether there are any.
func binaryAttributes(headers amqp.Table, p *problems) (attributes map[string]any, found bool) {
	attributes = map[string]any{}
	for header, value := range headers {
		name, of := attributeName(header)
		if !of {
			continue
		}
		if text, ok := value.([]byte); ok {
			value = string(text)
		}
		if other, twice := attributes[name]; twice && !same(other, value) {
			p.add(name, "stands in the headers twice, with different values")
		}
		attributes[name], found = value, true
	}
	return attributes, found
}

func attributeName(header string) (name string, of bool) {
	for _, prefix := range headerPrefixes {
		if name, of = strings.CutPrefix(header, prefix); of {
			return name, true
		}
	}
	return "", false
}

// same compares two headers; only those of the simple kinds can be the same.
func same(a, b any) bool {
	switch a.(type) {
	case amqp.Table, []any:
		return false
	}
	switch b.(type) {
	case amqp.Table, []any:
		return false
	}
	return a == b
}

// plain reads a message that is no CloudEvent: its body is the data, and AMQP's
// own properties are the attributes.
func plain(d *amqp.Delivery, media string, p *problems) (attributes map[string]any, data json.RawMessage) {
	if media != "" && !isJSON(media) {
		p.add("content_type", "%q is not supported without CloudEvents attributes: send JSON", clip(media))
		return nil, nil
	}
	if d.Type == "" {
		p.add("type", "is missing: neither headers cloudEvents_* nor the AMQP property type are set")
	}
	if d.MessageId == "" {
		p.add("message_id", "is missing: neither headers cloudEvents_* nor the AMQP property message_id are set")
	}
	source := d.AppId
	if source == "" {
		source = d.Exchange
	}
	if source == "" {
		p.add("app_id", "is missing, and the default exchange, which has no name, cannot stand for it")
	}
	attributes = map[string]any{"specversion": "1.0", "id": d.MessageId, "type": d.Type, "source": source}
	if !d.Timestamp.IsZero() {
		attributes["time"] = d.Timestamp
	}
	return attributes, binaryData("body", d.Body, media, p)
}

// binaryData makes JSON of data that came as bytes: JSON stays as it is, text
// becomes a string, and anything else a string in base64. Without a content
// type it is JSON.
func binaryData(at string, data []byte, contentType string, p *problems) json.RawMessage {
	media, err := mediaType(contentType)
	switch {
	case err != nil:
		p.add(at, "%v", err)
		return nil
	case len(data) == 0:
		return nil
	case media == "" || isJSON(media):
		if err := strictjson.Check(data, MaxNesting); err != nil {
			p.add(at, "%v", err)
			return nil
		}
		return present(data)
	case isText(media):
		if !utf8.Valid(data) {
			p.add(at, "is not UTF-8")
			return nil
		}
		return quote(string(data))
	}
	return quote(base64.StdEncoding.EncodeToString(data))
}

// present is nil for JSON that is null.
func present(text json.RawMessage) json.RawMessage {
	if string(bytes.TrimSpace(text)) == "null" {
		return nil
	}
	return text
}

func isJSON(media string) bool {
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

func isText(media string) bool {
	return strings.HasPrefix(media, "text/") || media == "application/xml" || strings.HasSuffix(media, "+xml")
}

func quote(text string) json.RawMessage {
	quoted, _ := json.Marshal(text) // a string always can be
	return quoted
}
