package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// inMemory answers requests without a network, so that tests can let time pass
// at once. A handler that panics with http.ErrAbortHandler gives no answer.
type inMemory struct{ handler http.Handler }

func (m inMemory) RoundTrip(r *http.Request) (response *http.Response, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			response, err = nil, errors.New("connection reset")
		}
	}()
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	response = recorder.Result()
	response.Request = r
	return response, nil
}

// A ran is what came of a command line.
type ran struct {
	code     int
	out, err string
}

// A caller runs command lines.
type caller struct {
	handler http.Handler
	input   string
	live    bool
}

func (c caller) run(ctx context.Context, args ...string) ran {
	var out, complaints bytes.Buffer
	client := newHTTPClient()
	client.Transport = inMemory{c.handler}
	env := &environment{in: strings.NewReader(c.input), out: &out, err: &complaints, live: c.live, http: client}
	code := execute(ctx, args, env)
	return ran{code: code, out: out.String(), err: complaints.String()}
}

// answering is a handler that answers each method and path with a status and
// a body.
func answering(answers map[string]string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "there is nothing at "+r.URL.Path)
	})
	for pattern, body := range answers {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
		})
	}
	return mux
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail, "code": "x"})
}

// compact is JSON as a server writes it.
func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, []byte(text)), "%s", text)
	return b.String()
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		args  []string
		input string
		says  string
	}{
		{"unknown command", []string{"sent"}, "", "unexpected argument sent"},
		{"no recipient", []string{"send", "--template", "x"}, "", "needs one of --to, --audience, --audience-id and --all-users"},
		{"an empty audience id", []string{"send", "--template", "x", "--audience-id", ""}, "", "needs one of --to"},
		{"a recipient and everybody", []string{"send", "--template", "x", "--to", "u", "--all-users"}, "", "can't be used together"},
		{"two audiences", []string{"send", "--template", "x", "--audience", "a.csv", "--audience-id", "a"}, "", "can't be used together"},
		{"an audience of another format", []string{"send", "--template", "x", "--audience", "a.xlsx"}, "", "a.xlsx: does not end in .csv, .ndjson or .jsonl, so it needs --audience-format csv or ndjson"},
		{"an audience on standard input", []string{"send", "--template", "x", "--audience", "-"}, "", "standard input: needs --audience-format csv or ndjson"},
		{"an unknown format", []string{"send", "--template", "x", "--audience", "a.csv", "--audience-format", "xlsx"}, "", "--audience-format: needs csv or ndjson"},
		{"a format of nothing", []string{"send", "--template", "x", "--audience-id", "a", "--audience-format", "csv"}, "", "--audience-format goes with --audience"},
		{"standard input twice", []string{"send", "--template", "x", "--data", "-", "--audience", "-", "--audience-format", "csv"}, "{}", "standard input can be read once"},
		{"an unknown format to put", []string{"audience", "put", "people"}, "", "needs --format csv or ndjson"},
		{"nobody to listen for", []string{"listen"}, "", "needs --user, or a user's own token as --key"},
		{"nothing to send", []string{"send", "--to", "x"}, "", "needs --template, or --subject and --html"},
		{"a subject alone", []string{"send", "--to", "x", "--subject", "s"}, "", "needs --template, or --subject and --html"},
		{"template and subject", []string{"send", "--to", "x", "--subject", "s", "--template", "t"}, "", "can't be used together"},
		{"template and HTML", []string{"send", "--to", "x", "--html", "s", "--template", "t"}, "", "--html"},
		{"template and text", []string{"send", "--to", "x", "--text", "s", "--template", "t"}, "", "--text"},
		{"data that is not JSON", []string{"send", "--to", "x", "--template", "t", "--data", "film=Solaris"}, "", "--data: not a JSON object"},
		{"data that is no object", []string{"send", "--to", "x", "--template", "t", "--data", `["Solaris"]`}, "", "--data: not a JSON object"},
		{"data that is null", []string{"send", "--to", "x", "--template", "t", "--data", `null`}, "", "--data: not a JSON object"},
		{"no data on standard input", []string{"send", "--to", "x", "--template", "t", "--data", "-"}, "", "--data: not a JSON object"},
		{"empty key", []string{"send", "--to", "x", "--template", "t", "--idempotency-key", ""}, "", "--idempotency-key"},
		{"key with a line break", []string{"send", "--to", "x", "--template", "t", "--idempotency-key", "a\nb"}, "", "--idempotency-key"},
		{"key too long", []string{"send", "--to", "x", "--template", "t", "--idempotency-key", strings.Repeat("k", 256)}, "", "--idempotency-key"},
		{"server without a scheme", []string{"status", "x", "--server", "localhost:8080"}, "", "--server"},
		{"API key with a line break", []string{"status", "x", "--key", "a\nb"}, "", "--key"},
		{"unknown output", []string{"status", "x", "-o", "xml"}, "", "--output"},
		{"no id", []string{"status"}, "", "<id>"},
		{"an event of no type", []string{"emit", "--data", "{}"}, "", "needs --type, or --lines"},
		{"an event with an empty id", []string{"emit", "--type", "t", "--id", ""}, "", "--id: must not be empty"},
		{"an event of nobody", []string{"emit", "--type", "t", "--source", ""}, "", "--source: must not be empty"},
		{"an event of no URI", []string{"emit", "--type", "t", "--source", "%zz"}, "", "source: is not a URI reference"},
		{"an event of a long type", []string{"emit", "--type", strings.Repeat("t", 256)}, "", "type: is 256 bytes long"},
		{"lines and data", []string{"emit", "--lines", "--data", "{}"}, "", "--data, --id and --subject are in the lines"},
		{"no JSON to emit", []string{"emit", "--type", "t", "--data", "Solaris"}, "", "--data: not JSON"},
		{"a key twice to emit", []string{"emit", "--type", "t", "--data", "-"}, `{"a":1,"a":2}`, "--data: repeated key at /a"},
		{"a subject in a plain event", []string{"emit", "--type", "t", "--subject", "x", "--encoding", "plain"}, "", "subject: has no place in a plain event"},
		{"an unknown encoding", []string{"emit", "--type", "t", "--encoding", "xml"}, "", "--encoding"},
		{"no RabbitMQ", []string{"emit", "--type", "t", "--amqp", "http://u:secret@h"}, "", "--amqp: needs an address such as amqp://"},
		{"a list of none", []string{"list", "--limit", "0"}, "", "--limit: needs a number from 1 on"},
		{"health of what is no address", []string{"health", "--addr", "nowhere"}, "", "host:port"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			unasked := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
			got := caller{handler: unasked, input: test.input}.run(t.Context(), test.args...)
			require.Equal(t, exitUsage, got.code, got.err)
			require.Empty(t, got.out)
			require.True(t, strings.HasPrefix(got.err, "belfry: "), got.err)
			require.Contains(t, got.err, test.says)
		})
	}
}

func TestVersionIsPrinted(t *testing.T) {
	t.Parallel()
	require.Equal(t, ran{out: version + "\n"}, caller{}.run(t.Context(), "version"))
}
