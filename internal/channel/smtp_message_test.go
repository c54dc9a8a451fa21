package channel

import (
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	smtpserver "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

var update = flag.Bool("update", false, "write the golden files anew")

// with is a message like hello with something changed.
func with(change func(*notify.Message)) notify.Message {
	m := hello()
	change(&m)
	return m
}

// What a server gets is compared with testdata/<name>.eml, to the byte.
func TestRawMessage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		message   notify.Message
		recipient string // in the envelope; as in the message when empty
	}{
		"text_and_html": {message: hello()},
		"html_only":     {message: with(func(m *notify.Message) { m.Email.Text = "" })},
		"text_only":     {message: with(func(m *notify.Message) { m.Email.HTML = "" })},
		"no_name":       {message: with(func(m *notify.Message) { m.Name = "" })},
		"utf8": {message: with(func(m *notify.Message) {
			m.Name = "Zoë Müller, 東京"
			m.Email.Subject = "Überraschung für Zoë: Ihre Bestellung № 4711 ist da — und wartet 🎉 auf Sie"
			m.Email.Text, m.Email.HTML = "Grüße aus 東京\n", "<p>Grüße aus 東京</p>\n"
		})},
		"from_and_reply_to": {message: with(func(m *notify.Message) {
			m.Email.From, m.Email.ReplyTo = "Café Zoë <shop@café.example>", "help@example.com"
		})},
		"odd_name":   {message: with(func(m *notify.Message) { m.Name = `Zoë  "\" <x@example.net>,` + "\t(x)" })},
		"idn":        {with(func(m *notify.Message) { m.Address = "zoe@Bücher.Example" }), "zoe@xn--bcher-kva.example"},
		"utf8_local": {message: with(func(m *notify.Message) { m.Address = "zoë@example.org" })},
		"dots": {message: with(func(m *notify.Message) {
			m.Email.Text = ".\n..\n.one\ntwo\n.\nQUIT\n"
			m.Email.HTML = "."
		})},
		"long_lines": {message: with(func(m *notify.Message) {
			m.Email.Subject = strings.Repeat("a word and ", 30)
			m.Email.Text = strings.Repeat("0123456789", 300)
		})},
		"odd_subject": {message: with(func(m *notify.Message) {
			m.Email.Subject = "=?UTF-8?Q?looks_encoded?=  two spaces, é and " + strings.Repeat("x", 960)
		})},
		"local_time": {message: with(func(m *notify.Message) {
			m.Date = m.Date.Add(123 * time.Millisecond).In(time.FixedZone("far away", 9*3600))
		})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSink(t, func(s *sink) { s.EnableSMTPUTF8 = true })
			p := provider(t, server.address)
			for range 2 { // sent again, it is the same to the byte
				got := p.Send(t.Context(), test.message)
				require.Equal(t, sent, got.Kind, got.Detail)
			}
			envelopes := server.received()
			require.Len(t, envelopes, 2)
			require.Equal(t, envelopes[0], envelopes[1])
			recipient := test.recipient
			if recipient == "" {
				recipient = test.message.Address
			}
			require.Equal(t, recipient, envelopes[0].recipient)
			checkContent(t, test.message, envelopes[0].content)

			golden := filepath.Join("testdata", name+".eml")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(envelopes[0].content), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), envelopes[0].content)
		})
	}
}

// checkShape looks for lines and headers that should not be there.
func checkShape(t require.TestingT, content string) *mail.Message {
	require.NotContains(t, strings.ReplaceAll(content, "\r\n", ""), "\r", "bare CR")
	require.NotContains(t, strings.ReplaceAll(content, "\r\n", ""), "\n", "bare LF")
	for line := range strings.SplitSeq(content, "\r\n") {
		require.LessOrEqual(t, len(line), 998, "RFC 5322, section 2.1.1")
	}
	header, _, _ := strings.Cut(content, "\r\n\r\n")
	for line := range strings.SplitSeq(header, "\r\n") {
		require.NotEmpty(t, strings.TrimSpace(line), "RFC 5322, section 3.2.2")
	}
	parsed, err := mail.ReadMessage(strings.NewReader(content))
	require.NoError(t, err)
	allowed := []string{
		"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From",
		"Message-Id", "Mime-Version", "Reply-To", "Subject", "To",
	}
	for name, values := range parsed.Header {
		require.Contains(t, allowed, name)
		require.Len(t, values, 1)
	}
	to, err := parsed.Header.AddressList("To")
	require.NoError(t, err)
	require.Len(t, to, 1)
	return parsed
}

