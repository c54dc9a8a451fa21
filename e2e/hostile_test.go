package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// TestWhatOnlyRenderingCanSee is accepted, and fails as bad_content at once;
// nothing goes out.
func TestWhatOnlyRenderingCanSee(t *testing.T) {
	t.Parallel()
	server := newMailServer(t)
	b := newBelfry(t).with("BELFRY_SMTP_URL", server.url())
	b.run("all")
	b.ready()
	for _, test := range []struct {
		name, subject, html string
		data                map[string]any
		says                string
	}{
		{"a loop of 10^8 turns", "s", "{% for i in (1..100000000) %}x{% endfor %}", nil, "100,000"},
		{"an empty loop of 10^5 times 10^5", "s", "{% for i in (1..100000) %}{% for j in (1..100000) %}{% endfor %}{% endfor %}", nil, "100,000"},
		{"a value that doubles", "s", `{% assign s = "xxxxxxxxxxxxxxxx" %}{% for i in (1..30) %}{% assign s = s | append: s %}{% endfor %}`, nil, "1 MiB"},
		{"a line break in a subject by data", "Hi {{ name }}", "<p>", map[string]any{"name": "x\r\nBcc: eve@example.com"}, "line break"},
		{"a NUL in a subject by data", "Hi {{ name }}", "<p>", map[string]any{"name": "x\x00"}, "NUL"},
		{"a line break in a subject by a loop", "{% for i in (1..2) %}a{{ nl }}{% endfor %}", "<p>", map[string]any{"nl": "\n"}, "line break"},
		{"a subject of 999 bytes", "{% for i in (1..999) %}x{% endfor %}", "<p>", nil, "998"},
		{"a missing variable", "s", "{{ film }}", nil, "film"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			id := b.send(map[string]any{
				"content": map[string]any{"email": map[string]any{"subject": test.subject, "html": test.html}},
				"to":      to("u%d", "example.com", 1), "data": test.data,
			})
			require.Less(t, time.Since(began), 2*time.Second+busy)
			require.Equal(t, notify.StatusFailed, b.wait(id).Status)
			d := b.deliveries(id)[0]
			require.Equal(t, notify.ReasonBadContent, d.Reason)
			require.Contains(t, d.Attempts[0].Error, test.says)
		})
	}
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, map[string]any{"name": "loop", "channels": map[string]any{"email": map[string]any{
		"subject": "s", "html": "{% for i in (1..100000) %}{% for j in (1..100000) %}{% endfor %}{% endfor %}",
	}}}, nil)
	began := time.Now()
	b.do(http.MethodPost, "/v1/templates/loop/preview", http.StatusUnprocessableEntity, map[string]any{}, nil)
	require.Less(t, time.Since(began), 2*time.Second+busy)
	require.Empty(t, server.mails())
}
