package trigger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/trigger"
)

var now = time.Date(2026, time.March, 28, 8, 0, 0, 0, time.UTC)

const order = `{"id": 9007199254740993, "total": 120.5, "items": [{"sku": "a"}, {"sku": "b"}], "country": "DE", "none": null,
	"user": {"id": "u1", "email": "ann@example.com", "name": "Ann"}, "watchers": ["u2", "u1", "u2"], "big": 18446744073709551615, "at": "2026-03-28T09:00:00+01:00"}`

func ordered() *event.Event {
	return &event.Event{
		ID: "e1", Source: "/shop", Type: "order.placed", Subject: "order/17", Time: now.Add(-time.Minute), Data: json.RawMessage(order),
	}
}

// evaluate has the expressions of a trigger, each with a default, meet an event.
func evaluate(t *testing.T, d trigger.Definition, e *event.Event) (*notify.Request, bool, error) {
	t.Helper()
	d.Name, d.EventType, d.Template = "orders", "order.placed", "welcome"
	if d.To == "" {
		d.To = "'u1'"
	}
	p, err := trigger.Compile(&d)
	require.NoError(t, err)
	return p.Evaluate(t.Context(), e, now)
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for condition, holds := range map[string]bool{
		"":                       true,
		"true":                   true,
		"event.data.total > 100": true,
		"event.data.total > 120.4 && event.data.total < 121":                                         true,
		"event.data.id == 9007199254740993":                                                          true,
		"event.data.id == 9007199254740992":                                                          false,
		"event.data.country == 'de'":                                                                 false,
		"event.data.country.lowerAscii() in ['de', 'at']":                                            true,
		"event.data.user.email.endsWith('@example.com')":                                             true,
		"event.data.user.email.matches('^[a-z]+@example[.]com$')":                                    true,
		"event.data.items.exists(i, i.sku == 'b') && size(event.data.items) == 2":                    true,
		"has(event.data.coupon)":                                                                     false,
		"has(event.data.coupon) && event.data.coupon.percent > 10":                                   false,
		"has(event.data.none) && event.data.none == null":                                            true,
		"event.id == 'e1' && event.source == '/shop' && event.type == 'order.placed'":                true,
		"event.subject.split('/')[1] == '17'":                                                        true,
		"has(event.subject) && has(event.data)":                                                      true,
		"event.time == timestamp('2026-03-28T07:59:00Z')":                                            true,
		"now - event.time > duration('30s') && now.getHours('Europe/Berlin') == 9":                   true,
		"timestamp(event.data.at) == now":                                                            true,
		"event.data.big == '18446744073709551615'":                                                   true, // it is no int64
		"event.data.total * 2.0 == 241.0 && event.data.id + 1 == 9007199254740994":                   true,
		"event.data == event.data && event.data.items[1] == {'sku': 'b'} && 'id' in event.data":      true,
		"event.data.watchers.filter(w, w != 'u1').size() > 2 || event.data.watchers.all(w, w > 'u')": true,
	} {
		_, matched, err := evaluate(t, trigger.Definition{Condition: condition}, ordered())
		require.NoError(t, err, condition)
		require.Equal(t, holds, matched, condition)
	}
}

