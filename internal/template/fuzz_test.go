package template

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/belfry-notify/belfry/internal/notify"
)

// fuzzedWithin allows for the fuzzer's instruments and neighbours.
const fuzzedWithin = 2 * time.Second

// seeds are sources near what the parsers treat specially.
var seeds = []string{
	"", "{{", "{%", "{{}}", "{%%}", "{{-}}", "{%-%}", "{{ x }}", "{{- x -}}", "{{ x | default: 'y' }}",
	`{{ a.b[0]["c"] | append: d, "e" | upcase }}`, "{% if x %}a{% elsif y == 1 or z %}b{% else %}c{% endif %}",
	"{% unless x %}{% endunless %}", "{% case x %}{% when 1, 'a' or b %}{% else %}{% endcase %}",
	"{% for i in (1..x) reversed limit: 2 offset: y %}{{ forloop.index }}{% break %}{% else %}{% endfor %}",
	"{% tablerow i in x cols: 2 %}{{ i }}{% continue %}{% endtablerow %}", "{% assign x = y | split: ',' %}",
	"{% capture x %}{{ y }}{% endcapture %}", "{% cycle 'g': 'a', \"b\" %}", "{% raw %}{{{% endraw %}",
	"{% comment %}{% endcomment %}", "{% # x %}", "{{ (a | first) == b contains c }}", "{{ %assign x = 1 }}",
	"{{ 1.5 | times: -3 | round: 2 }}{{ '2026-01-01' | date: '%-d %10N' }}", "{{ x | strip_html | truncate: 3 }}",
	doubling, kilobytes64 + "{{ x | split: '' | sort | uniq | join: x }}",
	"<ul><li><a href='{{ x }}'>a</a><table><td>b<pre> c",
}

func FuzzCheck(f *testing.F) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	engine := New()
	f.Fuzz(func(t *testing.T, source string) {
		start := time.Now()
		faults := engine.Check("channels", notify.Bodies{Email: &notify.Email{
			Subject: source, HTML: source, Text: source, From: source, ReplyTo: source,
		}})
		if took := time.Since(start); took > fuzzedWithin {
			t.Errorf("took %v", took)
		}
		for _, fault := range faults {
			if fault.Message == "" || len(fault.Message) > 400 || !utf8.ValidString(fault.Message) {
				t.Errorf("message %q", fault.Message)
			}
			if strings.Contains(fault.Message, "runtime error") {
				t.Errorf("the library panicked: %s", fault.Message)
			}
		}
	})
}

func FuzzRender(f *testing.F) {
	const data = `{"x": [1, "b", {"c": null}], "y": {"a": 1.5, "b": "<&>"}, "z": "2026-01-01", "n": 12}`
	for _, seed := range seeds {
		f.Add(seed, data)
	}
	for _, source := range ordinary {
		f.Add(source, filterData)
	}
	engine := New()
	f.Fuzz(func(t *testing.T, source, data string) {
		mail := notify.Email{Subject: source, HTML: source, Text: source, From: source}
		start := time.Now()
		for _, m := range []notify.Email{mail, {Subject: "s", HTML: source}} {
			rendered, err := engine.Email(t.Context(), m, notify.Object(data), ann())
			if err != nil {
				if notify.CodeOf(err) != notify.CodeInvalid || strings.Contains(err.Error(), "cannot be rendered:") {
					t.Errorf("failed with %v", err)
				}
				continue
			}
			checkRendered(t, rendered)
			if again, err := engine.Email(t.Context(), m, notify.Object(data), ann()); err == nil && again != rendered {
				t.Errorf("rendered %q, then %q", rendered, again)
			}
		}
		if took := time.Since(start); took > fuzzedWithin {
			t.Errorf("took %v", took)
		}
	})
}

func checkRendered(t *testing.T, m notify.Email) {
	t.Helper()
	if len(m.Subject) > notify.MaxSubjectBytes || len(m.From) > maxAddressBytes {
		t.Errorf("subject of %d bytes, from of %d", len(m.Subject), len(m.From))
	}
	if len(m.HTML) > notify.MaxBodyBytes || len(m.Text) > notify.MaxBodyBytes {
		t.Errorf("HTML of %d bytes, text of %d", len(m.HTML), len(m.Text))
	}
	if strings.ContainsAny(m.Subject+m.From, "\r\n\x00") {
		t.Errorf("subject %q, from %q", m.Subject, m.From)
	}
	for _, part := range []string{m.Subject, m.HTML, m.Text, m.From} {
		if !utf8.ValidString(part) || strings.Contains(part, "\x00") {
			t.Errorf("part %q", part)
		}
	}
}

func FuzzPlainText(f *testing.F) {
	f.Add(`<p class="a">b<a href="c">d</a><ul><li>e<ol><li>f</ol></ul><pre> g </pre><table><td>h<td>i`)
	f.Add(`<blockquote><div style="display:none">a</div><img alt="b"><br><hr>&amp;&#0;&nbsp;`)
	f.Fuzz(func(t *testing.T, html string) {
		text := plainText(html)
		if len(text) > notify.MaxBodyBytes || !utf8.ValidString(text) {
			t.Errorf("text of %d bytes", len(text))
		}
	})
}
