package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
)

func newTriggerServer(t *testing.T) *server {
	t.Helper()
	s := newServer(t).again(func(cfg *api.Config) { cfg.Now = func() time.Time { return today } })
	welcome(s)
	return s
}

// placed is a good definition, with more or other fields.
func placed(more object) object {
	body := object{
		"name": "placed", "event_type": "order.placed", "condition": "event.data.total > 100", "to": "event.data.user_id",
		"template": "welcome", "data": "{'film': event.data.film}",
	}
	maps.Copy(body, more)
	maps.DeleteFunc(body, func(_ string, value any) bool { return value == nil })
	return body
}

func TestBadTriggersAreRefusedWithTheField(t *testing.T) {
	t.Parallel()
	s := newTriggerServer(t)
	for name, test := range map[string]struct {
		more     object
		at, says string
	}{
		"no name":                      {object{"name": nil}, "body", "name"},
		"bad name":                     {object{"name": "Placed"}, "body.name", "pattern"},
		"no event type":                {object{"event_type": nil}, "body", "event_type"},
		"an empty event type":          {object{"event_type": ""}, "body.event_type", "1"},
		"a long event type":            {object{"event_type": strings.Repeat("x", 257)}, "body.event_type", "256"},
		"a line break in it":           {object{"event_type": "a\nb"}, "body.event_type", "control"},
		"the type of notifications":    {object{"event_type": "belfry.notification.send"}, "body.event_type", "needs no trigger"},
		"a condition that is no CEL":   {object{"condition": "event.data.total >"}, "body.condition", "line 1, column 19"},
		"a typo":                       {object{"condition": "true &&\n event.tipe == 'x'"}, "body.condition", "line 2, column 7: undefined field 'tipe'"},
		"a condition that is a text":   {object{"condition": "event.subject"}, "body.condition", "true or false"},
		"a long condition":             {object{"condition": strings.Repeat("x", 4097)}, "body.condition", "4096"},
		"a condition that is a number": {object{"condition": 1}, "body.condition", "string"},
		"no to":                        {object{"to": nil}, "body", "to"},
		"an empty to":                  {object{"to": ""}, "body.to", "empty"},
		"a to that is a number":        {object{"to": "17"}, "body.to", "a user id"},
		"a to that is a list":          {object{"to": []string{"u1"}}, "body.to", "string"},
		"data that is a list":          {object{"data": "['x']"}, "body.data", "an object"},
		"data that is an object":       {object{"data": object{"film": "x"}}, "body.data", "string"},
		"a delay that is none":         {object{"delay": "soon"}, "body.delay", "24h"},
		"a delay into the past":        {object{"delay": "-1h"}, "body.delay", "24h"},
		"a delay of three years":       {object{"delay": "26280h"}, "body.delay", "two years"},
		"enabled as a text":            {object{"enabled": "yes"}, "body.enabled", "boolean"},
		"neither template nor content": {object{"template": nil}, "body.template", "exactly one"},
		"template and content":         {object{"content": email("s", "h")}, "body.content", "exactly one"},
		"malformed template":           {object{"template": "Wel come"}, "body.template", "name"},
		"content without a subject":    {object{"template": nil, "content": email("", "h")}, "body.content.email.subject", "empty"},
		"a Liquid error":               {object{"template": nil, "content": email("s", "<p>\n{{ x")}, "body.content.email.html", "line 2"},
		"unknown channel":              {object{"channels": []string{"pigeon"}}, "body.channels[0]", "email"},
		"a channel twice":              {object{"channels": []string{"email", "email"}}, "body.channels", "unique"},
		"unknown field":                {object{"priority": "high"}, "body.priority", "unexpected"},
	} {
		refused := s.refused(http.MethodPost, "/v1/triggers", http.StatusUnprocessableEntity, placed(test.more))
		found := ""
		for _, e := range refused.Errors {
			if e.Location == test.at {
				found += e.Message
			}
		}
		require.Contains(t, found, test.says, "%s: %+v", name, refused)
	}
	all := placed(object{"name": nil, "condition": "a", "to": "b", "data": "c", "delay": "d", "template": nil, "content": email("s", "{{"), "event_type": "\n"})
	require.ElementsMatch(t, []string{"body.condition", "body.to", "body.data", "body.delay", "body.content.email.html", "body.event_type"},
		s.refused(http.MethodPut, "/v1/triggers/placed", http.StatusUnprocessableEntity, all).locations())
	for _, template := range []string{"gone", "welcome@7"} {
		gone := s.refused(http.MethodPost, "/v1/triggers", http.StatusNotFound, placed(object{"template": template}))
		require.Equal(t, "template_not_found", gone.Code)
	}
	require.Empty(t, get[listed](s, http.MethodGet, "/v1/triggers", http.StatusOK, nil).Items)
}

