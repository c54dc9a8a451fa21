package main

import "context"

type statusCommand struct {
	server
	ID    string `arg:"" help:"Id of the notification."`
	Watch bool   `help:"Follow it to its end."`
	All   bool   `help:"List all deliveries, also when there are many."`
}

// fewDeliveries is up to how many deliveries all of them are listed unasked.
const fewDeliveries = 50

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
	if c.All || n.is.Counts.Total <= fewDeliveries {
		deliveries, err = client.deliveries(ctx, n.is.ID, "")
	} else {
		about += "\nOnly deliveries that are queued, unknown or failed; --all lists all.\n"
		deliveries, err = client.troubled(ctx, n.is.ID)
	}
	if err != nil {
		return err
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
		text, err := withDeliveries(n, deliveries)
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
