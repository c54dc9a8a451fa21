package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/belfry-notify/belfry/internal/notify"
)

type sendCommand struct {
	server
	Template       string        `help:"Template to send: its name, or name@version." placeholder:"NAME" xor:"what"`
	Subject        string        `help:"Subject of free-form content; with --html." placeholder:"TEXT" xor:"what"`
	HTML           string        `help:"HTML of free-form content; @FILE reads it from a file." name:"html" placeholder:"TEXT"`
	Text           string        `help:"Text beside --html, made from it by default; @FILE reads it from a file." placeholder:"TEXT"`
	To             []string      `help:"User id or mail address, ann@example.com or 'Ann <ann@example.com>'; may be given many times." placeholder:"WHOM" sep:"none" xor:"whom"`
	Audience       string        `help:"File of recipients to upload and send to, then followed to the end: .csv, whose first line names the columns (user_id or email, and name), .ndjson or .jsonl; or - for standard input." placeholder:"FILE" xor:"whom"`
	AudienceFormat string        `help:"What the file of --audience is, csv or ndjson; by default what its name ends in." placeholder:"FORMAT"`
	AudienceID     string        `help:"Id of an audience that was uploaded before." placeholder:"ID" xor:"whom"`
	AllUsers       bool          `help:"Send to all users that the idp knows." xor:"whom"`
	Rate           string        `help:"How fast a large one is to go out at most, such as 200/s." placeholder:"RATE"`
	Data           string        `help:"What the template sees, a JSON object; @FILE reads it from a file, - from standard input." placeholder:"JSON" default:"{}"`
	Channel        []string      `help:"Channel to send over, email by default; may be given many times." placeholder:"NAME"`
	SendAt         time.Time     `help:"When it is to go out, such as 2026-12-01T09:00:00Z; now by default." placeholder:"TIME" xor:"when" format:"2006-01-02T15:04:05Z07:00"`
	Delay          time.Duration `help:"After how long it is to go out, such as 90m." placeholder:"DURATION" xor:"when"`
	Tag            []string      `help:"Tag to find it by; may be given many times." placeholder:"TAG" sep:"none"`
	IdempotencyKey *string       `help:"Sending twice under the same key sends once. A random one by default, for the tries of this command." placeholder:"KEY"`
	Wait           bool          `help:"Wait until it is done and print the outcome of each delivery; where they are many, of those that failed."`
}

// maxKey is how many characters an idempotency key may have.
const maxKey = 255

// Validate says what is wrong with the flags together. An empty key, such as a
// variable that was not set, would send twice what was to be sent once.
func (c *sendCommand) Validate() error {
	switch {
	case c.Template == "" && (c.Subject == "" || c.HTML == ""):
		return usagef("needs --template, or --subject and --html")
	case c.Template != "" && (c.HTML != "" || c.Text != ""):
		return usagef("--html and --text go with --subject, not with --template")
	case len(c.To) == 0 && c.Audience == "" && c.AudienceID == "" && !c.AllUsers:
		return usagef("needs one of --to, --audience, --audience-id and --all-users")
	case c.AudienceFormat != "" && c.Audience == "":
		return usagef("--audience-format goes with --audience")
	case c.Audience == "-" && slices.Contains([]string{c.Data, c.HTML, c.Text}, "-"):
		return usagef("standard input can be read once: --audience or another flag needs a file")
	case c.IdempotencyKey == nil:
		return nil
	}
	if key := *c.IdempotencyKey; key == "" || len(key) > maxKey || !isPrintableASCII(key) {
		return usagef("--idempotency-key: needs 1 to %d printable characters", maxKey)
	}
	return nil
}

type sendRequest struct {
	Template string             `json:"template,omitempty"`
	Content  *notify.Bodies     `json:"content,omitempty"`
	To       []notify.Recipient `json:"to,omitempty"`
	Audience *sendAudience      `json:"audience,omitempty"`
	Channels []string           `json:"channels,omitempty"`
	Data     json.RawMessage    `json:"data"`
	Tags     []string           `json:"tags,omitempty"`
	SendAt   *time.Time         `json:"send_at,omitempty"`
	Delay    string             `json:"delay,omitempty"`
	Rate     string             `json:"rate,omitempty"`
}

// sendAudience names many recipients: one of the two.
type sendAudience struct {
	ID       string `json:"id,omitempty"`
	AllUsers bool   `json:"all_users,omitempty"`
}

// Run sends a notification, to an audience once that is uploaded.
func (c *sendCommand) Run(ctx context.Context, env *environment) error {
	client, err := c.client(env)
	if err != nil {
		return err
	}
	request, err := c.request(ctx, env)
	if err != nil {
		return err
	}
	if c.Audience == "" {
		return c.send(ctx, env, client, request, nil)
	}
	list, err := newRecipientList(c.Audience, "--audience-format", c.AudienceFormat)
	if err != nil {
		return err
	}
	uploaded, err := c.upload(ctx, env, client, list)
	if err != nil {
		return err
	}
	if !c.asJSON() {
		env.complain(uploaded.is.kept())
	}
	request.Audience = &sendAudience{ID: uploaded.is.ID}
	return c.send(ctx, env, client, request, uploaded.text)
}

