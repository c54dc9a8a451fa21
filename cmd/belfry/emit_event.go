package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/event"
)

// An emission is an event as it is published.
type emission struct {
	id      string
	key     string // the routing key: its type
	message amqp.Publishing
}

// maxShort is how long AMQP lets a property or a routing key be, in bytes.
const maxShort = 255

// attributeName is what CloudEvents allows, in a length that a header can have.
var attributeName = regexp.MustCompile(`^[a-z0-9_]{1,100}$`)

// newEmission writes an event of its attributes, data among them, and of what
// stands for those that are not there. It refuses what Belfry would refuse.
func newEmission(attributes map[string]json.RawMessage, encoding string, otherwise map[string]string) (emission, error) {
	attributes = maps.Clone(attributes)
	for name := range attributes {
		if !attributeName.MatchString(name) {
			return emission{}, fmt.Errorf("%.60q is not the name of an attribute", name)
		}
	}
	for name, value := range otherwise {
		if _, there := attributes[name]; !there && value != "" {
			attributes[name] = quoted(value)
		}
	}
	if _, there := attributes["id"]; !there {
		attributes["id"] = quoted(uuid.NewString())
	}
	message, err := encodings[encoding](attributes)
	if err != nil {
		return emission{}, err
	}
	decoded, err := event.Decode(&amqp.Delivery{
		Headers: message.Headers, ContentType: message.ContentType, Type: message.Type, MessageId: message.MessageId,
		AppId: message.AppId, Timestamp: message.Timestamp, Body: message.Body,
	})
	if err != nil {
		return emission{}, err
	}
	for name, value := range map[string]string{"id": decoded.ID, "type": decoded.Type, "source": message.AppId} {
		if len(value) > maxShort {
			return emission{}, fmt.Errorf("%s: is %d bytes long, RabbitMQ takes at most %d here", name, len(value), maxShort)
		}
	}
	message.MessageId, message.DeliveryMode = decoded.ID, amqp.Persistent
	return emission{id: decoded.ID, key: decoded.Type, message: message}, nil
}

// encodings are the ways of writing an event that event.Decode reads.
var encodings = map[string]func(map[string]json.RawMessage) (amqp.Publishing, error){
	"structured": writeStructured,
	"binary":     writeBinary,
	"plain":      writePlain,
}

func writeStructured(attributes map[string]json.RawMessage) (amqp.Publishing, error) {
	body, err := encodeJSON(attributes)
	return amqp.Publishing{ContentType: "application/cloudevents+json", Body: body}, err
}

func writeBinary(attributes map[string]json.RawMessage) (amqp.Publishing, error) {
	message := amqp.Publishing{ContentType: "application/json", Headers: amqp.Table{}, Body: attributes["data"]}
	for name, value := range attributes {
		switch name {
		case "data":
			continue
		case "data_base64", "datacontenttype":
			return message, fmt.Errorf("%s: goes with --encoding structured", name)
		}
		text, err := plainText(value)
		if err != nil {
			return message, fmt.Errorf("%s: %w", name, err)
		}
		message.Headers["cloudEvents_"+name] = text
	}
	return message, nil
}

func writePlain(attributes map[string]json.RawMessage) (amqp.Publishing, error) {
	message := amqp.Publishing{ContentType: "application/json", Body: attributes["data"]}
	places := map[string]*string{"id": &message.MessageId, "type": &message.Type, "source": &message.AppId}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		text, err := plainText(attributes[name])
		switch place, there := places[name]; {
		case name == "data", name == "specversion":
		case err != nil:
			return message, fmt.Errorf("%s: %w", name, err)
		case there:
			*place = text
		case name == "time":
			if message.Timestamp, err = time.Parse(time.RFC3339, text); err != nil {
				return message, errors.New("time: is not a time as in RFC 3339")
			}
		default:
			return message, fmt.Errorf("%s: has no place in a plain event, use --encoding structured or binary", name)
		}
	}
	return message, nil
}

// plainText is an attribute's value as it stands in a header: CloudEvents has
// strings, booleans and whole numbers.
func plainText(value json.RawMessage) (string, error) {
	var decoded any
	if err := json.Unmarshal(value, &decoded); err != nil {
		return "", err
	}
	switch v := decoded.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return string(value), nil
	}
	return "", errors.New("must be a string, a number or true or false")
}

func quoted(text string) json.RawMessage {
	value, _ := json.Marshal(text) // a string always can be
	return value
}
