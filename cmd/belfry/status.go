package main

import (
	"context"

	"github.com/belfry-notify/belfry/internal/notify"
)

type statusCommand struct {
	server
	ID    string `arg:"" help:"Id of the notification."`
	Watch bool   `help:"Follow it to its end."`
	All   bool   `help:"List all deliveries, also when there are many." xor:"which"`
	State string `help:"List all deliveries in this state, such as failed." placeholder:"STATE" xor:"which"`
}

// Run shows a notification and its deliveries.
func (c *statusCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	n, err := c.look(ctx, env, client)
	if err != nil {
		return err
	}
	about := n.is.about()
	var deliveries []shownDelivery
	all := true
	if c.All || c.State != "" {
		deliveries, err = client.deliveries(ctx, n.is.ID, notify.State(c.State))
	} else {
		deliveries, all, err = client.noteworthy(ctx, n.is)
	}
	if err != nil {
		return err
	}
	if !all {
		about += n.is.onlyTroubled()
	}
	if err := c.printNotification(env, n, about, deliveries); err != nil {
		return err
	}
	return n.is.verdict()
}

func (c *statusCommand) look(ctx context.Context, env *environment, client *apiClient) (shownNotification, error) {
	if c.Watch {
		return c.watch(ctx, env, client, c.ID, false)
	}
	got, err := client.notification(ctx, c.ID)
	if err != nil {
		return shownNotification{}, err
	}
	return decodeNotification(got)
}

// printNotification prints what there is to say about a notification and a
// table of deliveries, or all of it as JSON.
func (o output) printNotification(env *environment, n shownNotification, about string, deliveries []shownDelivery) error {
	if o.asJSON() {
		text, err := withField(n.text, "deliveries", deliveries)
		if err != nil {
			return err
		}
		return env.printJSON(text)
	}
	if table := deliveryTable(deliveries); table != "" {
		about += "\n" + table
	}
	return env.print(about)
}
