package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-notify/belfry/internal/notify"
)

// notification is one as the server shows it.
type notification struct {
	ID         string              `json:"id"`
	Status     notify.Status       `json:"status"`
	Template   *notify.TemplateRef `json:"template"`
	Channels   []string            `json:"channels"`
	Counts     notify.Counts       `json:"counts"`
	CreatedAt  time.Time           `json:"created_at"`
	SendAt     time.Time           `json:"send_at"`
	ExpiresAt  time.Time           `json:"expires_at"`
	FinishedAt time.Time           `json:"finished_at"`
	Tags       []string            `json:"tags"`
	Audience   json.RawMessage     `json:"audience"`
	Links      struct {
		TemporalUI string `json:"temporal_ui"`
	} `json:"links"`
}

type (
	shownNotification = shown[notification]
	shownDelivery     = shown[notify.Delivery]
)

func (c *apiClient) notification(ctx context.Context, id string) (answer, error) {
	return c.ask(ctx, http.MethodGet, "/v1/notifications/"+url.PathEscape(id), nil, nil)
}

// decodeNotification reads one; what decodes but has no id came from somebody
// else than Belfry.
func decodeNotification(got answer) (shownNotification, error) {
	var n shownNotification
	if err := got.decode(&n); err != nil {
		return n, err
	}
	if n.is.ID == "" {
		return n, errors.New("read Belfry's answer: it is no notification")
	}
	return n, nil
}

func deliveriesPath(id string) string {
	return "/v1/notifications/" + url.PathEscape(id) + "/deliveries"
}

func (c *apiClient) deliveries(ctx context.Context, id string, state notify.State) ([]shownDelivery, error) {
	query := url.Values{}
	if state != "" {
		query.Set("state", string(state))
	}
	return list[notify.Delivery](ctx, c, deliveriesPath(id), query)
}

// fewTroubled is how many deliveries of a state are listed unasked where there
// are many in all.
const fewTroubled = 20

// troubled are deliveries that somebody may want to do something about, up to
// fewTroubled of each state. One that changes its state meanwhile is shown
// once, in its later state.
func (c *apiClient) troubled(ctx context.Context, id string) ([]shownDelivery, error) {
	var found []shownDelivery
	for _, state := range []notify.State{notify.StateQueued, notify.StateUnknown, notify.StateFailed} {
		more, _, err := listPage[notify.Delivery](ctx, c, deliveriesPath(id), url.Values{
			"state": {string(state)}, "limit": {strconv.Itoa(fewTroubled)},
		})
		if err != nil {
			return nil, err
		}
		later := make(map[string]bool, len(more))
		for _, d := range more {
			later[d.is.ID] = true
		}
		found = append(slices.DeleteFunc(found, func(d shownDelivery) bool { return later[d.is.ID] }), more...)
	}
	return found, nil
}

// fewDeliveries is up to how many deliveries all of them are listed unasked.
const fewDeliveries = 50

// noteworthy are all deliveries of a notification where they are few, else the
// troubled ones. It insists: somebody may have waited for hours for them.
func (c *apiClient) noteworthy(ctx context.Context, n notification) (found []shownDelivery, all bool, err error) {
	all = n.Counts.Total <= fewDeliveries
	_, err = c.insist(ctx, isTransient, func() (answer, error) {
		if all {
			found, err = c.deliveries(ctx, n.ID, "")
		} else {
			found, err = c.troubled(ctx, n.ID)
		}
		return answer{}, err
	})
	return found, all, err
}

// onlyTroubled says what noteworthy left out.
func (n notification) onlyTroubled() string {
	return fmt.Sprintf("\nOnly deliveries that are queued, unknown or failed, up to %d of each.\n"+
		"belfry status %s --state failed lists all that failed, --all lists all deliveries.\n", fewTroubled, printableLine(n.ID))
}

// verdict is errNotAllSent for a notification that has ended and did not reach
// everybody.
func (n notification) verdict() error {
	if !n.Status.Ended() || n.Status == notify.StatusDone && n.Counts.Sent+n.Counts.Delivered == n.Counts.Total {
		return nil
	}
	return errNotAllSent
}