func TestATrigger(t *testing.T) {
	t.Parallel()
	s := newTriggerServer(t)
	response, text := s.ask(http.MethodPost, "/v1/triggers", placed(object{"delay": "90m", "channels": []string{"email"}}))
	require.Equal(t, http.StatusCreated, response.StatusCode, "%s", text)
	require.Equal(t, "/v1/triggers/placed", response.Header.Get("Location"))
	const shown = `{"name":"placed","version":1,"created_at":"2026-03-28T08:00:00Z","event_type":"order.placed","condition":"event.data.total > 100",
		"to":"event.data.user_id","template":"welcome","data":"{'film': event.data.film}","delay":"1h30m","channels":["email"],"enabled":true}`
	require.JSONEq(t, shown, string(text))
	_, text = s.ask(http.MethodGet, "/v1/triggers/placed", nil)
	require.JSONEq(t, shown, string(text))
	require.Equal(t, "conflict", s.refused(http.MethodPost, "/v1/triggers", http.StatusConflict, placed(nil)).Code)

	other := object{"event_type": "order.sent", "to": "['u1']", "content": email("Sent {{ n }}", "<p>"), "enabled": false}
	changed := get[object](s, http.MethodPut, "/v1/triggers/placed", http.StatusOK, other)
	require.Equal(t, object{
		"name": "placed", "version": 2., "created_at": "2026-03-28T08:00:00Z", "event_type": "order.sent", "to": "['u1']",
		"content": email("Sent {{ n }}", "<p>"), "enabled": false,
	}, changed)
	for _, name := range []string{"a", "z"} {
		get[object](s, http.MethodPost, "/v1/triggers", http.StatusCreated, placed(object{"name": name}))
	}
	first := get[listed](s, http.MethodGet, "/v1/triggers?limit=2", http.StatusOK, nil)
	rest := get[listed](s, http.MethodGet, "/v1/triggers?limit=2&cursor="+first.NextCursor, http.StatusOK, nil)
	names := ""
	for _, item := range append(first.Items, rest.Items...) {
		names += fmt.Sprint(item["name"], " ")
	}
	require.Equal(t, "a placed z ", names)
	require.Equal(t, changed, first.Items[1])

	s.ask(http.MethodDelete, "/v1/triggers/placed", nil)
	for method, path := range map[string]string{http.MethodGet: "", http.MethodPut: "", http.MethodDelete: "", http.MethodPost: "/test"} {
		body := map[string]any{http.MethodPut: other, http.MethodPost: object{}}[method]
		require.Equal(t, "not_found", s.refused(method, "/v1/triggers/placed"+path, http.StatusNotFound, body).Code, method)
	}
	require.Contains(t, get[object](s, http.MethodPost, "/v1/triggers", http.StatusCreated, placed(nil)), "version")
	anew, err := s.store.Trigger(t.Context(), "placed")
	require.NoError(t, err)
	require.Equal(t, 3, anew.Version)
}