func TestWhatAnEventNeedNotHave(t *testing.T) {
	t.Parallel()
	bare := &event.Event{Type: "order.placed"}
	_, matched, err := evaluate(t, trigger.Definition{
		Condition: "!has(event.subject) && event.subject == '' && !has(event.data) && event.data == null && event.time == now",
	}, bare)
	require.NoError(t, err)
	require.True(t, matched)
	require.Zero(t, bare.Time, "an event is not changed")
	for text, condition := range map[string]string{`"text"`: "event.data == 'text'", `[1, 2]`: "event.data[1] == 2", ` 17 `: "event.data == 17", `null`: "event.data == null"} {
		_, matched, err := evaluate(t, trigger.Definition{Condition: condition}, &event.Event{Type: "order.placed", Data: json.RawMessage(text)})
		require.NoError(t, err)
		require.True(t, matched, condition)
	}
	_, matched, err = evaluate(t, trigger.Definition{}, &event.Event{Type: "order.placed.v2"})
	require.NoError(t, err)
	require.False(t, matched, "another type")
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	user := func(ids ...string) (to []notify.Recipient) {
		for _, id := range ids {
			to = append(to, notify.Recipient{UserID: id})
		}
		return to
	}
	for expression, to := range map[string][]notify.Recipient{
		"event.data.user.id":  user("u1"),
		"event.data.watchers": user("u2", "u1"),
		"['u2', event.data.user.id] + event.data.watchers + ['u3']":                                            user("u2", "u1", "u3"),
		"event.data.watchers.map(w, {'user_id': w})":                                                           user("u2", "u1"),
		"event.data.items.map(i, 'u-' + i.sku)":                                                                user("u-a", "u-b"),
		"{'email': event.data.user.email, 'name': event.data.user.name}":                                       {{Email: "ann@example.com", Name: "Ann"}},
		"[{'email': 'bob@example.com'}, {'email': 'Bob@Example.com', 'name': 'Bob'}, {'user_id': 'u1'}, 'u1']": {{Email: "bob@example.com"}, {UserID: "u1"}},
		"[]": nil,
		"event.data.watchers.filter(w, w == 'nobody')":  nil,
		"has(event.data.owner) ? event.data.owner : []": nil,
	} {
		request, matched, err := evaluate(t, trigger.Definition{To: expression}, ordered())
		require.NoError(t, err, expression)
		require.Equal(t, to != nil, matched, expression)
		if matched {
			require.Equal(t, to, request.To, expression)
		}
	}
}

func TestMoreRecipientsThanANotificationTakes(t *testing.T) {
	t.Parallel()
	many := func(n int) *event.Event {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("u%d", i)
		}
		text, err := json.Marshal(map[string]any{"ids": ids})
		require.NoError(t, err)
		return &event.Event{Type: "order.placed", Data: text}
	}
	for _, expression := range []string{"event.data.ids", "event.data.ids.filter(i, i != '').map(i, {'user_id': i})"} {
		request, matched, err := evaluate(t, trigger.Definition{To: expression}, many(2_000))
		require.NoError(t, err)
		require.True(t, matched)
		require.Len(t, request.To, 2_000)
	}
	_, _, err := evaluate(t, trigger.Definition{To: "event.data.ids"}, many(trigger.MaxRecipients+1))
	require.ErrorContains(t, err, "to: names 100001 recipients, at most 100000 are allowed")
}

func TestData(t *testing.T) {
	t.Parallel()
	for expression, data := range map[string]notify.Object{
		"":   "",
		"{}": "",
		"{'order': event.data.id, 'total': event.data.total, 'first': event.data.items[0]}": `{"first":{"sku":"a"},"order":9007199254740993,"total":120.5}`,
		"event.data.user": `{"email":"ann@example.com","id":"u1","name":"Ann"}`,
		"{'big': event.data.big, 'none': null, 'flags': [true, false], 'n': 7u, 'text': '<\"ü\\n'}": `{"big":"18446744073709551615","flags":[true,false],"n":7,"none":null,"text":"<\"ü\n"}`,
		"{'at': event.time, 'late': now - event.time, 'tags': ['a', 'b'] + ['c']}":                  `{"at":"2026-03-28T07:59:00Z","late":"1m0s","tags":["a","b","c"]}`,
		"{'e': [event]}": `{"e":[{"data":` + compact(t, order) + `,"id":"e1","source":"/shop","subject":"order/17","time":"2026-03-28T07:59:00Z","type":"order.placed"}]}`,
	} {
		request, _, err := evaluate(t, trigger.Definition{Data: expression}, ordered())
		require.NoError(t, err, expression)
		if data == "" {
			require.Empty(t, request.Data, expression)
			continue
		}
		require.JSONEq(t, string(data), string(request.Data), expression)
		again, _, err := evaluate(t, trigger.Definition{Data: expression}, ordered())
		require.NoError(t, err)
		require.Equal(t, request.Data, again.Data, "the same each time")
	}
	whole, _, err := evaluate(t, trigger.Definition{Data: "event"}, ordered())
	require.NoError(t, err)
	require.Contains(t, whole.Data, `"id":9007199254740993`)
}

