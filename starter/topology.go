package starter

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Names of what there is of Belfry's in RabbitMQ.
const (
	Exchange  = "belfry.events"      // where events are published
	Queue     = "belfry.intake"      // takes all of them
	DeadQueue = "belfry.intake.dead" // those that nothing can be made of
)

// deliveryLimit is after how many deliveries RabbitMQ drops a message from the
// queue. Without one, RabbitMQ 4 does so after 20: an outage would be enough.
const deliveryLimit = 1_000_000_000

// declare makes what is not there yet.
func declare(connection *amqp.Connection) error {
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer channel.Close()
	if err := channel.ExchangeDeclare(Exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return declared("exchange "+Exchange, err)
	}
	for queue, args := range map[string]amqp.Table{
		Queue:     {amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": deliveryLimit},
		DeadQueue: {amqp.QueueTypeArg: amqp.QueueTypeQuorum},
	} {
		if _, err := channel.QueueDeclare(queue, true, false, false, false, args); err != nil {
			return declared("queue "+queue, err)
		}
	}
	if err := channel.QueueBind(Queue, "#", Exchange, false, nil); err != nil {
		return declared("binding of "+Queue, err)
	}
	return nil
}

// declared says what could not be.
func declared(what string, err error) error {
	if refusal, ok := errors.AsType[*amqp.Error](err); ok && refusal.Code == amqp.PreconditionFailed {
		return fmt.Errorf("the %s is there with other arguments than Belfry's: move what is in it away and delete it, Belfry makes it anew: %w", what, err)
	}
	return fmt.Errorf("declare the %s: %w", what, err)
}
