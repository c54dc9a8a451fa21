package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/template"
)

func TestBadNotificationsAreRefusedWithTheField(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	ann := to("ann@example.com")
	readers := s.upload(ndjson, "{\"email\":\"ann@example.com\"}\n{\"email\":\"bob@example.com\"}\n{\"email\":\"cec@example.com\"}\n").ID
	const nobodys = "01a20b38-9621-739c-a631-37354f295b25"
	many := make([]object, 1001)
	for i := range many {
		many[i] = object{"email": fmt.Sprintf("u%d@example.com", i)}
	}
	tests := []struct {
		name   string
		body   any
		status int
		at     string // a location that must be named
		says   string // in its message
	}{
		{"unknown template", object{"template": "nothere", "to": ann}, 404, "", ""},
		{"unknown version", object{"template": "welcome@7", "to": ann}, 404, "", ""},
		{"malformed template", object{"template": "Wel come", "to": ann}, 422, "body.template", "name"},
		{"unknown field", object{"template": "welcome", "to": ann, "subject": "x"}, 422, "body.subject", "unexpected"},
		{"a field of a later capability", object{"template": "welcome", "to": ann, "inbox": object{"id": "x"}}, 422, "body.inbox", "unexpected"},
		{"to and audience", object{"template": "welcome", "to": ann, "audience": object{"all_users": true}}, 422, "body.to", "exactly one"},
		{"an audience without id", object{"template": "welcome", "audience": object{}}, 422, "body.audience", "exactly one"},
		{"an audience by id and all users", object{"template": "welcome", "audience": object{"all_users": true, "id": nobodys}}, 422, "body.audience", "exactly one"},
		{"an audience of not all users", object{"template": "welcome", "audience": object{"all_users": false}}, 422, "body.audience", "true"},
		{"an audience that is not there", object{"template": "welcome", "audience": object{"id": nobodys}}, 422, "body.audience.id", "no such audience"},
		{"an audience whose id is none", object{"template": "welcome", "audience": object{"id": "x"}}, 422, "body.audience.id", "uuid"},
		{"an audience that is not kept as long", object{"template": "welcome", "audience": object{"id": readers}, "delay": "720h"}, 422, "body.audience.id", "BELFRY_AUDIENCE_RETENTION"},
		{"a rate that takes too long", object{"template": "welcome", "audience": object{"id": readers}, "rate": "1/m", "expires_at": time.Now().Add(90 * time.Second)}, 422, "body.rate", "expires_at"},
		{"a rate of nothing", object{"template": "welcome", "to": ann, "rate": "0/s"}, 422, "body.rate", "200/s"},
		{"a rate an hour", object{"template": "welcome", "to": ann, "rate": "10/h"}, 422, "body.rate", "minute"},
		{"a rate that is none", object{"template": "welcome", "to": ann, "rate": "fast"}, 422, "body.rate", "30/m"},
		{"a field in another case", object{"Template": "welcome", "to": ann}, 422, "body.Template", "unexpected"},
		{"a required field in another case", object{"template": "welcome", "TO": ann}, 422, "body.TO", "unexpected"},
		{"unknown field of a recipient", object{"template": "welcome", "to": []object{{"email": "a@b.c", "phone": "1"}}}, 422, "body.to[0].phone", "unexpected"},
		{"repeated key", `{"template":"welcome","template":"welcome","to":[{"email":"a@b.c"}]}`, 422, "body", "repeated key"},
		{"repeated key in data", `{"template":"welcome","to":[{"email":"a@b.c"}],"data":{"x":1,"x":2}}`, 422, "body", "repeated key"},
		{"trailing JSON", `{"template":"welcome","to":[{"email":"a@b.c"}]} {}`, 422, "body", "more after"},
		{"not JSON", `{"template":`, 422, "body", "not JSON"},
		{"no body", ``, 422, "", ""},
		{"not an object", `[]`, 422, "body", "object"},
		{"20,000 nested brackets", `{"data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, 422, "body", "depth"},
		{"20,000 open brackets", strings.Repeat("[", 20_000), 422, "body", ""},
		{"empty to", object{"template": "welcome", "to": []object{}}, 422, "body.to", "1"},
		{"no to", object{"template": "welcome"}, 422, "body.to", "audience"},
		{"to is null", object{"template": "welcome", "to": nil}, 422, "body.to", ""},
		{"1,001 recipients", object{"template": "welcome", "to": many}, 422, "body.to", "1000"},
		{"template and content", object{"template": "welcome", "content": email("s", "h"), "to": ann}, 422, "body.content", "exactly one"},
		{"neither template nor content", object{"to": ann}, 422, "body.template", "exactly one"},
		{"user_id and email", object{"template": "welcome", "to": []object{{"user_id": "u", "email": "a@b.c"}}}, 422, "body.to[0]", "exactly one"},
		{"neither user_id nor email", object{"template": "welcome", "to": []object{{"name": "Ann"}}}, 422, "body.to[0]", "exactly one"},
		{"malformed address", object{"template": "welcome", "to": to("not an address")}, 422, "body.to[0].email", "mail address"},
		{"address with a name", object{"template": "welcome", "to": to("Ann <ann@example.com>")}, 422, "body.to[0].email", "bare"},
		{"address without a domain", object{"template": "welcome", "to": to("ann@")}, 422, "body.to[0].email", ""},
		{"CR and LF in an address", object{"template": "welcome", "to": to("ann@example.com\r\nBcc: eve@example.com")}, 422, "body.to[0].email", "control"},
		{"LF in a name", object{"template": "welcome", "to": []object{{"email": "a@b.c", "name": "Ann\nBcc: eve@example.com"}}}, 422, "body.to[0].name", "control"},
		{"NUL in a name", object{"template": "welcome", "to": []object{{"email": "a@b.c", "name": "Ann\x00"}}}, 422, "body.to[0].name", "control"},
		{"LF in a subject", object{"content": email("Hi\nBcc: eve@example.com", "<p>"), "to": ann}, 422, "body.content.email.subject", ""},
		{"NUL in a subject", object{"content": email("Hi\x00", "<p>"), "to": ann}, 422, "body.content.email.subject", ""},
		{"CR in from", object{"content": object{"email": object{"subject": "s", "html": "h", "from": "a@b.c\r\nX: y"}}, "to": ann}, 422, "body.content.email.from", ""},
		{"data over 64 KiB", object{"template": "welcome", "to": ann, "data": object{"x": strings.Repeat("x", 65_536)}}, 422, "body.data", "65536"},
		{"data that is no object", object{"template": "welcome", "to": ann, "data": []int{1}}, 422, "body.data", "object"},
		{"data with Belfry's own key", object{"template": "welcome", "to": ann, "data": object{"recipient": "x"}}, 422, "body.data.recipient", "own"},
		{"body over 1 MiB", object{"template": "welcome", "to": ann, "data": object{"x": strings.Repeat("x", 1<<20)}}, 413, "", ""},
		{"a channel twice", object{"template": "welcome", "to": ann, "channels": []string{"email", "email"}}, 422, "body.channels", "unique"},
		{"a channel that is a list", object{"template": "welcome", "to": ann, "channels": []any{[]any{"email"}}}, 422, "body.channels[0]", ""},
		{"a channel that is an object", object{"template": "welcome", "to": ann, "channels": []any{object{}, object{}}}, 422, "body.channels[0]", ""},
		{"no channel", object{"template": "welcome", "to": ann, "channels": []string{}}, 422, "body.channels", "1"},
		{"unknown channel", object{"template": "welcome", "to": ann, "channels": []string{"pigeon"}}, 422, "body.channels[0]", "email"},
		{"17 tags", object{"template": "welcome", "to": ann, "tags": strings.Split(strings.Repeat("t,", 16)+"t", ",")}, 422, "body.tags", "16"},
		{"a tag of 65 characters", object{"template": "welcome", "to": ann, "tags": []string{strings.Repeat("ü", 65)}}, 422, "body.tags[0]", "64"},
		{"17 keys of metadata", object{"template": "welcome", "to": ann, "metadata": keys(17)}, 422, "body.metadata", "16"},
		{"metadata that is no text", object{"template": "welcome", "to": ann, "metadata": object{"x": 1}}, 422, "body.metadata.x", "string"},
		{"an unknown priority", object{"template": "welcome", "to": ann, "priority": "urgent"}, 422, "body.priority", "normal"},
		{"an unknown provider", object{"template": "welcome", "to": ann, "provider": "pigeon"}, 422, "body.provider", "smtp"},
		{"an unknown on_unknown", object{"template": "welcome", "to": ann, "on_unknown": "ask"}, 422, "body.on_unknown", "resend"},
		{"expiry in the past", object{"template": "welcome", "to": ann, "expires_at": "2020-01-01T00:00:00Z"}, 422, "body.expires_at", "future"},
		{"expiry in three years", object{"template": "welcome", "to": ann, "expires_at": time.Now().AddDate(3, 0, 0)}, 422, "body.expires_at", "two years"},
		{"expiry that is no time", object{"template": "welcome", "to": ann, "expires_at": "tomorrow"}, 422, "body.expires_at", "date-time"},
		{"expiry before it is to go out", object{"template": "welcome", "to": ann, "delay": "3h", "expires_at": time.Now().Add(2 * time.Hour)}, 422, "body.expires_at", "after send_at"},
		{"send_at in three years", object{"template": "welcome", "to": ann, "send_at": time.Now().AddDate(3, 0, 0)}, 422, "body.send_at", "two years"},
		{"send_at that is no time", object{"template": "welcome", "to": ann, "send_at": "tomorrow"}, 422, "body.send_at", "date-time"},
		{"a delay of three years", object{"template": "welcome", "to": ann, "delay": "26280h"}, 422, "body.delay", "two years"},
		{"a delay that is none", object{"template": "welcome", "to": ann, "delay": "soon"}, 422, "body.delay", "24h"},
		{"a delay into the past", object{"template": "welcome", "to": ann, "delay": "-1h"}, 422, "body.delay", "24h"},
		{"send_at with delay", object{"template": "welcome", "to": ann, "delay": "1h", "send_at": "2027-01-01T00:00:00Z"}, 422, "body.delay", "at most one"},
		{"content without a channel", object{"content": object{}, "to": ann}, 422, "body.content", "channel"},
		{"content without a subject", object{"content": email(" ", "<p>"), "to": ann}, 422, "body.content.email.subject", "empty"},
		{"a Liquid error", object{"content": email("s", "<p>\n{{ x"), "to": ann}, 422, "body.content.email.html", "line 2"},
		{"an unknown filter", object{"content": email("s", "{{ x | nosuch }}"), "to": ann}, 422, "body.content.email.html", "nosuch"},
		{"20,000 nested ifs", object{"content": email("s", strings.Repeat("{% if x %}", 20_000)), "to": ann}, 422, "body.content.email.html", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			p := s.refused(http.MethodPost, "/v1/notifications", test.status, test.body)
			require.Less(t, time.Since(began), 2*time.Second)
			if test.at != "" {
				require.Contains(t, p.locations(), test.at, "%+v", p)
				for _, e := range p.Errors {
					if e.Location == test.at {
						require.Contains(t, e.Message, test.says)
						break
					}
				}
			}
		})
	}
	require.Empty(t, s.starts.started, "nothing is started")

	// What comes another way is refused alike, but for what the store knows.
	reader := api.NewRequestReader(template.New(), []string{"smtp"}, time.Now)
	for _, test := range tests {
		text, ok := test.body.(string)
		if !ok {
			encoded, err := json.Marshal(test.body)
			require.NoError(t, err)
			text = string(encoded)
		}
		p := s.refused(http.MethodPost, "/v1/notifications", test.status, test.body)
		_, err := reader.Read([]byte(text))
		knownToStore := test.at == "body.audience.id" && test.says != "uuid" || test.at == "body.rate" && test.says == "expires_at"
		if test.status != http.StatusUnprocessableEntity || knownToStore || text == "" {
			continue
		}
		var refusal *notify.Error
		require.ErrorAs(t, err, &refusal, test.name)
		require.Equal(t, notify.CodeInvalid, refusal.Code)
		require.ElementsMatch(t, said(p.Errors), said(refusal.Fields), test.name)
	}
	_, err := reader.Read(nil)
	require.ErrorContains(t, err, "body: not JSON: it is empty")
}

func said(fields []notify.FieldError) (said []string) {
	for _, f := range fields {
		said = append(said, f.Location+": "+f.Message)
	}
	return said
}

func TestARequestThatCameAnotherWay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	reader := api.NewRequestReader(template.New(), []string{"smtp"}, func() time.Time { return now })
	got, err := reader.Read([]byte(`{"template":"welcome@2","to":[{"email":"ann@example.com","name":"Ann"},{"email":"ANN@example.com"},{"user_id":"u"}],
		"data":{"film":12345678901234567890},"delay":"90m","tags":["a"],"metadata":{"order":"17"},"priority":"high","provider":"smtp"}`))
	require.NoError(t, err)
	due := now.Add(90 * time.Minute)
	require.Equal(t, &notify.Request{
		Template: "welcome@2", To: []notify.Recipient{{Email: "ann@example.com", Name: "Ann"}, {UserID: "u"}},
		Data: `{"film":12345678901234567890}`, SendAt: &due, Tags: []string{"a"}, Metadata: `{"order":"17"}`, Priority: notify.PriorityHigh, Provider: "smtp",
	}, got)
}

func keys(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint(i)] = "x"
	}
	return m
}

func TestAllThatIsWrongIsListedAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.refused(http.MethodPost, "/v1/notifications", 422, object{
		"content":  email("{{ broken", "{% if %}"),
		"to":       []object{{"email": "nonsense"}, {"user_id": "u", "email": "a@b.c"}, {"name": "x"}},
		"channels": []string{"pigeon"},
		"data":     object{"recipient": 1},
		"tags":     []string{""},
		"surprise": 1,
	})
	require.Subset(t, p.locations(), []string{
		"body.content.email.subject", "body.content.email.html", "body.to[0].email", "body.to[1]", "body.to[2]",
		"body.channels[0]", "body.data.recipient", "body.tags[0]", "body.surprise",
	})
}