// compact is JSON as data has it.
func compact(t *testing.T, text string) notify.Object {
	t.Helper()
	var o notify.Object
	require.NoError(t, json.Unmarshal([]byte(strings.Replace(text, "18446744073709551615", `"18446744073709551615"`, 1)), &o))
	return o
}

func TestARequestIsWhatTheTriggerSays(t *testing.T) {
	t.Parallel()
	content := &notify.Bodies{Email: &notify.Email{Subject: "s", HTML: "h"}}
	p, err := trigger.Compile(&trigger.Definition{
		EventType: "x", To: "event.subject", Content: content, Channels: []notify.Channel{notify.ChannelEmail}, Delay: time.Hour,
	})
	require.NoError(t, err)
	request, matched, err := p.Evaluate(t.Context(), &event.Event{Type: "x", Subject: "u7"}, now)
	require.NoError(t, err)
	require.True(t, matched)
	later := now.Add(time.Hour)
	require.Equal(t, &notify.Request{
		Content: content, To: []notify.Recipient{{UserID: "u7"}}, Channels: []notify.Channel{notify.ChannelEmail}, SendAt: &later,
	}, request)
}

func TestAnExpressionThatFailsOnAnEventIsNamed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		condition, to, data string
		at, says            string
	}{
		{condition: "event.data.coupon == 'x'", at: "condition", says: "line 1, column 11: no such key: coupon"},
		{condition: "true &&\n  event.data.usr.id == 'x'", at: "condition", says: "line 2, column 17: no such key: usr"},
		{condition: "event.data.total * 2 > 3", at: "condition", says: "line 1, column 18: no such overload"},
		{condition: "event.data.country", at: "condition", says: "comes to string, and must come to true or false"},
		{condition: "1 / size(event.data.none) > 0", at: "condition", says: "no such overload"},
		{condition: "1 / (size(event.data.items) - 2) > 0", at: "condition", says: "division by zero"},
		{condition: "timestamp(event.data.country) < now", at: "condition", says: "column 10"},
		{condition: "event.data.country.matches(event.data.country + '(')", at: "condition", says: "missing closing )"},
		{to: "event.data.owner", at: "to", says: "no such key: owner"},
		{to: "event.data.id", at: "to", says: "is int, and must be a user id"},
		{to: "event.data.none", at: "to", says: "is null, and must be a user id"},
		{to: "event.data", at: "to", says: "has a field"},
		{to: "['u1', event.data.id]", at: "to[1]", says: "is int"},
		{to: "['u1', event.data.items]", at: "to[1]", says: "is list"},
		{to: "['']", at: "to[0]", says: "exactly one of user_id and email"},
		{to: "['u1\\n']", at: "to[0].user_id", says: "control characters"},
		{to: "['" + strings.Repeat("u", 257) + "']", at: "to[0].user_id", says: "longer than 256 characters"},
		{to: "[{'email': event.data.country}]", at: "to[0].email", says: "not a mail address"},
		{to: "{'email': 'a@b.c', 'user_id': 'u1'}", at: "to", says: "exactly one"},
		{to: "{'email': event.data.id}", at: "to.email", says: "is int, and must be a string"},
		{to: "{'user_id': 'u1', 'name': 'Ann'}", at: "to.name", says: "goes with email"},
		{to: "[{'phone': '1'}]", at: "to[0]", says: `has a field "phone"`},
		{data: "event.data.items", at: "data", says: "comes to list, and must come to an object"},
		{data: "event.data.coupon", at: "data", says: "no such key: coupon"},
		{data: "{'recipient': 'x'}", at: "data.recipient", says: "Belfry's own"},
		{data: "{'a': [{'b': 1.0 / 0.0}]}", at: "data.a[0].b", says: "a number that JSON does not know"},
		{data: "{'a': type(1)}", at: "data.a", says: "is type, which JSON does not know"},
		{data: "{'a': {1: 2}}", at: "data.a", says: "a key that is no string"},
		{data: "{'a': b'x'}", at: "data.a", says: "is bytes"},
		{data: "{'x': event.data.watchers}", at: "", says: ""},
	} {
		_, matched, err := evaluate(t, trigger.Definition{Condition: test.condition, To: test.to, Data: test.data}, ordered())
		if test.at == "" {
			require.NoError(t, err)
			continue
		}
		require.False(t, matched)
		var failed *notify.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, notify.CodeInvalid, failed.Code)
		require.Contains(t, failed.Detail, `"orders"`)
		require.Equal(t, test.at, failed.Fields[0].Location, "%s", err)
		require.Contains(t, failed.Fields[0].Message, test.says)
	}
	for _, text := range []string{`{"a":`, `{} {}`, `"` + strings.Repeat("x", event.MaxBytes) + `"`} {
		_, _, err := evaluate(t, trigger.Definition{}, &event.Event{Type: "order.placed", Data: json.RawMessage(text)})
		require.ErrorContains(t, err, "event.data")
	}
	long := &event.Event{Type: "order.placed", Data: json.RawMessage(`"` + strings.Repeat("x", notify.MaxDataBytes) + `"`)}
	_, _, err := evaluate(t, trigger.Definition{Data: "{'x': {'y': event.data}}"}, long)
	require.ErrorContains(t, err, "data: is longer than 65536 bytes")
}

