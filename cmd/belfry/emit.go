package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/strictjson"
)

type emitCommand struct {
	Type     string  `help:"Type of the event, such as film.released; with --lines, of those that name none." placeholder:"TYPE"`
	Data     *string `help:"What is told of it, in JSON, {} by default; @FILE reads it from a file, - from standard input." placeholder:"JSON"`
	Source   string  `help:"Who tells it. Source and id name an event: emitted again, it leads to nothing again." default:"belfry-emit"`
	ID       *string `name:"id" help:"Id of the event; a random one by default." placeholder:"ID"`
	Subject  string  `help:"What it is about, among what its source knows." placeholder:"TEXT"`
	Lines    bool    `help:"Read events from standard input, one a line: CloudEvents in JSON, of which specversion, id, source, type and time may be left out."`
	Encoding string  `enum:"structured,binary,plain" default:"structured" help:"How it is written: as a structured or binary CloudEvent, or as plain JSON with AMQP properties."`
	Exchange string  `default:"belfry.events" help:"Exchange to publish to."`
	AMQP     string  `name:"amqp" default:"amqp://guest:guest@127.0.0.1:5672/" env:"BELFRY_AMQP_URL" placeholder:"URL" help:"Where RabbitMQ is, amqp://guest:guest@127.0.0.1:5672/ by default."`
}

// defaultAMQP is where RabbitMQ is unless told otherwise.
const defaultAMQP = "amqp://guest:guest@127.0.0.1:5672/" //nolint:gosec // as every RabbitMQ has it for this machine

// Validate says what is wrong with the flags together. An empty id, such as a
// variable that was not set, would make two events of one.
func (c *emitCommand) Validate() error {
	switch {
	case c.Lines && (c.Data != nil || c.ID != nil || c.Subject != ""):
		return usagef("--data, --id and --subject are in the lines themselves with --lines")
	case c.Type == "" && !c.Lines:
		return usagef("needs --type, or --lines")
	case c.Source == "":
		return usagef("--source: must not be empty")
	case c.ID != nil && *c.ID == "":
		return usagef("--id: must not be empty")
	case c.Exchange == "":
		return usagef("--exchange: must not be empty")
	}
	return nil
}

// Run publishes events, and prints the id of each that RabbitMQ has confirmed.
func (c *emitCommand) Run(ctx context.Context, env *environment) error {
	if c.AMQP == "" { // an empty variable counts as not set
		c.AMQP = defaultAMQP
	}
	if _, err := amqp.ParseURI(c.AMQP); err != nil { // what is wrong with it may quote a password
		return usagef("--amqp: needs an address such as " + defaultAMQP)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events := c.lines(ctx, env)
	if !c.Lines {
		one, err := c.flags(ctx, env)
		if err != nil {
			return err
		}
		events = func(yield func(emission, error) bool) { yield(one, nil) }
	}
	p, err := openPublisher(ctx, c.AMQP, c.Exchange)
	if err != nil {
		return err
	}
	defer p.close()
	return p.publish(ctx, events, func(id string) error { return env.print(printableLine(id) + "\n") })
}

// flags is the event that the flags describe.
func (c *emitCommand) flags(ctx context.Context, env *environment) (emission, error) {
	attributes := map[string]json.RawMessage{"data": json.RawMessage("{}")}
	if c.Data != nil {
		text, err := env.read(ctx, *c.Data)
		if err != nil {
			return emission{}, fmt.Errorf("--data: %w", err)
		}
		if err := strictjson.Check([]byte(text), event.MaxNesting); err != nil {
			return emission{}, usagef("--data: %s", err)
		}
		attributes["data"] = json.RawMessage(text)
	}
	if c.ID != nil {
		attributes["id"] = quoted(*c.ID)
	}
	if c.Subject != "" {
		attributes["subject"] = quoted(c.Subject)
	}
	e, err := c.emission(attributes)
	if err != nil {
		return e, usagef("%s", err)
	}
	return e, nil
}

// maxLine is how long a line may be: an event, and some room for white space.
const maxLine = event.MaxBytes + 64<<10

// lines are the events on standard input. It ends with ctx, which a read from a
// terminal does not.
func (c *emitCommand) lines(ctx context.Context, env *environment) iter.Seq2[emission, error] {
	type line struct {
		emission
		err error
	}
	return func(yield func(emission, error) bool) {
		lines := make(chan line)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		send := func(l line) bool {
			select {
			case lines <- l:
				return l.err == nil
			case <-ctx.Done():
				return false
			}
		}
		go func() {
			defer close(lines)
			scanner := bufio.NewScanner(env.in)
			scanner.Buffer(nil, maxLine)
			number := 0
			for scanner.Scan() {
				number++
				if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
					continue
				}
				e, err := c.line(bytes.Clone(scanner.Bytes()))
				if err != nil {
					err = fmt.Errorf("line %d: %w", number, err)
				}
				if !send(line{e, err}) {
					return
				}
			}
			if err := scanner.Err(); err != nil {
				send(line{err: fmt.Errorf("line %d: %w", number+1, err)})
			}
		}()
		for {
			select {
			case l, more := <-lines:
				if !more || !yield(l.emission, l.err) {
					return
				}
			case <-ctx.Done():
				yield(emission{}, context.Cause(ctx))
				return
			}
		}
	}
}

func (c *emitCommand) line(text []byte) (emission, error) {
	if err := strictjson.Check(text, event.MaxNesting); err != nil {
		return emission{}, err
	}
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(text, &attributes); err != nil || attributes == nil {
		return emission{}, usagef("not a JSON object")
	}
	return c.emission(attributes)
}

// emission is an event with what its attributes leave out.
func (c *emitCommand) emission(attributes map[string]json.RawMessage) (emission, error) {
	return newEmission(attributes, c.Encoding, map[string]string{
		"specversion": "1.0", "source": c.Source, "type": c.Type, "time": time.Now().UTC().Format(time.RFC3339Nano),
	})
}