// checkContent parses a message as a mail program would and looks for what
// was put in.
func checkContent(t require.TestingT, m notify.Message, content string) {
	parsed := checkShape(t, content)
	subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, m.Email.Subject, subject)
	to, err := parsed.Header.AddressList("To")
	require.NoError(t, err)
	require.Equal(t, displayName(m.Name), to[0].Name)

	kind, parameters, err := mime.ParseMediaType(parsed.Header.Get("Content-Type"))
	require.NoError(t, err)
	body := func(r io.Reader) string {
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		return strings.TrimSuffix(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	}
	want := func(s string) string { return strings.TrimSuffix(s, "\n") }
	if kind != "multipart/alternative" {
		require.Equal(t, want(m.Email.Text+m.Email.HTML), body(quotedprintable.NewReader(parsed.Body)))
		return
	}
	parts := multipart.NewReader(parsed.Body, parameters["boundary"])
	for _, source := range []string{m.Email.Text, m.Email.HTML} {
		part, err := parts.NextPart() // decodes quoted-printable
		require.NoError(t, err)
		require.Equal(t, want(source), body(part))
	}
	_, err = parts.NextPart()
	require.ErrorIs(t, err, io.EOF)
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	shop := with(func(m *notify.Message) { m.Email.From = "Shop <shop@example.net>" })
	tests := map[string]struct {
		configured string
		message    notify.Message
		sender     string
	}{
		"default":                  {"", hello(), "belfry@example.com"},
		"of the message":           {"", shop, "shop@example.net"},
		"configured":               {"bounces@example.com", shop, "bounces@example.com"},
		"configured international": {"bounces@bücher.example", hello(), "bounces@xn--bcher-kva.example"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSink(t, func(s *sink) { s.MaxMessageBytes = 1 << 20 })
			got := provider(t, server.address, func(c *SMTPConfig) { c.EnvelopeSender = test.configured }).
				Send(t.Context(), test.message)
			require.Equal(t, sent, got.Kind, got.Detail)
			require.Equal(t, test.sender, server.received()[0].sender)
			require.EqualValues(t, len(server.received()[0].content), server.received()[0].options.Size)
		})
	}
}

func TestInternationalLocalPart(t *testing.T) {
	t.Parallel()
	m := with(func(m *notify.Message) { m.Address = "zoë@bücher.example" })
	server := startSink(t, func(s *sink) { s.EnableSMTPUTF8 = true })
	require.Equal(t, sent, provider(t, server.address).Send(t.Context(), m).Kind)
	require.Equal(t, "zoë@xn--bcher-kva.example", server.received()[0].recipient)
	require.Equal(t, smtpserver.Body8BitMIME, server.received()[0].options.Body)
	require.True(t, server.received()[0].options.UTF8)

	old := startSink(t)
	p := provider(t, old.address)
	got := p.Send(t.Context(), m)
	require.Equal(t, permanent, got.Kind)
	require.Equal(t, notify.ReasonBadAddress, got.Reason)
	require.Contains(t, got.Detail, "does not offer SMTPUTF8")
	require.Equal(t, sent, p.Send(t.Context(), hello()).Kind)
	require.False(t, old.received()[0].options.UTF8, "not asked for without need")
}

