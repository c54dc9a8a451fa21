package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
)

// environment is what a command meets outside of this process.
type environment struct {
	in   io.Reader
	out  io.Writer
	err  io.Writer
	live bool // err is a terminal, where a line can be written over
	http *http.Client
}

func processEnvironment() *environment {
	return &environment{in: os.Stdin, out: os.Stdout, err: os.Stderr, live: isTerminal(os.Stderr), http: newHTTPClient()}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// overwrite returns to the beginning of a terminal's line and clears it.
const overwrite = "\r\x1b[K"

// noWrap has a terminal cut a line at its edge, where overwrite could not clear
// what goes on below; wrap ends that.
const (
	noWrap = "\x1b[?7l"
	wrap   = "\x1b[?7h"
)

// complain prints a line about something that goes wrong, in the place of a
// progress line.
func (e *environment) complain(text string) {
	if e.live {
		fmt.Fprint(e.err, overwrite)
	}
	fmt.Fprintln(e.err, "belfry:", printable(text))
}

// print prints a text as it is.
func (e *environment) print(text string) error {
	if _, err := io.WriteString(e.out, text); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printJSON prints JSON as it came from the server, with indentation.
func (e *environment) printJSON(text json.RawMessage) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(text), "", "  "); err != nil {
		return fmt.Errorf("read Belfry's answer: %w", err)
	}
	return e.print(printableJSON(indented.String()) + "\n")
}

// printValue prints a value as JSON.
func (e *environment) printValue(v any) error {
	text, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return e.printJSON(text)
}

// encodeJSON leaves <, > and & alone: escaped they would count six times
// against the limits of a request.
func encodeJSON(v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return text.Bytes(), err
}

// aligned lays out rows of cells in columns. Cells become printable.
func aligned(rows [][]string) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, printableLine(cell))
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // a strings.Builder takes everything
	return trimLines(text.String())
}

// trimLines removes the space that aligning leaves at the ends of lines.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// read gives a flag's value: the text itself, with @ before it the file of that
// name, or what comes in over standard input for -.
func (e *environment) read(ctx context.Context, value string) (string, error) {
	if value == "-" {
		text, err := e.readInput(ctx)
		return string(text), err
	}
	name, isFile := strings.CutPrefix(value, "@")
	if !isFile {
		return value, nil
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

// readInput reads standard input to its end, or until ctx ends: a read from a
// terminal cannot be stopped otherwise.
func (e *environment) readInput(ctx context.Context) ([]byte, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := io.ReadAll(e.in)
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
