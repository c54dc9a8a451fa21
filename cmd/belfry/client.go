package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// output is how a command prints.
type output struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"How to print: text or json."`
}

func (o output) asJSON() bool { return o.Output == "json" }

// server is what the commands that talk to a server have in common.
type server struct {
	output
	Server string `default:"http://127.0.0.1:8080" env:"BELFRY_SERVER" help:"Where Belfry's API is."`
	Key    string `env:"BELFRY_KEY" placeholder:"KEY" help:"API key or token; as a variable, others on the machine do not see it."`
}

// defaultServer is where Belfry is unless told otherwise.
const defaultServer = "http://127.0.0.1:8080"

// requestTimeout bounds one call to the server.
const requestTimeout = 15 * time.Second

// newHTTPClient follows no redirects: one that answers a POST would make a GET
// of it.
func newHTTPClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// An apiClient asks a Belfry server.
type apiClient struct {
	base     string
	key      string
	http     *http.Client
	complain func(string)
}

func (s server) client(env *environment) (*apiClient, error) {
	if s.Server == "" { // an empty variable counts as not set
		s.Server = defaultServer
	}
	base, err := url.Parse(s.Server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usagef("--server: needs an address such as https://belfry.example.org")
	}
	key := strings.TrimSpace(s.Key)
	if !isPrintableASCII(key) {
		return nil, usagef("--key: must not hold other than printable characters")
	}
	return &apiClient{base: strings.TrimRight(s.Server, "/"), key: key, http: env.http, complain: env.complain}, nil
}

func isPrintableASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// An answer is what the server said when it did what it was asked.
type answer struct {
	header http.Header
	text   json.RawMessage
}

// decode reads the answer into v, which is then complete.
func (a answer) decode(v any) error {
	if err := json.Unmarshal(a.text, v); err != nil {
		return fmt.Errorf("read Belfry's answer: %w", err)
	}
	return nil
}

// An unreachable error says that no answer came, or not all of it. The server
// may have done what it was asked.
type unreachable struct{ err error }

func (u *unreachable) Error() string { return "ask Belfry: " + u.err.Error() }
func (u *unreachable) Unwrap() error { return u.err }

// ask sends a request once. An answer that is no success is a *refusal.
func (c *apiClient) ask(ctx context.Context, method, path string, header http.Header, body any) (answer, error) {
	var content io.Reader
	if body != nil {
		text, err := encodeJSON(body)
		if err != nil {
			return answer{}, fmt.Errorf("encode the request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := c.request(limited, method, path, content)
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return c.do(ctx, request)
}

// do sends a request whose own context may end before ctx, the caller's.
func (c *apiClient) do(ctx context.Context, request *http.Request) (answer, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, lost(ctx, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, lost(ctx, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return answer{}, newRefusal(response, text)
	}
	return answer{header: response.Header, text: text}, nil
}

// lost tells a caller who gave up from a server that did not answer.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &unreachable{err: err}
}

func (c *apiClient) request(ctx context.Context, method, path string, content io.Reader) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	return request, nil
}

// A shown is something as the server showed it: decoded, and the very text.
type shown[T any] struct {
	is   T
	text json.RawMessage
}

// UnmarshalJSON decodes it and keeps the text.
func (s *shown[T]) UnmarshalJSON(text []byte) error {
	s.text = bytes.Clone(text)
	return json.Unmarshal(text, &s.is)
}

// MarshalJSON is the text as it was.
func (s shown[T]) MarshalJSON() ([]byte, error) { return s.text, nil }

// mostOfPage is how many items of a listing are asked for at once; the server
// allows no more.
const mostOfPage = 200

// list reads all pages of a listing.
func list[T any](ctx context.Context, c *apiClient, path string, query url.Values) ([]shown[T], error) {
	all := []shown[T]{}
	asked := url.Values{"limit": {strconv.Itoa(mostOfPage)}}
	for name, values := range query {
		asked[name] = values
	}
	for {
		items, next, err := listPage[T](ctx, c, path, asked)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		asked.Set("cursor", next)
	}
}

// listPage reads one page of a listing, and the cursor of the next one, empty
// when it is the last.
func listPage[T any](ctx context.Context, c *apiClient, path string, query url.Values) (items []shown[T], next string, err error) {
	got, err := c.ask(ctx, http.MethodGet, path+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, "", err
	}
	var page struct {
		Items      []shown[T] `json:"items"`
		NextCursor string     `json:"next_cursor"`
	}
	err = got.decode(&page)
	return page.Items, page.NextCursor, err
}

// A refusal is an answer that is no success.
type refusal struct {
	status int
	text   string
	wait   error // what the server asks for before the next try, nil when nothing
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.wait }

// newRefusal words a refusal for a person.
func newRefusal(response *http.Response, text []byte) error {
	r := &refusal{status: response.StatusCode, wait: retryAfter(response.Header.Get("Retry-After"))}
	var problem struct {
		Detail string              `json:"detail"`
		Errors []notify.FieldError `json:"errors"`
	}
	if err := json.Unmarshal(text, &problem); err != nil || problem.Detail == "" {
		r.text = fmt.Sprintf("%s answered %s", response.Request.URL.Host, response.Status)
		if to := response.Header.Get("Location"); to != "" {
			r.text += ", and to ask at " + to
		}
		return r
	}
	r.text = fmt.Sprintf("%s (%d)", problem.Detail, r.status)
	for _, e := range problem.Errors {
		r.text += fmt.Sprintf("\n  %s: %s", e.Location, e.Message)
	}
	return r
}

// isRefused says whether the server refused with the status.
func isRefused(err error, status int) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == status
}
