package template

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what is rendered to testdata")

const film = `{"film": "Solaris", "tags": ["a", "b"], "order": {"total": 10, "note": null, "lines": [{"film": "Stalker"}]}}`

func ann() notify.User {
	return notify.User{ID: "17", Email: "ann@example.com", Name: "Ann", Locale: "en-GB", TimeZone: "Europe/London"}
}

// renderHTML renders source as an HTML part.
func renderHTML(t *testing.T, source string, data notify.Object) (string, error) {
	t.Helper()
	rendered, err := New().Email(t.Context(), notify.Email{Subject: "s", HTML: source}, data, ann())
	return rendered.HTML, err
}

// renderText renders source as a text part.
func renderText(t *testing.T, source string, data notify.Object) (string, error) {
	t.Helper()
	rendered, err := New().Email(t.Context(), notify.Email{Subject: "s", HTML: "h", Text: source}, data, ann())
	return rendered.Text, err
}

// faults are the fields of an error that must be of a faulty mail.
func faults(t *testing.T, err error) []notify.FieldError {
	t.Helper()
	var wrong *notify.Error
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, notify.CodeInvalid, wrong.Code)
	require.NotEmpty(t, wrong.Fields)
	return wrong.Fields
}

// golden compares with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func read(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return string(content)
}

// order is a mail as one writes it for a shop.
func order(t testing.TB) (notify.Email, notify.Object) {
	t.Helper()
	return notify.Email{
		Subject: `{{ shop }}: your order {{ order.number }}`,
		HTML:    read(t, "order.html.liquid"),
		From:    `"{{ shop }}" <orders@example.com>`,
	}, notify.Object(read(t, "order.data.json"))
}

func TestEmailGolden(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]notify.User{
		"known":   ann(),
		"unknown": {ID: "18", Email: "bob@example.com", Locale: "de-AT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, data := order(t)
			require.Empty(t, New().Check("channels", notify.Bodies{Email: &source}))
			rendered, err := New().Email(t.Context(), source, data, to)
			require.NoError(t, err)
			require.Equal(t, "Film & Co: your order A/17", rendered.Subject)
			require.Equal(t, `"Film & Co" <orders@example.com>`, rendered.From)
			golden(t, "order."+name+".html", rendered.HTML)
			golden(t, "order."+name+".txt", rendered.Text)
		})
	}
}

