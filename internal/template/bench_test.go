package template

import (
	"fmt"
	"strings"
	"testing"

	"github.com/belfry-notify/belfry/internal/notify"
)

// BenchmarkEmail renders a mail of 2 KB that is in the cache already, with its
// text part made from the HTML and with one of its own.
func BenchmarkEmail(b *testing.B) {
	source, data := order(b)
	withText := source
	withText.Text = "Thank you, {{ recipient.name }}.\n{% for line in order.lines %}{{ line.film }}: {{ line.price }}\n{% endfor %}"
	for name, source := range map[string]notify.Email{"HTML only": source, "HTML and text": withText} {
		b.Run(name, func(b *testing.B) {
			engine := New()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := engine.Email(b.Context(), source, data, ann()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEmailShort renders a short mail, as for a one-time code.
func BenchmarkEmailShort(b *testing.B) {
	engine := New()
	source := notify.Email{
		Subject: "Your code is {{ code }}",
		HTML:    "<p>Hello {{ recipient.name }}, your code is <b>{{ code }}</b>.</p>",
		Text:    "Hello {{ recipient.name }}, your code is {{ code }}.",
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := engine.Email(b.Context(), source, `{"code": "123456"}`, ann()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheck parses a mail of 2 KB.
func BenchmarkCheck(b *testing.B) {
	engine := New()
	source, _ := order(b)
	b.ReportAllocs()
	for b.Loop() {
		if faults := engine.Check("channels", notify.Bodies{Email: &source}); faults != nil {
			b.Fatal(faults)
		}
	}
}

// BenchmarkPlainText makes text of HTML of 64 KB.
func BenchmarkPlainText(b *testing.B) {
	html := strings.Repeat(`<p style="margin:0">Hello <b>Ann</b>, see <a href="https://example.com/?a=1&amp;b=2">this</a>.</p>`, 640)
	b.SetBytes(int64(len(html)))
	b.ReportAllocs()
	for b.Loop() {
		plainText(html)
	}
}

// BenchmarkLoop renders a thousand turns.
func BenchmarkLoop(b *testing.B) {
	engine := New()
	for _, body := range []string{"", "{{ i }}", "{{ forloop.index | times: 2 }}"} {
		b.Run(fmt.Sprintf("%q", body), func(b *testing.B) {
			source := notify.Email{Subject: "s", HTML: "{% for i in (1..1000) %}" + body + "{% endfor %}", Text: "t"}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := engine.Email(b.Context(), source, "", ann()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
