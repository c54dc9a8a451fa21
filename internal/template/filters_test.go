package template

import (
	"strings"
	"testing"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/osteele/liquid"
	"github.com/stretchr/testify/require"
)

const filterData = `{"s": "Ann Lee", "n": 5, "f": 2.5, "l": [3, 1, 2, 1], "m": [null, "b", "A", "a"],
	"o": [{"n": "b", "p": 2}, {"n": "A", "p": 1}, {"p": 3}], "html": "<p class='x'>1 &lt; 2</p>",
	"lines": "a\nb\r\nc", "t": true, "e": "", "deep": [[1], [1], {"x": 1}, {"x": 1}, "[1]"], "day": "2026-03-09T07:05:03.5+02:00"}`

func TestFilters(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{{ e | default: "x" }}{{ t | default: "x" }}{{ 0 | default: "x" }}{{ false | default: "x" }}`: "xtrue0x",
		`{{ o | json }}`: `[{"n":"b","p":2},{"n":"A","p":1},{"p":3}]`,
		`{{ s | json }}{{ n | json }}{{ nil | json }}`: `"Ann Lee"5null`,

		`{{ s | append: "!" | prepend: n }}`:                                     "5Ann Lee!",
		`{{ "école McD" | capitalize }}{{ e | capitalize }}`:                     "École McD",
		`{{ s | downcase }}{{ s | upcase }}`:                                     "ann leeANN LEE",
		`{{ html | escape }}`:                                                    "&lt;p class=&#39;x&#39;&gt;1 &amp;lt; 2&lt;/p&gt;",
		`{{ html | escape_once }}`:                                               "&lt;p class=&#39;x&#39;&gt;1 &lt; 2&lt;/p&gt;",
		`{{ lines | newline_to_br }}`:                                            "a<br />\nb<br />\nc",
		`{{ lines | strip_newlines }}`:                                           "abc",
		`{{ "aXbX" | remove: "X" }}{{ "aXbX" | remove_first: "X" }}`:             "ababX",
		`{{ "aXbX" | replace: "X", "-" }}{{ "aXbX" | replace_first: "X", "-" }}`: "a-b-a-bX",
		`{{ "ab" | replace: "", "-" }}`:                                          "-a-b-",
		`[{{ " a " | strip }}][{{ " a " | lstrip }}][{{ " a " | rstrip }}]`:      "[a][a ][ a]",
		`{{ html | strip_html }}`:                                                "1 &lt; 2",
		`{{ "a<!-- > -->b<SCRIPT>x<y</script >z</ScRipt>c<style>p>q</style>d<br\n/>e<f" | strip_html }}`:             "abcde<f",
		`{{ "a<!-- b" | strip_html }}{{ "a<script>b>c" | strip_html }}`:                                              "a<!-- bab>c",
		`{{ "Ground control" | truncate: 9 }}`:                                                                       "Ground...",
		`{{ "Ground" | truncate: 6 }}{{ "é" | truncate: 1 }}`:                                                        "Groundé",
		`{{ "Äußerst lang" | truncate: 5, "…" }}{{ "abc" | truncate: 1 }}`:                                           "Äuße…...",
		`{{ "a b c d" | truncatewords: 2 }}|{{ "a b" | truncatewords: 2 }}|{{ "a  b c" | truncatewords: 2, "" }}`:    "a b...|a b|a b",
		`{{ "a b&c/é" | url_encode }}{{ "a+b%26" | url_decode }}`:                                                    "a+b%26c%2F%C3%A9a b&",
		`{{ "a,b,,c,," | split: "," | join: "|" }}`:                                                                  "a|b||c",
		`{{ " a  b\n" | split: " " | join: "|" }}`:                                                                   `a|b\n`,
		`{{ "aé" | split: "" | join: "|" }}`:                                                                         "a|é",
		`{{ s | slice: 1, 2 }}{{ s | slice: -3 }}{{ s | slice: -3, 9 }}{{ s | slice: 99, 2 }}{{ s | slice: 1, -1 }}`: "nnLLee",
		`{{ l | slice: 1, 2 | join }}{{ l | slice: -99, 1 | join }}`:                                                 "1 23",
		`{{ "é" | size }}{{ l | size }}{{ nil | size }}{{ n | size }}`:                                               "1401",

		`{{ m | compact | join }}`:                                                   "b A a",
		`{{ l | concat: m | join }}`:                                                 "3 1 2 1 b A a",
		`{{ l | first }}{{ l | last }}{{ e | split: "," | first }}`:                  "31",
		`{{ l | join }}{{ m | join: "," }}{{ s | join }}`:                            "3 1 2 1b,A,aAnn Lee",
		`{{ o | map: "n" | join: "," }}`:                                             "b,A",
		`{{ l | reverse | join }}`:                                                   "1 2 1 3",
		`{{ l | sort | join }}{{ m | sort | join }}`:                                 "1 1 2 3A a b",
		`{{ o | sort: "p" | map: "p" | join }}{{ o | sort: "n" | map: "p" | join }}`: "1 2 33 1 2",
		`{{ m | sort_natural | join }}{{ o | sort_natural: "n" | map: "p" | join }}`: "A a b3 1 2",
		`{{ l | join }}`: "3 1 2 1",
		`{{ l | uniq | join }}{{ m | uniq | size }}{{ deep | uniq | size }}`: "3 1 243",
		`{% assign x = l | sort | reverse %}{{ l | join }}`:                  "3 1 2 1",

		`{{ -5 | abs }}{{ -2.5 | abs }}{{ "-3" | abs }}`:                                                                                                          "52.53",
		`{{ 2.1 | ceil }}{{ 2.9 | floor }}{{ -2.1 | floor }}{{ 3 | ceil }}`:                                                                                       "32-33",
		`{{ 2.5 | round }}{{ 2.345 | round: 2 }}{{ 7 | round: 2 }}{{ -2.5 | round }}{{ 1.5 | round: 400 }}`:                                                       "32.357-31.5",
		`{{ n | plus: 1 }}{{ f | plus: 1 }}{{ "2" | plus: "3" }}{{ "2.5" | plus: 1 }}`:                                                                            "63.553.5",
		`{{ n | minus: 7 }}{{ n | times: 3 }}{{ 19.99 | times: 3 }}{{ 0.1 | plus: 0.2 }}`:                                                                         "-21559.970.3",
		`{{ 7 | divided_by: 2 }} {{ -7 | divided_by: 2 }} {{ 7 | divided_by: 2.0 }} {{ 7.5 | divided_by: 2 }}`:                                                    "3 -4 3.5 3.75",
		`{{ 7 | modulo: 3 }} {{ -7 | modulo: 3 }} {{ 7 | modulo: -3 }} {{ 7.5 | modulo: 2 }}`:                                                                     "1 2 -2 1.5",
		`{{ 9007199254740993 | divided_by: 1 }} {{ 9007199254740993 | abs }} {{ 9007199254740993 | floor }}`:                                                      "9007199254740993 9007199254740993 9007199254740993",
		`{{ 9223372036854775807 | times: 2 }} {{ -9223372036854775808 | minus: 1 }} {{ -9223372036854775808 | divided_by: -1 }} {{ -9223372036854775808 | abs }}`: "18446744073709600000 -9223372036854780000 9223372036854780000 9223372036854780000",

		`{{ day | date }}`: "Mon, Mar 09, 26",
		`{{ day | date: "%-d %B %Y %H:%M:%S.%L %:z" }}`:                              "9 March 2026 07:05:03.500 +02:00",
		`{{ 0 | date: "%F %T %z" }}{{ "86400" | date: "%F" }}{{ 0.5 | date: "%L" }}`: "1970-01-01 00:00:00 +00001970-01-02500",
		`{{ "2026-03-09 07:05" | date: "%s" }}`:                                      "1773039900",
		`{{ "March 9, 2026" | date: "%F 100 100% %%" }}`:                             "2026-03-09 100 100% %",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			got, err := renderText(t, source, filterData)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestFilterFaults(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{{ s | plus: 1 }}`:                              `filter "plus": a value that is not a number`,
		`{{ 1 | times: s }}`:                             `filter "times": a value that is not a number`,
		`{{ l | plus: 1 }}`:                              `filter "plus": a value that is not a number`,
		`{{ "NaN" | plus: 1 }}`:                          `filter "plus": a value that is not a number`,
		`{{ "Inf" | abs }}`:                              `filter "abs": a value that is not a number`,
		`{{ 1 | divided_by: 0 }}`:                        `filter "divided_by": division by zero`,
		`{{ 1.5 | divided_by: 0 }}`:                      `filter "divided_by": division by zero`,
		`{{ 1 | modulo: 0 }}`:                            `filter "modulo": division by zero`,
		`{{ 1 | times: 9e9 }}`:                           `syntax error in "1 | times: 9e9"`,
		`{{ big | times: big }}`:                         `filter "times": the result is not a finite number`,
		`{{ s | truncate: "x" }}`:                        `filter "truncate": a value that is not a whole number`,
		`{{ s | slice: 1.5 }}`:                           `filter "slice": a value that is not a whole number`,
		`{{ "%zz" | url_decode }}`:                       `filter "url_decode": invalid URL escape "%zz"`,
		`{{ "now" | date: "%Y" }}`:                       `filter "date": "now" is not available: pass the time in data`,
		`{{ "today" | date }}`:                           `filter "date": "today" is not available: pass the time in data`,
		`{{ e | date }}`:                                 `filter "date": there is no date`,
		`{{ s | date }}`:                                 `filter "date": a value that is not a date`,
		`{% for i in (1..s) %}{% endfor %}`:              `a range needs whole numbers`,
		`{% for i in ("a"..2) %}{% endfor %}`:            `a value of the wrong type`,
		`{% for i in l limit: s %}{% endfor %}`:          `limit is not a whole number`,
		`{% for i in l offset: 1.5 %}{% endfor %}`:       `offset is not a whole number`,
		`{% tablerow i in l cols: s %}{% endtablerow %}`: `cols is not a whole number`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			_, err := renderText(t, source, notify.Object(strings.Replace(filterData, "{", `{"big": 1e200, `, 1)))
			require.Equal(t, []notify.FieldError{{Location: "email.text", Message: "line 1: " + want}}, faults(t, err))
		})
	}
}