func TestUnsendable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		message notify.Message
		reason  notify.Reason
		detail  string
	}{
		"CRLF in the subject":  {with(func(m *notify.Message) { m.Email.Subject = "a\r\nBcc: x@example.net" }), notify.ReasonBadContent, "subject: contains a line break"},
		"LF in the subject":    {with(func(m *notify.Message) { m.Email.Subject = "a\nb" }), notify.ReasonBadContent, "subject: contains a line break"},
		"NUL in the subject":   {with(func(m *notify.Message) { m.Email.Subject = "a\x00b" }), notify.ReasonBadContent, "subject: contains a line break"},
		"CR in the name":       {with(func(m *notify.Message) { m.Name = "a\rb" }), notify.ReasonBadAddress, "name: contains a line break"},
		"CRLF in the address":  {with(func(m *notify.Message) { m.Address = "a@b.example\r\nDATA" }), notify.ReasonBadAddress, "address: the address contains a line break"},
		"CRLF in From":         {with(func(m *notify.Message) { m.Email.From = "A\r\nB <a@b.example>" }), notify.ReasonBadContent, "from: the address contains a line break"},
		"LF in Reply-To":       {with(func(m *notify.Message) { m.Email.ReplyTo = "a@b.example\nX: y" }), notify.ReasonBadContent, "reply_to: the address contains a line break"},
		"no address":           {with(func(m *notify.Message) { m.Address = "" }), notify.ReasonBadAddress, "address: not an address"},
		"no domain":            {with(func(m *notify.Message) { m.Address = "ada" }), notify.ReasonBadAddress, "address: not an address"},
		"a name with it":       {with(func(m *notify.Message) { m.Address = "Ada <ada@example.org>" }), notify.ReasonBadAddress, "address: not an address"},
		"two addresses":        {with(func(m *notify.Message) { m.Address = "a@b.example>, <c@d.example" }), notify.ReasonBadAddress, "address: not an address"},
		"a parameter of RCPT":  {with(func(m *notify.Message) { m.Address = "a@b.example> NOTIFY=NEVER" }), notify.ReasonBadAddress, "address: not an address"},
		"a bad domain":         {with(func(m *notify.Message) { m.Address = "a@-é-.example" }), notify.ReasonBadAddress, "address: not an international domain"},
		"a very long address":  {with(func(m *notify.Message) { m.Address = strings.Repeat("a", 250) + "@b.example" }), notify.ReasonBadAddress, "longer than 254"},
		"From is no mailbox":   {with(func(m *notify.Message) { m.Email.From = "Belfry" }), notify.ReasonBadContent, "from: not an address"},
		"Reply-To without any": {with(func(m *notify.Message) { m.Email.ReplyTo = "<>" }), notify.ReasonBadContent, "reply_to: not an address"},
	}
	server := serve(t)
	p := server.provider()
	t.Cleanup(func() { require.Zero(t, server.count(), "refused without a connection") })
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := p.Send(t.Context(), test.message)
			require.Equal(t, permanent, got.Kind)
			require.Equal(t, test.reason, got.Reason)
			require.Contains(t, got.Detail, test.detail)
		})
	}
}

func TestLargeMessage(t *testing.T) {
	t.Parallel()
	m := with(func(m *notify.Message) {
		m.Email.HTML = strings.Repeat("<p>.é \n.\r\n", notify.MaxBodyBytes/10)
		m.Email.Text = strings.Repeat(".\n", notify.MaxBodyBytes/2)
	})
	server := startSink(t)
	got := provider(t, server.address).Send(t.Context(), m)
	require.Equal(t, sent, got.Kind, got.Detail)
	m.Email.HTML = strings.ReplaceAll(m.Email.HTML, "\r\n", "\n")
	checkContent(t, m, server.received()[0].content)

	small := startSink(t, func(s *sink) { s.MaxMessageBytes = 1 << 20 })
	got = provider(t, small.address).Send(t.Context(), m)
	require.Equal(t, permanent, got.Kind)
	require.Equal(t, rejected, got.Reason)
	require.Contains(t, got.Detail, "MAIL: 552")
}