// outcome is how a notification stands in a few words, such as "done: 3
// deliveries, 2 sent, 1 failed".
func (n notification) outcome() string {
	return fmt.Sprintf("%s: %s", n.Status, tally(n.Counts))
}

func tally(c notify.Counts) string {
	text := fmt.Sprintf("%d deliveries", c.Total)
	if c.Total == 1 {
		text = "1 delivery"
	}
	for _, part := range []struct {
		state  notify.State
		number int
	}{
		{notify.StateQueued, c.Queued},
		{notify.StateSent, c.Sent},
		{notify.StateDelivered, c.Delivered},
		{notify.StateFailed, c.Failed},
		{notify.StateSkipped, c.Skipped},
		{notify.StateUnknown, c.Unknown},
	} {
		if part.number > 0 {
			text += fmt.Sprintf(", %d %s", part.number, part.state)
		}
	}
	return text
}

// about is a notification in full, for a person.
func (n notification) about() string {
	rows := [][]string{{"notification", n.ID}, {"status", string(n.Status)}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	if n.Template != nil {
		add("template", n.Template.String())
	}
	add("channels", strings.Join(n.Channels, ", "))
	add("tags", strings.Join(n.Tags, ", "))
	add("counts", tally(n.Counts))
	add("created", when(n.CreatedAt))
	if !n.SendAt.Equal(n.CreatedAt) {
		add("send at", when(n.SendAt))
	}
	add("expires", when(n.ExpiresAt))
	add("finished", when(n.FinishedAt))
	add("temporal", n.Links.TemporalUI)
	return aligned(rows)
}

// when is a moment to the second, in UTC as everywhere in Belfry.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// tableOrder is in which order a table lists the states: what needs somebody
// comes last, next to the prompt.
var tableOrder = []notify.State{
	notify.StateDelivered, notify.StateSent, notify.StateSkipped, notify.StateQueued, notify.StateUnknown, notify.StateFailed,
}

// deliveryTable has a line for each delivery.
func deliveryTable(deliveries []shownDelivery) string {
	if len(deliveries) == 0 {
		return ""
	}
	sorted := slices.Clone(deliveries)
	slices.SortStableFunc(sorted, func(a, b shownDelivery) int {
		return slices.Index(tableOrder, a.is.State) - slices.Index(tableOrder, b.is.State)
	})
	rows := [][]string{{"STATE", "CHANNEL", "TO", "PROVIDER", "DELIVERY", "NOTE"}}
	for _, d := range sorted {
		rows = append(rows, []string{
			string(d.is.State), string(d.is.Channel), whom(d.is), d.is.Provider, d.is.ID, note(d.is),
		})
	}
	return aligned(rows)
}

func whom(d notify.Delivery) string {
	return strings.TrimSpace(d.UserID + " " + d.Address)
}

// note says why a delivery stands as it does.
func note(d notify.Delivery) string {
	var notes []string
	if d.Reason != "" {
		notes = append(notes, string(d.Reason))
	}
	if d.Resent {
		notes = append(notes, "resent")
	}
	if last := len(d.Attempts) - 1; last >= 0 && d.Attempts[last].Error != "" {
		notes = append(notes, d.Attempts[last].Error)
	}
	return strings.Join(notes, ": ")
}

// withField is a JSON object as the server showed it, with one more field.
func withField(object json.RawMessage, name string, value any) (json.RawMessage, error) {
	more, err := encodeJSON(map[string]any{name: value})
	if err != nil {
		return nil, err
	}
	object = bytes.TrimSuffix(bytes.TrimSpace(object), []byte("}"))
	return append(append(bytes.Clone(object), ','), bytes.TrimPrefix(more, []byte("{"))...), nil
}

// withAudience is a notification with the audience that was uploaded for it,
// nil without one, unless the server says itself who that is.
func withAudience(n shownNotification, uploaded json.RawMessage) (json.RawMessage, error) {
	if uploaded == nil || n.is.Audience != nil {
		return n.text, nil
	}
	return withField(n.text, "audience", uploaded)
}
