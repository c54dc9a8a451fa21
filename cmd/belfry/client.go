package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// server is what the commands that talk to a server have in common.
type server struct {
	Server string `default:"http://127.0.0.1:8080" env:"BELFRY_SERVER" help:"Where Belfry's API is."`
	Key    string `env:"BELFRY_KEY" help:"API key or token to show it."`
	Output string `short:"o" enum:"text,json" default:"text" help:"How to print: text or json."`
}

// requestTimeout bounds one call to the server.
const requestTimeout = 30 * time.Second

// call sends a request and decodes the answer into answer, which may be nil.
// An answer that is no success becomes an error with all the problem says.
func (s server) call(ctx context.Context, method, path string, header http.Header, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.Server, "/")+path, &content)
	if err != nil {
		return fmt.Errorf("--server: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.Key != "" {
		request.Header.Set("Authorization", "Bearer "+s.Key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask Belfry: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return problemOf(response)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read Belfry's answer: %w", err)
	}
	return nil
}

// problemOf words a refusal for a person.
func problemOf(response *http.Response) error {
	var p struct {
		Detail string              `json:"detail"`
		Errors []notify.FieldError `json:"errors"`
	}
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Detail == "" {
		return fmt.Errorf("%s answered %s", response.Request.URL.Host, response.Status)
	}
	text := p.Detail
	for _, e := range p.Errors {
		text += fmt.Sprintf("\n  %s: %s", e.Location, e.Message)
	}
	return fmt.Errorf("%s (%d)", text, response.StatusCode)
}

// standing is a notification as the server shows it.
type standing struct {
	ID        string              `json:"id"`
	Status    notify.Status       `json:"status"`
	Template  *notify.TemplateRef `json:"template,omitempty"`
	Counts    notify.Counts       `json:"counts"`
	CreatedAt time.Time           `json:"created_at"`
	ExpiresAt time.Time           `json:"expires_at"`
	Links     struct {
		TemporalUI string `json:"temporal_ui,omitempty"`
	} `json:"links"`
}

func (s server) notification(ctx context.Context, id string) (standing, error) {
	var n standing
	err := s.call(ctx, http.MethodGet, "/v1/notifications/"+url.PathEscape(id), nil, nil, &n)
	return n, err
}

// deliveries reads all deliveries of a notification.
func (s server) deliveries(ctx context.Context, id string) ([]notify.Delivery, error) {
	var all []notify.Delivery
	cursor := ""
	for {
		var page struct {
			Items      []notify.Delivery `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		path := "/v1/notifications/" + url.PathEscape(id) + "/deliveries?limit=200"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		if err := s.call(ctx, http.MethodGet, path, nil, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all, nil
		}
	}
}
