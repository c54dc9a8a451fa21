package template

import (
	"testing"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

func TestMissingVariables(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{ // what is missing, empty for none
		`{{ nme }}`:                                        "nme",
		`{{ nme.first }}`:                                  "nme",
		`{{ order.totl }}`:                                 "order.totl",
		`{{ order.customer.name }}`:                        "order.customer",
		`{{ order['totl'] }}`:                              "order['totl']",
		`{{ order.lines[0].price }}`:                       "order.lines[0].price",
		`{{ order.lines[1] }}`:                             "order.lines[1]",
		`{{ order.lines[nme] }}`:                           "nme",
		`{{ film.name }}`:                                  "film.name",
		`{{ recipient.phone }}`:                            "recipient.phone",
		`{{ nme | upcase }}`:                               "nme",
		`{{ nme | append: "!" | upcase }}`:                 "nme",
		`{{ film | append: nme }}`:                         "nme",
		`{{ film | default: nme }}`:                        "nme",
		`{{ nme | default: other }}`:                       "other",
		`{{ film | append: (nme | default: "") }}`:         "",
		`{{ (nme | default: "x") | append: other }}`:       "other",
		`{{ film or nme }}`:                                "",
		`{{ nme or film }}`:                                "nme",
		`{{ nme == film }}`:                                "nme",
		`{% if film %}{{ nme }}{% endif %}`:                "nme",
		`{% if other %}{{ nme }}{% endif %}`:               "",
		`{% capture x %}{{ nme }}{% endcapture %}`:         "nme",
		`{% assign x = nme %}{{ x }}`:                      "x",
		`{% assign x = nme %}{% if x %}{% endif %}`:        "",
		`{% assign x = nme | upcase %}`:                    "nme",
		`{% assign x = film | append: nme %}`:              "nme",
		`{% assign x = nme | default: "" %}{{ x }}`:        "",
		`{% assign x = nme == film %}{{ x }}`:              "",
		`{% for i in tags %}{{ i }}{% endfor %}{{ i }}`:    "i",
		`{{ forloop.index }}`:                              "forloop",
		`{% for i in tags %}{{ forloop.idx }}{% endfor %}`: "forloop.idx",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			_, err := renderText(t, source, film)
			if want == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, []notify.FieldError{
				{Location: "email.text", Message: `line 1: undefined variable "` + want + `"`},
			}, faults(t, err))
		})
	}
}

func TestNullIsNamed(t *testing.T) {
	t.Parallel()
	_, err := renderText(t, "{{ film }}\n{{ order.note }}", film)
	require.Equal(t, `line 2: variable "order.note" is null`, faults(t, err)[0].Message)
}