// TestUnboundedWorkEnds tries what would take hours or all memory.
func TestUnboundedWorkEnds(t *testing.T) {
	t.Parallel()
	users, err := json.Marshal(map[string]any{"l": make([]int, 100_000), "s": strings.Repeat("a", 500_000)})
	require.NoError(t, err)
	for name, d := range map[string]trigger.Definition{
		"loops in loops":      {Condition: "event.data.l.all(a, event.data.l.all(b, a == b))"},
		"texts that double":   {Condition: "[event.data.s]" + strings.Repeat(".map(a, a + a)", 40) + ".size() == 1"},
		"lists that double":   {To: "[['u']]" + strings.Repeat(".map(a, a + a)", 40) + "[0]"},
		"lists compared":      {Condition: "[[0]]" + strings.Repeat(".map(a, a + a)", 40) + ".all(a, a == a)"},
		"compared very often": {Condition: "[[0]]" + strings.Repeat(".map(a, a + a)", 15) + ".all(a," + strings.Repeat("a==a&&", 600) + "true)"},
		"lists in lists":      {Condition: "[[0]]" + strings.Repeat(".map(a, [a, a])", 30) + ".all(a, a == a)"},
		"objects in objects":  {Data: "[{}]" + strings.Repeat(".map(a, {'a': a, 'b': a})", 30) + "[0]"},
		"a lot of characters": {Condition: "event.data.l.exists(n, event.data.s.split('')[n] == 'b')"},
		"large comparisons":   {Condition: "event.data.l.all(a, event.data.l == event.data.l)"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, matched, err := evaluate(t, d, &event.Event{Type: "order.placed", Data: users})
			require.False(t, matched)
			require.ErrorContains(t, err, "takes too much work: 1500000 steps, 1s and a value of 500000 elements are allowed")
			require.Less(t, time.Since(began), time.Minute, "it would take hours")
		})
	}
}

func TestACallerWhoGivesUpIsNotAnExpressionThatFails(t *testing.T) {
	t.Parallel()
	p, err := trigger.Compile(&trigger.Definition{EventType: "x", To: "'u'", Condition: "event.data.all(a, event.data.all(b, true))"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	text, err := json.Marshal(make([]int, 10_000))
	require.NoError(t, err)
	_, _, err = p.Evaluate(ctx, &event.Event{Type: "x", Data: text}, now)
	require.ErrorIs(t, err, stopped)
}