func TestEmailParts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source notify.Email
		data   notify.Object
		want   notify.Email
	}{
		"only HTML is escaped": {
			source: notify.Email{Subject: "{{ x }}", HTML: "{{ x }}", Text: "{{ x }}", From: "{{ y }}", ReplyTo: "{{ y }}"},
			data:   `{"x": "<b>&\"'", "y": "A \"&\" B <a@b.c>"}`,
			want: notify.Email{
				Subject: `<b>&"'`, HTML: "&lt;b&gt;&amp;&#34;&#39;", Text: `<b>&"'`,
				From: `A "&" B <a@b.c>`, ReplyTo: `A "&" B <a@b.c>`,
			},
		},
		"text is made from HTML": {
			source: notify.Email{Subject: "s", HTML: "<p>Hello {{ recipient.name }}</p>"},
			want:   notify.Email{Subject: "s", HTML: "<p>Hello Ann</p>", Text: "Hello Ann"},
		},
		"an address that renders to nothing is none": {
			source: notify.Email{Subject: "s", HTML: "h", Text: "t", From: " {{ x | default: '' }} "},
			want:   notify.Email{Subject: "s", HTML: "h", Text: "t"},
		},
		"NUL and broken UTF-8 in bodies are replaced": {
			source: notify.Email{Subject: "{{ '%ff' | url_decode }}", HTML: "a{{ x }}b", Text: "a{{ '%ff' | url_decode }}b"},
			data:   `{"x": "\u0000"}`,
			want:   notify.Email{Subject: "\uFFFD", HTML: "a\uFFFDb", Text: "a\uFFFDb"},
		},
		"a part does not see another's variables": {
			source: notify.Email{Subject: "{% assign x = 1 %}{{ x }}", HTML: "{{ x | default: 'none' }}", Text: "t"},
			want:   notify.Email{Subject: "1", HTML: "none", Text: "t"},
		},
		"the recipient is as the idp says": {
			source: notify.Email{Subject: "s", HTML: "h", Text: "{{ recipient.id }} {{ recipient.email }} {{ recipient.locale }} {{ recipient.time_zone }}"},
			data:   `{"recipient": "spoofed"}`,
			want:   notify.Email{Subject: "s", HTML: "h", Text: "17 ann@example.com en-GB Europe/London"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := New().Email(t.Context(), c.source, c.data, ann())
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestEmailFaults(t *testing.T) {
	t.Parallel()
	const ok = "ok"
	for name, c := range map[string]struct {
		source notify.Email
		data   notify.Object
		want   []notify.FieldError
	}{
		"every faulty part is named": {
			source: notify.Email{Subject: "{{ film }}", HTML: "\n\n{{ flim }}", Text: "{{ order.totl }}"},
			data:   film,
			want: []notify.FieldError{
				{Location: "email.html", Message: `line 3: undefined variable "flim"`},
				{Location: "email.text", Message: `line 1: undefined variable "order.totl"`},
			},
		},
		"syntax": {
			source: notify.Email{Subject: ok, HTML: "{% if %}"},
			want:   []notify.FieldError{{Location: "email.html", Message: `line 1: syntax error in ""`}},
		},
		"line feed in a subject": {
			source: notify.Email{Subject: "Hi {{ x }}", HTML: ok}, data: `{"x": "Ann\nBcc: eve@example.com"}`,
			want: []notify.FieldError{{Location: "email.subject", Message: "contains a line break or NUL"}},
		},
		"carriage return in a name": {
			source: notify.Email{Subject: ok, HTML: ok, From: "{{ x }} <a@b.c>"}, data: `{"x": "Ann\rBcc: eve@example.com"}`,
			want: []notify.FieldError{{Location: "email.from", Message: "contains a line break or NUL"}},
		},
		"NUL in an address": {
			source: notify.Email{Subject: ok, HTML: ok, ReplyTo: "{{ x }}"}, data: `{"x": "a@b.c\u0000"}`,
			want: []notify.FieldError{{Location: "email.reply_to", Message: "contains a line break or NUL"}},
		},
		"line feed written into a subject": {
			source: notify.Email{Subject: "a\nb", HTML: ok},
			want:   []notify.FieldError{{Location: "email.subject", Message: "contains a line break or NUL"}},
		},
		"not an address": {
			source: notify.Email{Subject: ok, HTML: ok, From: "{{ film }}"}, data: film,
			want: []notify.FieldError{{Location: "email.from", Message: "not a mail address"}},
		},
		"a second address by way of a name": {
			source: notify.Email{Subject: ok, HTML: ok, From: "{{ x }} <a@b.c>"}, data: `{"x": "eve@example.com, "}`,
			want: []notify.FieldError{{Location: "email.from", Message: "not a mail address"}},
		},
		"data that is a list": {
			source: notify.Email{Subject: ok, HTML: ok}, data: `[1]`,
			want: []notify.FieldError{{Location: "data", Message: "not a JSON object"}},
		},
		"data with a tail": {
			source: notify.Email{Subject: ok, HTML: ok}, data: `{} {}`,
			want: []notify.FieldError{{Location: "data", Message: "not a JSON object"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered, err := New().Email(t.Context(), c.source, c.data, ann())
			require.Equal(t, c.want, faults(t, err))
			require.Empty(t, rendered)
		})
	}
}

func TestEmailEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New().Email(ctx, notify.Email{Subject: "s", HTML: "h"}, "", ann())
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, notify.CodeInternal, notify.CodeOf(err), "a cancelled rendering is not a faulty mail")
}
