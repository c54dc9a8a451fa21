package trigger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/event"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/trigger"
)

func TestWhatDoesNotCompileIsNamedWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		condition, to, data string
		at, says            string
	}{
		{condition: "event.data.total >", at: "body.condition", says: "line 1, column 19: Syntax error"},
		{condition: "true &&\n  event.tipe == 'x'", at: "body.condition", says: "line 2, column 8: undefined field 'tipe'"},
		{condition: "evnt.type == 'x'", at: "body.condition", says: "line 1, column 1: undeclared reference to 'evnt'"},
		{condition: "event.type == 5", at: "body.condition", says: "line 1, column 12: found no matching overload"},
		{condition: "event.subject", at: "body.condition", says: "comes to string, and must come to true or false"},
		{condition: "now > timestamp('yesterday')", at: "body.condition", says: "line 1, column 17: invalid timestamp"},
		{condition: "now - event.time > duration('1 hour')", at: "body.condition", says: "invalid duration"},
		{condition: "event.subject.matches('(')", at: "body.condition", says: "line 1, column 23: invalid matches"},
		{condition: "event.subject.matches('(a{1,100}){1,10}')", at: "body.condition", says: "regex program size"},
		{condition: "event.subject.replace('a', 'b') == 'c'", at: "body.condition", says: "line 1, column 22: replace is not offered here"},
		{condition: "['a'].join(event.subject) == 'a'", at: "body.condition", says: "join is not offered here"},
		{condition: "'%s'.format([event.subject]) == 'a'", at: "body.condition", says: "format is not offered here"},
		{condition: " ", at: "body.condition", says: "must not be empty"},
		{condition: "'" + strings.Repeat("x", trigger.MaxExpression) + "' == ''", at: "body.condition", says: "limit"},
		{condition: strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000), at: "body.condition", says: "recursion limit"},
		{to: "", at: "body.to", says: "must not be empty"},
		{to: "17", at: "body.to", says: "comes to int, and must come to a user id"},
		{to: "event.time", at: "body.to", says: "comes to timestamp"},
		{to: "[[event.subject]]", at: "body.to", says: "comes to list(list(string))"},
		{to: "[1, 2]", at: "body.to", says: "comes to list(int)"},
		{data: "['x']", at: "body.data", says: "comes to list(string), and must come to an object"},
		{data: "{event.subject: 1}", at: "body.data", says: "line 1, column 7: a key must be a literal"},
		{data: "{'a': }", at: "body.data", says: "line 1, column 7: Syntax error"},
	} {
		if test.at != "body.to" {
			test.to = "'u'"
		}
		_, err := trigger.Compile(&trigger.Definition{Condition: test.condition, To: test.to, Data: test.data})
		var refused *notify.Error
		require.ErrorAs(t, err, &refused, "%+v", test)
		require.Equal(t, notify.CodeInvalid, refused.Code)
		require.Equal(t, test.at, refused.Fields[0].Location)
		require.Contains(t, refused.Fields[0].Message, test.says)
		require.Less(t, len(refused.Fields[0].Message), 500)
	}
	_, err := trigger.Compile(&trigger.Definition{Condition: "a", To: "b", Data: "c"})
	require.ErrorContains(t, err, "'a'")
	require.ErrorContains(t, err, "'b'")
	require.ErrorContains(t, err, "'c'", "all of it at once")
}

// A type checker that writes out types which double with each step takes years.
func TestCompilingEnds(t *testing.T) {
	t.Parallel()
	for _, step := range []string{".map(a, {a: a})", ".map(a, {a['x']: a})", ".map(a, {'a': a, 'b': a})", ".map(a, [a, a])", ".map(a, [[a], [a]])"} {
		for _, steps := range []int{30, 45, 200} {
			began := time.Now()
			_, _ = trigger.Compile(&trigger.Definition{To: "'u'", Condition: "[0]" + strings.Repeat(step, steps) + "[0] == 1"})
			require.Less(t, time.Since(began), 10*time.Second, "%d times %s", steps, step)
		}
	}
}

// FuzzTrigger compiles any expression as each part and has what compiles meet
// an event: neither panics nor takes long, and what fails says why.
func FuzzTrigger(f *testing.F) {
	for _, seed := range []string{
		"true", "event.data.total > 100 && event.type == 'x'", "event.data.users.map(u, {'user_id': u.id})", "{'a': event.data, 'at': now}",
		"event.data.users.filter(u, has(u.email)).map(u, {'email': u.email, 'name': u.name})", "[['u']].map(a, a + a).map(a, a + a)[0]",
		"event.subject.matches('^(a|b)*$') ? ['u'] : []", "timestamp('2026-01-01T00:00:00Z') - now", "event", "type(event)", "{event.id: {'a': [1.5, 2u, b'x', null]}}",
		"[1, 2].all(x, [3].exists(y, y > x))", "event.data.users.exists_one(u, u.id == 'u1')", "'a'.split('')[0].upperAscii().substring(0)", "-9223372036854775808 - 1",
		"size(event.data.text.trim()) % 0", "now.getHours('Europe/Berlin')", "dyn(event).data.users[9]", "1 in [1] || 'a' in {'a': 1}", "((((", "'\\u0000'", "[0].map(a, {'a': a}).map(a, {a: a})",
		"string(event.data.n) + 'x'", "int(event.data.text)", "event.data.users == event.data.users", "cel.bind(x, 1, x)", "event{id: 'x'}", "Event{id: 'x'}.id", "google.protobuf.Struct{fields: {'a': 1}}",
	} {
		f.Add(seed, `{"users":[{"id":"u1","email":"a@b.c","name":"Ann"},{"id":"u2"}],"total":120,"text":"abc","n":1.5}`)
	}
	f.Fuzz(func(t *testing.T, source, data string) {
		began := time.Now()
		for _, d := range []trigger.Definition{{Condition: source, To: "'u'"}, {To: source}, {To: "'u'", Data: source}} {
			d.EventType = "x"
			p, err := trigger.Compile(&d)
			if err == nil {
				var request *notify.Request
				var matched bool
				request, matched, err = p.Evaluate(t.Context(), &event.Event{ID: "1", Type: "x", Data: []byte(data)}, now)
				if matched {
					require.NoError(t, err)
					require.NotEmpty(t, request.To)
					require.LessOrEqual(t, len(request.Data), notify.MaxDataBytes)
					for _, to := range request.To {
						require.Nil(t, to.Fault())
					}
				}
			}
			if err != nil {
				require.Equal(t, notify.CodeInvalid, notify.CodeOf(err))
				require.NotContains(t, err.Error(), "internal error", "the library panicked")
				require.NotContains(t, err.Error(), "runtime error")
				require.Less(t, len(err.Error()), 4000)
			}
		}
		require.Less(t, time.Since(began), 10*time.Second)
	})
}
