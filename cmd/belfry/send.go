package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

type sendCommand struct {
	server
	Template       string   `help:"Template to send: its name, or name@version." xor:"what" required:""`
	Subject        string   `help:"Subject of free-form content; with --html." xor:"what" required:""`
	HTML           string   `help:"HTML of free-form content." name:"html"`
	To             []string `required:"" help:"User id or mail address; may be given many times." sep:"none"`
	Data           string   `help:"What the template sees, a JSON object." default:"{}"`
	Tag            []string `help:"Tag to find it by; may be given many times."`
	IdempotencyKey string   `help:"Sending twice with the same key sends once."`
	Wait           bool     `help:"Wait until it is done and print the outcome of each delivery."`
}

type sendRequest struct {
	Template string             `json:"template,omitempty"`
	Content  *notify.Bodies     `json:"content,omitempty"`
	To       []notify.Recipient `json:"to"`
	Data     json.RawMessage    `json:"data"`
	Tags     []string           `json:"tags,omitempty"`
}

// Run sends a notification.
func (c *sendCommand) Run(ctx context.Context) error {
	if !json.Valid([]byte(c.Data)) {
		return errors.New("--data: not JSON")
	}
	request := sendRequest{Template: c.Template, Data: json.RawMessage(c.Data), Tags: c.Tag}
	if c.Subject != "" {
		request.Content = &notify.Bodies{Email: &notify.Email{Subject: c.Subject, HTML: c.HTML}}
	}
	for _, to := range c.To {
		if strings.Contains(to, "@") {
			request.To = append(request.To, notify.Recipient{Email: to})
		} else {
			request.To = append(request.To, notify.Recipient{UserID: to})
		}
	}
	header := http.Header{}
	if c.IdempotencyKey != "" {
		header.Set("Idempotency-Key", c.IdempotencyKey)
	}
	var accepted struct {
		ID string `json:"id"`
	}
	if err := c.call(ctx, http.MethodPost, "/v1/notifications", header, request, &accepted); err != nil {
		return err
	}
	if c.Wait {
		return c.watch(ctx, accepted.ID)
	}
	if c.Output == "json" {
		return printJSON(accepted)
	}
	fmt.Println(accepted.ID)
	return nil
}

// pollInterval is how often a notification that runs is looked at.
const pollInterval = 300 * time.Millisecond

// manyDeliveries is from how many deliveries on there is a progress line.
const manyDeliveries = 20

// errNotAllSent makes the exit code 1; what was not sent has been printed.
var errNotAllSent = errors.New("not everything was sent")

// watch follows a notification to its end and prints how each delivery ended.
func (s server) watch(ctx context.Context, id string) error {
	var n standing
	for {
		var err error
		if n, err = s.notification(ctx, id); err != nil {
			return err
		}
		if n.Counts.Total >= manyDeliveries && s.Output == "text" {
			progressLine(os.Stderr, n)
		}
		if n.Status.Ended() {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped watching; %s goes on: belfry status %s", id, id)
		case <-time.After(pollInterval):
		}
	}
	if n.Counts.Total >= manyDeliveries && s.Output == "text" {
		fmt.Fprintln(os.Stderr)
	}
	deliveries, err := s.deliveries(ctx, id)
	if err != nil {
		return err
	}
	if s.Output == "json" {
		err = printJSON(struct {
			standing
			Deliveries []notify.Delivery `json:"deliveries"`
		}{n, deliveries})
	} else {
		err = printStanding(os.Stdout, n, deliveries)
	}
	if err == nil && n.Counts.Sent+n.Counts.Delivered < n.Counts.Total {
		return errNotAllSent
	}
	return err
}

func progressLine(w io.Writer, n standing) {
	c := n.Counts
	fmt.Fprintf(w, "\r%s: %d of %d done, %d sent, %d failed ", n.Status, c.Total-c.Queued, c.Total, c.Sent+c.Delivered, c.Failed)
}

// printStanding prints a notification and a line for each delivery.
func printStanding(w io.Writer, n standing, deliveries []notify.Delivery) error {
	fmt.Fprintf(w, "%s  %s\n", n.ID, n.Status)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range deliveries {
		whom := d.Address
		if d.UserID != "" {
			whom = strings.TrimSpace(d.UserID + " " + d.Address)
		}
		notes := []string{}
		if d.Reason != "" {
			notes = append(notes, string(d.Reason))
		}
		if d.Resent {
			notes = append(notes, "resent")
		}
		if last := len(d.Attempts) - 1; last >= 0 && d.Attempts[last].Error != "" {
			notes = append(notes, d.Attempts[last].Error)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", d.State, d.Channel, whom, d.Provider, strings.Join(notes, ": "))
	}
	return table.Flush()
}

func printJSON(v any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
