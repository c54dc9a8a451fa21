package idp

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
)

func TestParseUsers(t *testing.T) {
	t.Parallel()
	name, locale, zone, phone := "Ana", "pt-BR", "Europe/Lisbon", "+351210000000"
	ana := &idppb.Info{Id: "ana", Email: "ana@example.org", Name: &name, Locale: &locale, TimeZone: &zone, Phone: &phone}
	norway, eight := "no", "0o8"
	tests := map[string]struct {
		file, text string
		want       []*idppb.Info
	}{
		"JSON": {"u.json", `[{"id": "ana", "email": "ana@example.org", "name": "Ana", "locale": "pt-BR",
			"time_zone": "Europe/Lisbon", "phone": "+351210000000"}]`, []*idppb.Info{ana}},
		"YAML": {"u.yaml", `
# our users
- id: ana
  email: ana@example.org
  name: Ana
  locale: pt-BR
  time_zone: Europe/Lisbon
  phone: +351210000000
`, []*idppb.Info{ana}},
		"JSON in a YAML file":      {"u.yml", `[{"id": "b"}, {"id": "a"}]`, []*idppb.Info{{Id: "a"}, {Id: "b"}}},
		"ending in capitals":       {"U.JSON", `[]`, []*idppb.Info{}},
		"byte order mark":          {"u.json", "\ufeff[]", []*idppb.Info{}},
		"nulls":                    {"u.json", `[{"id": "a", "email": null}]`, []*idppb.Info{{Id: "a"}}},
		"nulls in YAML":            {"u.yaml", "- id: a\n  email:\n  phone: null\n  name: ~\n", []*idppb.Info{{Id: "a"}}},
		"YAML's traps are text":    {"u.yaml", "- id: 0042\n  name: no\n- id: 1e3\n  name: 0o8\n", []*idppb.Info{{Id: "0042", Name: &norway}, {Id: "1e3", Name: &eight}}},
		"aliases":                  {"u.yaml", "- id: &a x@example.org\n  email: *a\n", []*idppb.Info{{Id: "x@example.org", Email: "x@example.org"}}},
		"sorted by bytes":          {"u.json", `[{"id": "é"}, {"id": "z"}, {"id": "Z"}]`, []*idppb.Info{{Id: "Z"}, {Id: "z"}, {Id: "é"}}},
		"host without a dot":       {"u.json", `[{"id": "a", "email": "root@localhost"}]`, []*idppb.Info{{Id: "a", Email: "root@localhost"}}},
		"address in other scripts": {"u.json", `[{"id": "a", "email": "łucja@example.org"}]`, []*idppb.Info{{Id: "a", Email: "łucja@example.org"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			users, err := parseUsers(test.file, []byte(test.text))
			require.NoError(t, err)
			require.Len(t, users.byID, len(test.want))
			require.Len(t, users.sorted, len(test.want))
			for i, want := range test.want {
				require.Equal(t, want.String(), users.sorted[i].String())
			}
		})
	}
}

func TestParseUsersErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ file, text, want string }{
		"duplicate id":     {"u.yaml", "- id: a\n- id: b\n- id: a\n", `entry 3 (id "a"): id: entry 1 has it too`},
		"no id":            {"u.yaml", "- id: a\n- email: b@example.org\n", `entry 2: id: is missing`},
		"long id":          {"u.json", `[{"id": "` + strings.Repeat("é", 257) + `"}]`, `entry 1: id: has 257 characters, the limit is 256`},
		"long name":        {"u.json", `[{"id": "a", "name": "` + strings.Repeat("é", 257) + `"}]`, `entry 1 (id "a"): name: has 257 characters, the limit is 256`},
		"line break":       {"u.json", `[{"id": "a", "name": "x\r\nBcc: y"}]`, `entry 1 (id "a"): name: has a control character or is no UTF-8`},
		"malformed email":  {"u.yaml", "- {id: a, email: a.example.org}", `entry 1 (id "a"): email: is not an address such as ana@example.org`},
		"email and name":   {"u.yaml", "- {id: a, email: A <a@example.org>}", `entry 1 (id "a"): email: is not an address such as ana@example.org`},
		"two emails":       {"u.yaml", "- {id: a, email: 'a@example.org, b@example.org'}", `entry 1 (id "a"): email: is not an address such as ana@example.org`},
		"long email":       {"u.yaml", "- {id: a, email: a@" + strings.Repeat("x", 250) + ".org}", `entry 1 (id "a"): email: is not an address such as ana@example.org`},
		"locale of POSIX":  {"u.yaml", "- {id: a, locale: pt_BR}", `entry 1 (id "a"): locale: "pt_BR" is not a BCP 47 language tag such as pt-BR`},
		"unknown locale":   {"u.yaml", "- {id: a, locale: english}", `entry 1 (id "a"): locale: "english" is not a BCP 47 language tag such as pt-BR`},
		"unknown zone":     {"u.yaml", "- {id: a, time_zone: Europe/Nowhere}", `entry 1 (id "a"): time_zone: "Europe/Nowhere" is not an IANA time zone such as Europe/Lisbon`},
		"this machine's":   {"u.yaml", "- {id: a, time_zone: Local}", `entry 1 (id "a"): time_zone: "Local" is not an IANA time zone such as Europe/Lisbon`},
		"zone with dots":   {"u.yaml", "- {id: a, time_zone: ../UTC}", `entry 1 (id "a"): time_zone: "../UTC" is not an IANA time zone such as Europe/Lisbon`},
		"national phone":   {"u.yaml", "- {id: a, phone: '0210000000'}", `entry 1 (id "a"): phone: is not an E.164 number such as +351210000000`},
		"phone with gaps":  {"u.yaml", "- {id: a, phone: '+351 210 000'}", `entry 1 (id "a"): phone: is not an E.164 number such as +351210000000`},
		"phone too long":   {"u.yaml", "- {id: a, phone: '+1234567890123456'}", `entry 1 (id "a"): phone: is not an E.164 number such as +351210000000`},
		"phone as number":  {"u.json", `[{"id": "a", "phone": 351210000000}]`, `entry 1 (id "a"): "phone": not a string`},
		"misspelt field":   {"u.yaml", "- id: a\n  emial: x\n", `entry 1 (id "a"): line 2: "emial": there is no such field`},
		"field twice":      {"u.yaml", "- id: a\n  email: a@x.org\n  email: b@x.org\n", `entry 1 (id "a"): line 3: email: is there twice`},
		"misspelt in JSON": {"u.json", `[{"emial": "x", "id": "a"}]`, `entry 1: "emial": there is no such field`},
		"a list for text":  {"u.yaml", "- id: a\n  email: [a@x.org]\n", `entry 1 (id "a"): line 2: "email": not a plain value`},
		"entry is no user": {"u.yaml", "- id: a\n- b\n", `entry 2: line 2: not a mapping of fields`},
		"JSON entry is no": {"u.json", `["a"]`, `entry 1: not an object`},
		"no list":          {"u.yaml", "users:\n- id: a\n", `not a list of users`},
		"no list in JSON":  {"u.json", `{"users": []}`, `not a list of users`},
		"null":             {"u.json", `null`, `not a list of users`},
		"empty":            {"u.yaml", "\n", `empty; a list of no users is []`},
		"cut off":          {"u.json", "[\n{\"id\": \"a\"},\n{\"id\"", `line 3: unexpected end of JSON input`},
		"bad YAML":         {"u.yaml", "- id: a\n\temail: b\n", `line 2: found a tab character that violates indentation`},
		"not UTF-8":        {"u.json", "[{\"id\": \"a\xff\"}]", `not in UTF-8`},
		"other ending":     {"u.csv", "id,email", `the name must end in .json, .yaml or .yml`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseUsers(test.file, []byte(test.text))
			require.EqualError(t, err, test.want)
		})
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add(usersYAML, true)
	f.Add(`[{"id": "ana", "email": "ana@example.org", "locale": "pt-BR", "phone": "+351210000000"}]`, false)
	f.Add("- &a {id: x}\n- *a\n", true)
	f.Add("- id: !!binary /w==\n", true)
	f.Fuzz(func(t *testing.T, text string, isYAML bool) {
		name := "users.json"
		if isYAML {
			name = "users.yaml"
		}
		users, err := parseUsers(name, []byte(text))
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.Len(t, users.byID, len(users.sorted))
		last := ""
		for _, info := range users.sorted {
			require.Less(t, last, info.GetId())
			last = info.GetId()
			require.Same(t, info, users.byID[last])
			for _, value := range []string{
				info.GetId(), info.GetEmail(), info.GetName(), info.GetLocale(), info.GetTimeZone(), info.GetPhone(),
			} {
				require.True(t, utf8.ValidString(value))
				require.NotContains(t, value, "\n")
			}
			require.LessOrEqual(t, utf8.RuneCountInString(last), MaxUserIDLength)
		}
	})
}

// The page that tells others how to serve the contract quotes it as it is.
func TestDocsQuoteTheProto(t *testing.T) {
	t.Parallel()
	proto, err := os.ReadFile("idppb/userinfo.proto")
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/idp.md")
	require.NoError(t, err)
	require.Contains(t, string(page), "```proto\n"+string(proto)+"```\n")
}