func TestMissingIsEmptyInTags(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{% if nme %}yes{% else %}no{% endif %}`:                                 "no",
		`{% if nme.first.name %}yes{% else %}no{% endif %}`:                      "no",
		`{% if order.totl %}yes{% else %}no{% endif %}`:                          "no",
		`{% if order.note %}yes{% else %}no{% endif %}`:                          "no",
		`{% if nme == "x" %}yes{% else %}no{% endif %}`:                          "no",
		`{% if nme > 1 %}yes{% else %}no{% endif %}`:                             "no",
		`{% if nme contains "x" %}yes{% else %}no{% endif %}`:                    "no",
		`{% if nme == nil %}yes{% endif %}`:                                      "yes",
		`{% if nme == blank %}yes{% endif %}`:                                    "yes",
		`{% if nme == empty %}yes{% endif %}`:                                    "yes",
		`{% unless nme %}yes{% endunless %}`:                                     "yes",
		`{% unless film %}a{% elsif nme %}b{% else %}c{% endunless %}`:           "c",
		`{% case nme %}{% when "x" %}x{% when nil %}nil{% endcase %}`:            "nil",
		`{% case film %}{% when nme %}x{% else %}y{% endcase %}`:                 "y",
		`{% for i in nme %}{{ i }}{% else %}none{% endfor %}`:                    "none",
		`{% for i in order.note %}{{ i }}{% else %}none{% endfor %}`:             "none",
		`{% for i in nme | sort: "x" %}{{ i }}{% else %}none{% endfor %}`:        "none",
		`{% for i in (1..nme) %}{{ i }}{% else %}none{% endfor %}`:               "none",
		`{% tablerow i in nme %}{{ i }}{% endtablerow %}`:                        "",
		`{{ nme | default: "x" }}`:                                               "x",
		`{{ nme.a.b[1] | default: "x" }}`:                                        "x",
		`{{ nme | upcase | default: "x" }}`:                                      "x",
		`{{ order.note | default: "x" }}`:                                        "x",
		`{{ recipient.name }}`:                                                   "",
		`{{ recipient.name | default: "you" }}`:                                  "you",
		`{{ recipient.email }}|{{ recipient.locale }}|{{ recipient.time_zone }}`: "||",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			rendered, err := New().Email(t.Context(),
				notify.Email{Subject: "s", HTML: "h", Text: source + "."}, film, notify.User{ID: "17"})
			require.NoError(t, err)
			require.Equal(t, want+".", rendered.Text)
		})
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	const data = `{"id": 12345678901234567, "max": 9223372036854775807, "more": 9223372036854775808,
		"big": -123456789012345678901234567890, "price": 1.50, "exp": 1e3, "huge": 1e400, "zero": -0, "three": 3.0}`
	for source, want := range map[string]string{
		`{{ id }}`:            "12345678901234567",
		`{{ max }}`:           "9223372036854775807",
		`{{ more }}`:          "9223372036854775808",
		`{{ big }}`:           "-123456789012345678901234567890",
		`{{ price }}`:         "1.5",
		`{{ exp }}`:           "1000",
		`{{ huge }}`:          "1e400",
		`{{ zero }}`:          "0",
		`{{ id | plus: 1 }}`:  "12345678901234568",
		`{{ max | plus: 1 }}`: "9223372036854780000",
		`{% if id > 12345678901234566 %}y{% endif %}`:  "y",
		`{% for i in (1..three) %}{{ i }}{% endfor %}`: "123",
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			got, err := renderText(t, source, data)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	const data = `{"n": 5, "l": [1, 2, 3, 4], "o": {"b": 2, "a": 1}, "s": "x, y", "e": [], "m": {"x": {}}, "nulls": [null, 1]}`
	for source, want := range map[string]string{
		`a {{- n -}} b`:                              "a5b",
		"a\n{%- if n %}\n b {%- endif -%}\n c":       "a\n bc",
		"{{ l\n | join: ', '\n}}":                    "1, 2, 3, 4",
		`{% raw %}{{ n }}{% endraw %}`:               "{{ n }}",
		`a{% comment %}{% if %}{{ {% endcomment %}b`: "ab",
		`a{% # inline %}b`:                           "ab",
		`{ n } {{ n }} {% if n %}{% endif %} }} %}`:  "{ n } 5  }} %}",
		`{% case n %}{% when 1, 2 %}a{% when 4 or 5 %}b{% else %}c{% endcase %}`:                                                                   "b",
		`{% case s %}{% when "a, or" , "x, y" %}a{% endcase %}{% case l.or-x %}{% when o.or or nil %}b{% endcase %}`:                               "ab",
		`{% case n %} x {% when 1 %}a{% endcase %}`:                                                                                                "",
		`{% for i in l reversed %}{{ i }}{% endfor %}`:                                                                                             "4321",
		`{% for i in l limit: 2 offset: 1 %}{{ i }}{% endfor %}`:                                                                                   "23",
		`{% for i in l reversed limit: 2 %}{{ i }}{% endfor %}`:                                                                                    "21",
		`{% for i in l limit: n offset: 9 %}{{ i }}{% else %}none{% endfor %}`:                                                                     "none",
		`{% for i in l limit: -1 %}{{ i }}{% else %}none{% endfor %}`:                                                                              "none",
		`{% for i in (1..100000000) limit: 2 offset: 99999 %}{{ i }} {% endfor %}`:                                                                 "100000 100001 ",
		`{% for i in (3..1) %}{{ i }}{% else %}none{% endfor %}`:                                                                                   "none",
		`{% for i in n %}{{ i }}{% else %}none{% endfor %}`:                                                                                        "none",
		`{% for p in o %}{{ p[0] }}={{ p[1] }};{% endfor %}`:                                                                                       "a=1;b=2;",
		`{% for i in l %}{% if i == 2 %}{% continue %}{% elsif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}`:                                 "13",
		`{% for i in l %}{{ forloop.index }}{{ forloop.rindex0 }}{% if forloop.first %}f{% endif %}{% if forloop.last %}l{% endif %} {% endfor %}`: "13f 22 31 40l ",
		`{% for i in (1..2) %}{% for j in (1..2) %}{{ forloop.parentloop.index }}{{ forloop.length }} {% endfor %}{% endfor %}`:                    "12 12 22 22 ",
		`{% for i in nulls %}{{ i | default: "-" }}{% endfor %}`:                                                                                   "-1",
		`{% assign i = "kept" %}{% for i in l %}{% endfor %}{{ i }}`:                                                                               "kept",
		`{% for i in l %}{% assign x = i %}{% endfor %}{{ x }}`:                                                                                    "4",
		`{% for i in l %}{% cycle "a", "b" %}{% endfor %}`:                                                                                         "abab",
		`{% cycle "g": "a", "b" %}{% cycle "h": "a", "b" %}{% cycle "g": "a", "b" %}`:                                                              "aab",
		`{% capture x %}{{ n }}!{% endcapture %}{{ x }}{{ x | size }}`:                                                                             "5!2",
		`{% for i in l %}{% capture x %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% endcapture %}{% endfor %}{{ x }}`:                           "2",
		`{% assign r = (1..3) %}{{ r }} {{ r.size }} {{ r[-1] }} {% for i in r %}{{ i }}{% endfor %}`:                                              "123 3 3 123",
		`{{ (1..3) }} {{ (1..3) | join: "-" }} {{ (1..100000000) | size }}`:                                                                        "1..3 1-2-3 100000000",
		`{% assign k = n | minus: 2 %}{% for i in (1..k) %}{{ i }}{% endfor %}`:                                                                    "123",
		`{% if s contains "y" and l contains 3 %}{% if o contains "a" %}y{% endif %}{% endif %}`:                                                   "y",
		`{% if o == o and l == l and m.x == m.x %}y{% endif %}`:                                                                                    "y",
		`{% if o == m or l == e or o != o %}y{% else %}n{% endif %}`:                                                                               "n",
		`{% if "a" == s or 5 == n %}y{% endif %}`:                                                                                                  "y",
		`{% if e == empty and m.x == blank and l != empty %}y{% endif %}`:                                                                          "y",
		`{% if e %}y{% endif %}{% if "" %}y{% endif %}`:                                                                                            "yy",
		`{{ l.first }}{{ l.last }}{{ l.size }}{{ o.size }}{{ s.size }}{{ l[-2] }}`:                                                                 "144243",
		`{{ o }} {{ m.x }} {{ e }}{{ l }}`:                                                                                                         `{"a":1,"b":2} {} 1234`,
		`{{ true }} {{ n == 5 }}`:                                                                                                                  "true true",
		`{% tablerow i in l cols: 3 %}{{ i }}{% endtablerow %}`: `<tr class="row1"><td class="col1">1</td>` +
			`<td class="col2">2</td><td class="col3">3</td></tr><tr class="row2"><td class="col1">4</td></tr>`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			got, err := renderText(t, source, data)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestEscaping(t *testing.T) {
	t.Parallel()
	const data = `{"x": "<b>&\n\"'", "l": ["<", ">"], "o": {"<": 1}}`
	for source, want := range map[string]string{
		`{{ x }}`:                        "&lt;b&gt;&amp;\n&#34;&#39;",
		`{{ x | safe }}`:                 "<b>&\n\"'",
		`{{ x | escape }}`:               "&lt;b&gt;&amp;\n&#34;&#39;",
		`{{ x | escape | upcase }}`:      "&amp;LT;B&amp;GT;&amp;AMP;\n&amp;#34;&amp;#39;",
		`{{ x | safe | upcase }}`:        "&lt;B&gt;&amp;\n&#34;&#39;",
		`{{ x | newline_to_br }}`:        "&lt;b&gt;&amp;<br />\n&#34;&#39;",
		`{{ x | safe | newline_to_br }}`: "<b>&<br />\n\"'",
		`{{ l }}`:                        "&lt;&gt;",
		`{{ o }}`:                        "{&#34;\\u003c&#34;:1}",
		`{{ l | join: "<br>" }}`:         "&lt;&lt;br&gt;&gt;",
		`{% capture c %}<i>{{ l }}</i>{% endcapture %}{{ c }}{% assign d = c %}{{ d }}`:                                 "<i>&lt;&gt;</i><i>&lt;&gt;</i>",
		`{% capture c %}a{% endcapture %}{% if c == "a" and "a" == c %}y{% endif %}{% if c contains "a" %}y{% endif %}`: "yy",
		`{% assign s = x | safe %}{{ s }}`:   "<b>&\n\"'",
		`{% cycle "<", "b" %}`:               "<",
		`{{ "<" }}`:                          "&lt;",
		`<a href="?q={{ x | url_encode }}">`: `<a href="?q=%3Cb%3E%26%0A%22%27">`,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			got, err := renderHTML(t, source, data)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}