// ordinary are sources that mean the same to the library.
var ordinary = []string{
	`{{ s }}{{ n }}{{ f }}{{ l }}{{ t }}`,
	`{{ l[0] }}{{ l[-1] }}{{ l.first }}{{ l.size }}{{ o[0].n }}{{ o[1]["p"] }}`,
	`{% if n > 4 and f < 3 or s == "x" %}a{% elsif t %}b{% else %}c{% endif %}`,
	`{% unless t %}a{% else %}b{% endunless %}`,
	`{% if s contains "Lee" %}a{% endif %}{% if l contains 2 %}b{% endif %}`,
	`{% case n %}{% when 1, 2 %}a{% when 5 %}b{% else %}c{% endcase %}`,
	`{% for i in l %}{{ i }}{{ forloop.index }}{{ forloop.rindex }}{{ forloop.first }}{{ forloop.last }}{% endfor %}`,
	`{% for i in (1..n) reversed %}{{ i }}{% endfor %}{% for i in l limit: 2 offset: 1 %}{{ i }}{% endfor %}`,
	`{% for i in l %}{% cycle "a", "b", "c" %}{% if i == 2 %}{% break %}{% endif %}{% endfor %}`,
	`{% tablerow i in l cols: 2 %}{{ i }}{% endtablerow %}`,
	`{% assign x = n | times: 2 %}{% capture y %}{{ x }}!{% endcapture %}{{ y }}`,
	"{% raw %}{{ x }}{% endraw %}{% comment %}{% if %}{% endcomment %} \n {%- if t -%} \n a \n {%- endif -%} \n b",
	`{{ s | append: "!" | prepend: "<" | upcase | downcase | capitalize | size }}`,
	`{{ html | escape }}{{ html | escape_once }}{{ html | strip_html }}`,
	`{{ s | replace: "n", "m" | remove_first: "m" | remove: "e" | replace_first: "A", "B" }}`,
	`{{ s | slice: 2 }}{{ s | slice: -3, 2 }}{{ s | url_encode }}{{ "a%20b" | url_decode }}`,
	`{{ "  x " | strip }}|{{ "  x " | lstrip }}|{{ "  x " | rstrip }}|{{ "Ground control" | truncate: 9 }}`,
	`{{ "a b c d" | truncatewords: 2 }}{{ "a,b,,c,," | split: "," | join: "-" }}{{ "a b" | split: " " | last }}`,
	`{{ l | sort | join }}{{ l | reverse | join: "," }}{{ l | uniq | join }}{{ l | first }}{{ l | concat: l | size }}`,
	`{{ o | map: "p" | join }}{{ o | sort: "p" | map: "p" | join }}{{ o | json }}{{ m | compact | join }}`,
	`{{ n | plus: 1 }}{{ n | minus: f }}{{ f | times: 2 }}{{ n | divided_by: 2 }}{{ n | modulo: 3 }}{{ -4 | abs }}`,
	`{{ f | ceil }}{{ f | floor }}{{ 2.4 | round }}{{ 2.345 | round: 2 }}{{ e | default: "x" }}`,
	`{{ "2026-03-09T07:05:03Z" | date: "%a, %-d %b %Y %l:%M %p" }}{{ "9 March 2026" | default: "x" }}`,
}

// TestLikeTheLibrary compares with the library's own tags and filters where
// ours are meant to do the same.
func TestLikeTheLibrary(t *testing.T) {
	t.Parallel()
	library := liquid.NewEngine()
	data, err := decode(filterData)
	require.NoError(t, err)
	for _, source := range ordinary {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			want, wrong := library.ParseAndRenderString(source, data)
			require.NoError(t, wrong)
			got, err := renderText(t, source, filterData)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}