// send has the request accepted, and follows the notification where that is
// wanted. Uploaded is the audience as the server showed it, nil without one.
func (c *sendCommand) send(ctx context.Context, env *environment, client *apiClient, request *sendRequest, uploaded json.RawMessage) error {
	key := uuid.NewString()
	if c.IdempotencyKey != nil {
		key = *c.IdempotencyKey
	}
	got, err := client.send(ctx, key, request)
	switch {
	case err != nil && uploaded != nil && isRefused(err, http.StatusConflict):
		return fmt.Errorf("%w\neach upload makes another audience, and so another request; under a key, upload once (belfry audience put) and send with --audience-id", err)
	case err != nil && uploaded != nil:
		return fmt.Errorf("%w\nthe audience is kept; in place of --audience: --audience-id %s", err, request.Audience.ID)
	case err != nil:
		return err
	}
	n, err := decodeNotification(got)
	if err != nil {
		return err
	}
	if c.IdempotencyKey != nil && got.header.Get("Idempotency-Replayed") == "true" && !c.asJSON() {
		env.complain("sent before under this key, not again")
	}
	waits := n.is.Status == notify.StatusScheduled
	if c.Wait || uploaded != nil && !waits {
		if uploaded != nil && !c.asJSON() {
			env.complain("notification " + n.is.ID + " is accepted")
		}
		return c.finish(ctx, env, client, n.is.ID, uploaded)
	}
	if waits && request.Audience != nil {
		// Where this fails it is accepted all the same.
		if looked, err := client.look(ctx, n.is.ID, true); err == nil {
			n = looked
		}
	}
	return c.printAccepted(env, n, uploaded)
}

// printAccepted prints the id, and when it goes out where that was looked up.
func (c *sendCommand) printAccepted(env *environment, n shownNotification, uploaded json.RawMessage) error {
	if c.asJSON() {
		text, err := withAudience(n, uploaded)
		if err != nil {
			return err
		}
		return env.printJSON(text)
	}
	if !n.is.SendAt.IsZero() {
		env.complain("it goes out at " + when(n.is.SendAt) + "; to follow it: belfry status --watch " + n.is.ID)
	}
	return env.print(printableLine(n.is.ID) + "\n")
}

// finish waits for the end and prints how each delivery ended, or only the
// troubled ones of many.
func (c *sendCommand) finish(ctx context.Context, env *environment, client *apiClient, id string, uploaded json.RawMessage) error {
	n, err := c.watch(ctx, env, client, id, true)
	if isRefused(err, http.StatusForbidden) {
		return fmt.Errorf("%w\nnotification %s is accepted all the same", err, id)
	}
	if err != nil {
		return err
	}
	about := printableLine(n.is.ID+" "+n.is.outcome()) + "\n"
	var deliveries []shownDelivery
	all := true
	if len(c.To) > 0 {
		deliveries, err = client.deliveries(ctx, id, "")
	} else {
		deliveries, all, err = client.noteworthy(ctx, n.is)
	}
	if err != nil {
		return err
	}
	if !all && n.is.verdict() != nil {
		about += n.is.onlyTroubled()
	}
	if n.text, err = withAudience(n, uploaded); err != nil {
		return err
	}
	if err := c.printNotification(env, n, about, deliveries); err != nil {
		return err
	}
	return n.is.verdict()
}

func (c *sendCommand) request(ctx context.Context, env *environment) (*sendRequest, error) {
	data, err := env.readObject(ctx, "--data", c.Data)
	if err != nil {
		return nil, err
	}
	request := &sendRequest{
		Template: c.Template, To: parseRecipients(c.To), Data: data, Channels: c.Channel, Tags: c.Tag, SendAt: given(c.SendAt), Rate: c.Rate,
	}
	if c.AudienceID != "" || c.AllUsers {
		request.Audience = &sendAudience{ID: c.AudienceID, AllUsers: c.AllUsers}
	}
	if c.Delay != 0 {
		request.Delay = c.Delay.String()
	}
	if c.Template == "" {
		email := &notify.Email{Subject: c.Subject}
		if email.HTML, err = env.read(ctx, c.HTML); err != nil {
			return nil, fmt.Errorf("--html: %w", err)
		}
		if email.Text, err = env.read(ctx, c.Text); err != nil {
			return nil, fmt.Errorf("--text: %w", err)
		}
		request.Content = &notify.Bodies{Email: email}
	}
	return request, nil
}

func parseRecipients(to []string) []notify.Recipient {
	recipients := make([]notify.Recipient, len(to))
	for i, whom := range to {
		recipients[i] = parseRecipient(whom)
	}
	return recipients
}

// parseRecipient takes what has an @ for an address, with a name or without.
// Whether it is a valid one, the server says.
func parseRecipient(to string) notify.Recipient {
	if !strings.Contains(to, "@") {
		return notify.Recipient{UserID: to}
	}
	if named, err := mail.ParseAddress(to); err == nil && named.Name != "" {
		return notify.Recipient{Email: named.Address, Name: named.Name}
	}
	return notify.Recipient{Email: to}
}

// readObject reads a flag's value that is a JSON object. Its text stays as it
// is, so that the server sees a key that is there twice.
func (e *environment) readObject(ctx context.Context, flag, value string) (json.RawMessage, error) {
	text, err := e.read(ctx, value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return nil, usagef("%s: not a JSON object: %s", flag, err)
	}
	if object == nil {
		return nil, usagef("%s: not a JSON object", flag)
	}
	return json.RawMessage(text), nil
}

// send has a notification accepted. The key makes it safe to try again when
// the answer was lost.
func (c *apiClient) send(ctx context.Context, key string, request *sendRequest) (answer, error) {
	header := http.Header{"Idempotency-Key": {key}}
	got, err := c.insist(ctx, isTransient, func() (answer, error) {
		return c.ask(ctx, http.MethodPost, "/v1/notifications", header, request)
	})
	if err != nil && (isTransient(err) || ctx.Err() != nil) {
		return got, fmt.Errorf("%w\nit may have been accepted; to try again without sending it twice: --idempotency-key %s", err, key)
	}
	return got, err
}
