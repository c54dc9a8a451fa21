package main

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const placedTrigger = `{"name":"placed","version":3,"created_at":"2026-01-02T03:04:05Z","event_type":"order.placed","condition":"event.data.total > 100 &&\n  true",` +
	`"to":"event.data.user_id","template":"welcome","channels":["email"],"data":"{'film': '\u001b[1m'}","delay":"1h30m","enabled":true}`

const sentTrigger = `{"name":"sent","version":1,"created_at":"2026-01-02T03:04:05Z","event_type":"order.sent","to":"['u1']",` +
	`"content":{"email":{"subject":"Sent","html":"<p>"}},"enabled":false}`

func TestTriggerListAndShow(t *testing.T) {
	t.Parallel()
	server := answering(map[string]string{
		"GET /v1/triggers":        `{"items":[` + placedTrigger + `,` + sentTrigger + `]}`,
		"GET /v1/triggers/placed": placedTrigger,
		"GET /v1/triggers/sent":   sentTrigger,
	})
	require.Equal(t, ran{out: `NAME    VERSION  EVENT TYPE    TEMPLATE  ENABLED  CONDITION
placed  3        order.placed  welcome   yes      event.data.total > 100 &&\n  true
sent    1        order.sent              no
`}, caller{handler: server}.run(t.Context(), "trigger", "list"))
	require.Equal(t, ran{out: `trigger     placed@3
created     2026-01-02T03:04:05Z
enabled     yes
event type  order.placed
condition   event.data.total > 100 &&\n  true
to          event.data.user_id
template    welcome
channels    email
data        {'film': '\x1b[1m'}
delay       1h30m
`}, caller{handler: server}.run(t.Context(), "trigger", "show", "placed"))
	require.Equal(t, ran{out: `trigger     sent@1
created     2026-01-02T03:04:05Z
enabled     no
event type  order.sent
to          ['u1']

email
subject  Sent

--- html
<p>
`}, caller{handler: server}.run(t.Context(), "trigger", "show", "sent"))
	got := caller{handler: server}.run(t.Context(), "trigger", "show", "placed", "-o", "json")
	require.JSONEq(t, placedTrigger, got.out)
	got = caller{handler: server}.run(t.Context(), "trigger", "list", "-o", "json")
	require.Contains(t, compact(t, got.out), `{"items":[{"name":"placed","version":3`)
	require.Equal(t, ran{}, caller{handler: answering(map[string]string{"GET /v1/triggers": `{"items":[]}`})}.run(t.Context(), "trigger", "list"))
}

// holder takes triggers as a server does, and keeps what came.
type holder struct {
	there  bool
	asked  string
	answer string
}

func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Body != nil { // as in memory
		body, _ = io.ReadAll(r.Body)
	}
	if h.there && r.Method == http.MethodPost && r.URL.Path == "/v1/triggers" {
		problem(w, http.StatusConflict, "there is one of this name")
		return
	}
	h.asked = r.Method + " " + r.URL.Path + " " + string(body)
	_, _ = io.WriteString(w, h.answer)
}

func TestTriggerPut(t *testing.T) {
	t.Parallel()
	const yaml = `
name: placed
event_type: order.placed
condition: event.data.total > 100 && event.data.country == 'no'
to: event.data.user_id
template: welcome
data: "{'film': event.data.film}"
delay: 90m
enabled: false
`
	const fields = `"event_type":"order.placed","condition":"event.data.total > 100 && event.data.country == 'no'","to":"event.data.user_id",` +
		`"template":"welcome","data":"{'film': event.data.film}","delay":"90m","enabled":false}`
	const withName = `{"name":"placed",` + fields
	shownAgain := strings.Replace(withName, "{", `{"version":3,"created_at":"2026-01-02T03:04:05Z",`, 1)
	dir := writeFiles(t, map[string]string{"t.yaml": yaml, "t.json": withName, "shown.json": shownAgain})
	for _, test := range []struct{ name, arg, input string }{
		{"YAML", filepath.Join(dir, "t.yaml"), ""},
		{"JSON", filepath.Join(dir, "t.json"), ""},
		{"JSON as show prints it", filepath.Join(dir, "shown.json"), ""},
		{"standard input, YAML", "-", yaml},
		{"standard input, JSON", "-", withName},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			create, update := &holder{answer: placedTrigger}, &holder{answer: placedTrigger, there: true}
			for _, server := range []*holder{create, update} {
				require.Equal(t, ran{out: "placed@3\n"}, caller{handler: server, input: test.input}.run(t.Context(), "trigger", "put", test.arg))
			}
			method, body, _ := strings.Cut(create.asked, "{")
			require.Equal(t, "POST /v1/triggers ", method)
			require.JSONEq(t, withName, "{"+body)
			method, body, _ = strings.Cut(update.asked, "{")
			require.Equal(t, "PUT /v1/triggers/placed ", method)
			require.JSONEq(t, "{"+fields, "{"+body)
		})
	}
	got := caller{handler: &holder{answer: placedTrigger}, input: yaml}.run(t.Context(), "trigger", "put", "-", "-o", "json")
	require.JSONEq(t, placedTrigger, got.out)
}

