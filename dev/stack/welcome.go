package stack

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

//go:embed welcome.json
var welcomeTemplate []byte

// firstUser is the user that the first notification goes to.
const firstUser = "4518e644-1ff3-4003-a14e-99dfe3fdd7ab"

// seed makes the welcome template, unless there is one.
func (s *Stack) seed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api()+"/v1/templates", bytes.NewReader(welcomeTemplate))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if key := s.env.get(envKey); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusCreated || answer.StatusCode == http.StatusConflict {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10)) // for the message only
	return fmt.Errorf("%s: %s", answer.Status, body)
}

// seedEvery is how often seedOnceReady looks for an API.
const seedEvery = 500 * time.Millisecond

// seedOnceReady waits for an API that somebody else starts, and makes the
// welcome template there. It says nothing: whether there will ever be an API is
// not the stack's business.
func (s *Stack) seedOnceReady(ctx context.Context) {
	tick := time.NewTicker(seedEvery)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := s.ready(attempt)
		cancel()
		if err == nil && s.seed(ctx) == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// eventsAt says where to publish events, without a password that was given.
func (s *Stack) eventsAt() string {
	at := s.broker.url
	if at == "" {
		at = envAMQP
		if given, err := url.Parse(s.env.get(envAMQP)); err == nil {
			at = given.Redacted()
		}
	}
	return at + " exchange belfry.events, outcomes belfry.outcomes"
}

// welcome says where to look and what to try first.
func (s *Stack) welcome() {
	s.printf("\nBelfry is up. Ctrl-C stops it; what it knows is kept in %s.", s.config.Data)
	s.printf("  API          %s", s.api())
	s.printf("  API docs     %s/docs", s.api())
	if ui := s.env.get(envTemporalUI); ui != "" {
		s.printf("  Temporal UI  %s", ui)
	}
	if s.catcher != nil {
		s.printf("  mail         http://%s", s.catcher.HTTPAddr())
	}
	if s.env.given(envAMQP) {
		s.printf("  events       %s", s.eventsAt())
	}
	s.printf("\nSend a first notification:\n")
	s.printf(`curl -s %s/v1/notifications -H 'Content-Type: application/json' -d '{"template":"welcome","to":[{"user_id":"%s"}],"data":{"film":"Solaris"}}'`+"\n",
		s.api(), firstUser)
}