func TestATriggerMeetsAnEventToTest(t *testing.T) {
	t.Parallel()
	s := newTriggerServer(t)
	get[object](s, http.MethodPost, "/v1/triggers", http.StatusCreated, placed(object{"delay": "1h", "enabled": false}))
	const path = "/v1/triggers/placed/test"
	data := object{"total": 120.5, "user_id": "u1", "film": "Solaris"}
	_, text := s.ask(http.MethodPost, path, object{"data": data})
	const notification = `{"template":"welcome","to":[{"user_id":"u1"}],"data":{"film":"Solaris"},"send_at":"2026-03-28T09:00:00Z"}`
	require.JSONEq(t, `{"matched":true,"notification":`+notification+`}`, string(text))
	get[object](s, http.MethodPost, "/v1/notifications", http.StatusAccepted, notification)

	cloudEvent := object{
		"specversion": "1.0", "datacontenttype": "application/json", "traceparent": "00-x", "id": "e1", "source": "/shop", "type": "order.placed",
		"subject": "order/17", "time": "2026-03-28T09:00:00+01:00", "data": object{"total": 1},
	}
	require.Equal(t, object{"matched": false}, get[object](s, http.MethodPost, path, http.StatusOK, cloudEvent))
	require.Equal(t, object{"matched": false}, get[object](s, http.MethodPost, path, http.StatusOK, object{"type": "order.sent", "data": data}))

	for at, event := range map[string]object{
		"condition": {}, "to": {"data": object{"total": 101}}, "data": {"data": object{"total": 101, "user_id": "u1"}},
		"to.user_id":   {"data": object{"total": 101, "user_id": "u\n", "film": "x"}},
		"data.film[1]": {"data": object{"total": 101, "user_id": "u1", "film": "x"}},
		"body.time":    {"time": "yesterday"}, "body.id": {"id": 17},
	} {
		if at == "data.film[1]" {
			get[object](s, http.MethodPut, "/v1/triggers/placed", http.StatusOK, placed(object{"name": nil, "data": "{'film': [1, type(1)]}"}))
		}
		refused := s.refused(http.MethodPost, path, http.StatusUnprocessableEntity, event)
		require.Equal(t, []string{at}, refused.locations(), "%+v", refused)
		get[object](s, http.MethodPut, "/v1/triggers/placed", http.StatusOK, placed(object{"name": nil}))
	}
	get[any](s, http.MethodDelete, "/v1/templates/welcome", http.StatusNoContent, nil)
	require.Equal(t, "template_not_found", s.refused(http.MethodPost, path, http.StatusNotFound, object{"data": data}).Code)
	require.Len(t, s.starts.started, 1, "what was sent above")
}

func TestTheDescriptionHasTheTriggers(t *testing.T) {
	t.Parallel()
	s := newTriggerServer(t)
	description := get[struct {
		Paths      map[string]map[string]any
		Components struct {
			Schemas map[string]struct {
				Required             []string
				Properties           map[string]object
				AdditionalProperties any
			}
		}
	}](s, http.MethodGet, "/openapi.json", http.StatusOK, nil)
	for path, methods := range map[string][]string{"/v1/triggers": {"get", "post"}, "/v1/triggers/{name}": {"get", "put", "delete"}, "/v1/triggers/{name}/test": {"post"}} {
		for _, method := range methods {
			require.Contains(t, description.Paths[path], method, path)
		}
	}
	schemas := description.Components.Schemas
	require.ElementsMatch(t, []string{"event_type", "to"}, schemas["TriggerBody"].Required)
	require.ElementsMatch(t, []string{"name", "version", "created_at", "event_type", "to", "enabled"}, schemas["TriggerView"].Required)
	require.Empty(t, schemas["EventBody"].Required)
	require.Equal(t, true, schemas["EventBody"].AdditionalProperties)
	require.NotContains(t, schemas["EventBody"].Properties["data"], "type", "JSON of any kind")
	require.Equal(t, "#/components/schemas/NotificationRequest", schemas["TestTriggerOutputBody"].Properties["notification"]["$ref"])
}
