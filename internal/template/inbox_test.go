package template

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/stretchr/testify/require"
)

func TestAnItemIsText(t *testing.T) {
	t.Parallel()
	rendered, err := New().Inbox(t.Context(), notify.InboxContent{
		Title: "{{ x }} for {{ recipient.name }}", Body: "{{ x }}\nand {{ '%ff' | url_decode }}", URL: " {{ base }}/films/{{ film | url_encode }} ",
	}, `{"x": "<b>&", "base": "https://example.com", "film": "Solaris & Stalker"}`, ann())
	require.NoError(t, err)
	require.Equal(t, notify.InboxContent{
		Title: "<b>& for Ann", Body: "<b>&\nand \uFFFD", URL: "https://example.com/films/Solaris+%26+Stalker",
	}, rendered)
}

func TestLinksOfItems(t *testing.T) {
	t.Parallel()
	for link, good := range map[string]bool{
		"":                                       true,
		"/":                                      true,
		"/orders/17?x=1#top":                     true,
		"https://example.com":                    true,
		"HTTP://example.com:8080/a?b=c":          true,
		"https://example.com/%20":                true,
		"https://bücher.example/ä":               true,
		"javascript:alert(1)":                    false,
		"JaVaScRiPt:alert(1)":                    false,
		"java\tscript:alert(1)":                  false,
		"data:text/html,x":                       false,
		"vbscript:x":                             false,
		"ftp://example.com":                      false,
		"mailto:ann@example.com":                 false,
		"//example.com/x":                        false,
		`/\example.com`:                          false,
		`https:\\example.com`:                    false,
		"https:/example.com":                     false,
		"https:example.com":                      false,
		"https://":                               false,
		"https://:80":                            false,
		"https://[::1":                           false,
		"orders/17":                              false,
		"?x":                                     false,
		"/a b":                                   false,
		"/a\nb":                                  false,
		"https://example.com/\x00":               false,
		"/" + strings.Repeat("x", 2047):          true,
		"/" + strings.Repeat("x", 2048):          false,
		"https://example.com/%zz":                false,
		"\u00a0javascript:alert(1)":              false,
		"https://example.com\r\nSet-Cookie: a=b": false,
	} {
		source := notify.InboxContent{Title: "t", Body: "b", URL: "{{ link }}"}
		data, err := encode(link)
		require.NoError(t, err)
		rendered, err := New().Inbox(t.Context(), source, data, ann())
		written := New().Check("channels", notify.Bodies{Inbox: &notify.InboxContent{Title: "t", Body: "b", URL: link}})
		if good {
			require.NoError(t, err, "%q", link)
			require.Equal(t, link, rendered.URL)
			require.Empty(t, written, "%q", link)
			continue
		}
		require.Equal(t, "inbox.url", faults(t, err)[0].Location, "%q", link)
		require.Len(t, written, 1, "%q: found when the template is made", link)
		require.Equal(t, "channels.inbox.url", written[0].Location)
	}
}

func encode(link string) (notify.Object, error) {
	text, err := json.Marshal(map[string]string{"link": link})
	return notify.Object(text), err
}

func TestFaultsOfItems(t *testing.T) {
	t.Parallel()
	long := notify.Object(`{"x": "` + strings.Repeat("x", 40_000) + `"}`)
	for name, c := range map[string]struct {
		source notify.InboxContent
		data   notify.Object
		want   []notify.FieldError
	}{
		"every faulty part is named": {
			source: notify.InboxContent{Title: "{{ flim }}", Body: "\n{{ order.totl }}", URL: "/{{ fim }}"}, data: film,
			want: []notify.FieldError{
				{Location: "inbox.title", Message: `line 1: undefined variable "flim"`},
				{Location: "inbox.body", Message: `line 2: undefined variable "order.totl"`},
				{Location: "inbox.url", Message: `line 1: undefined variable "fim"`},
			},
		},
		"a line break in a title": {
			source: notify.InboxContent{Title: "{{ x }}", Body: "b"}, data: `{"x": "a\nb"}`,
			want: []notify.FieldError{{Location: "inbox.title", Message: "contains a line break or NUL"}},
		},
		"NUL in a title": {
			source: notify.InboxContent{Title: "{{ x }}", Body: "b"}, data: `{"x": "a\u0000b"}`,
			want: []notify.FieldError{{Location: "inbox.title", Message: "contains a line break or NUL"}},
		},
		"a long title": {
			source: notify.InboxContent{Title: "{{ x }}", Body: "b"}, data: long,
			want: []notify.FieldError{{Location: "inbox.title", Message: "line 1: the rendered text is longer than 998 bytes"}},
		},
		"a long body": {
			source: notify.InboxContent{Title: "t", Body: "{{ x }}{{ x }}"}, data: long,
			want: []notify.FieldError{{Location: "inbox.body", Message: "line 1: the rendered text is longer than 65536 bytes"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered, err := New().Inbox(t.Context(), c.source, c.data, ann())
			require.Equal(t, c.want, faults(t, err))
			require.Empty(t, rendered)
		})
	}
	require.Equal(t, []notify.FieldError{
		{Location: "channels.email.html", Message: `line 1: unknown filter "upcas"`},
		{Location: "channels.inbox.body", Message: `line 3: unknown filter "upcas"`},
	}, New().Check("channels", notify.Bodies{
		Email: &notify.Email{Subject: "s", HTML: "{{ x | upcas }}"},
		Inbox: &notify.InboxContent{Title: "t", Body: "\n\n{{ x | upcas }}"},
	}))
}
