package starter

import (
	"context"
	"errors"
	"maps"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Headers of a dead letter, beside those that its message had.
const (
	ReasonHeader     = "belfry-reason"      // why nothing could be made of it
	exchangeHeader   = "belfry-exchange"    // where it was published
	routingKeyHeader = "belfry-routing-key" // and how
)

// Limits of a dead letter's headers, in bytes.
const (
	maxReason = 1000
	headroom  = 6 << 10 // of a frame, for the reason and all that is not a header
)

// bury puts a message among the dead letters, and returns nil when it is there
// to stay.
func (s *session) bury(ctx context.Context, d *amqp.Delivery, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	confirmation, err := s.dead.PublishWithDeferredConfirmWithContext(ctx, "", DeadQueue, true, false,
		deadLetter(d, reason, s.connection.Config.FrameSize-headroom))
	if err != nil {
		return err
	}
	confirmed, err := confirmation.WaitContext(ctx)
	switch {
	case err != nil:
		return err
	case !confirmed:
		return errors.New("RabbitMQ refused it")
	case len(s.returned) > 0: // a return comes before its confirmation
		return errors.New("there is no queue " + DeadQueue)
	}
	return nil
}

// deadLetter is a message as it came, with the reason why nothing could be made
// of it. What would act on RabbitMQ again is left out: recipients of copies,
// the user, the expiry. So are headers that take more than maxHeaders bytes,
// since a frame has to hold them.
func deadLetter(d *amqp.Delivery, reason string, maxHeaders int) amqp.Publishing {
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "..."
	}
	headers := amqp.Table{}
	if size(d.Headers) <= maxHeaders {
		maps.Copy(headers, d.Headers)
	} else {
		reason += "; its headers were too long to be kept"
	}
	for _, acts := range []string{"CC", "BCC", "x-delivery-count"} {
		delete(headers, acts)
	}
	headers[ReasonHeader] = strings.ToValidUTF8(reason, "?")
	headers[exchangeHeader], headers[routingKeyHeader] = d.Exchange, d.RoutingKey
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}

// size is how many bytes a header takes at most.
func size(value any) int {
	const kindAndLength = 9
	switch v := value.(type) {
	case amqp.Table:
		sum := kindAndLength
		for name, field := range v {
			sum += 1 + len(name) + size(field)
		}
		return sum
	case []any:
		sum := kindAndLength
		for _, field := range v {
			sum += size(field)
		}
		return sum
	case string:
		return kindAndLength + len(v)
	case []byte:
		return kindAndLength + len(v)
	}
	return kindAndLength
}