func TestABadTriggerFileIsNotSent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, says string }{
		"no name":                 {"event_type: x", "has no name"},
		"an unknown field":        {"name: x\ncondtion: y", "field condtion not found"},
		"a field twice":           {"name: x\nname: y", "name"},
		"an object for a text":    {"name: x\ndata: {film: event.data.film}", "line 2: not a text; one that begins with { needs quotes"},
		"JSON with an unknown":    {`{"name":"x","condtion":"y"}`, "condtion"},
		"a list for a text":       {`{"name":"x","to":["u1"]}`, "/to"},
		"enabled that is no bool": {"name: x\nenabled: maybe", "enabled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &holder{}
			path := filepath.Join(writeFiles(t, map[string]string{"t": test.text}), "t")
			got := caller{handler: server}.run(t.Context(), "trigger", "put", path)
			require.Equal(t, exitFailed, got.code)
			require.Empty(t, server.asked)
			require.Contains(t, got.err, path+": ")
			require.Contains(t, got.err, test.says)
			require.NotContains(t, got.err, "triggerFile")
		})
	}
	got := caller{handler: &holder{}}.run(t.Context(), "trigger", "put", filepath.Join(t.TempDir(), "missing.yaml"))
	require.Contains(t, got.err, "missing.yaml: no such file")
}

func TestTriggerTestAndDelete(t *testing.T) {
	t.Parallel()
	const event = `{"data":{"total":101}}`
	file := filepath.Join(writeFiles(t, map[string]string{"event.json": event}), "event.json")
	many := strings.Repeat(`{"user_id":"u"},`, 11)
	for _, test := range []struct {
		name, input, answer, out string
		args                     []string
	}{
		{"not matched", "", `{"matched":false}`, "not matched\n", []string{"--event", file}},
		{
			"matched", event, `{"matched":true,"notification":{"template":"welcome","to":[{"user_id":"u1"},{"email":"a@b.c","name":"Ann\u001b"}],"data":{"film":"x"},"send_at":"2026-01-02T03:04:05Z"}}`,
			"matched   yes\ntemplate  welcome\ndata      {\"film\":\"x\"}\nsend at   2026-01-02T03:04:05Z\nto        u1\n          a@b.c Ann\\x1b\n", []string{"--event", "-"},
		},
		{
			"many", event, `{"matched":true,"notification":{"content":{"email":{}},"to":[` + many + `{"user_id":"u"}]}}`,
			"matched  yes\nto       u\n" + strings.Repeat("         u\n", 9) + "         and 2 more\n", []string{"--event", "-"},
		},
		{"as JSON", event, `{"matched":false}`, "{\n  \"matched\": false\n}\n", []string{"--event", "-", "-o", "json"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &holder{answer: test.answer}
			got := caller{handler: server, input: test.input}.run(t.Context(), append([]string{"trigger", "test", "placed"}, test.args...)...)
			require.Equal(t, ran{out: test.out}, got)
			require.Equal(t, "POST /v1/triggers/placed/test "+event, strings.TrimSpace(server.asked))
		})
	}
	got := caller{handler: &holder{}, input: "[]"}.run(t.Context(), "trigger", "test", "placed", "--event", "-")
	require.Equal(t, exitUsage, got.code)
	require.Equal(t, exitUsage, caller{handler: &holder{}}.run(t.Context(), "trigger", "test", "placed").code)
	server := &holder{}
	require.Equal(t, ran{}, caller{handler: server}.run(t.Context(), "trigger", "delete", "placed"))
	require.Equal(t, "DELETE /v1/triggers/placed ", server.asked)
}
