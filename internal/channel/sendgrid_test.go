package channel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func sendGridMessage() notify.Message {
	return notify.Message{
		DeliveryID: "5f4dcc3b-5aa7-5d61-8d83-27deb882cf99", NotificationID: "0193a5b0-0000-7000-8000-000000000001",
		Address: "ann@example.com", Name: "Ann",
		Email: notify.Email{Subject: "Hi", HTML: "<p>Hi</p>", Text: "Hi"},
	}
}

func TestSendGridTakesTheMessage(t *testing.T) {
	t.Parallel()
	server := newSendGridServer(t)
	provider := newTestSendGrid(t, server.URL+"/", nil)
	m := sendGridMessage()
	m.Address, m.Name = "ann@bücher.example", `Doe, Ann; "Änne"`
	m.Email = notify.Email{
		Subject: `Ünï "quoted" <b>`, HTML: "<p>Grüße & Küsse</p>", Text: "Grüße\r\n.\r\n",
		From: "Shop <shop@example.org>", ReplyTo: `"a b"@example.net`,
	}
	for _, id := range []string{"message-1", "message-2"} { // the same message, the same bytes
		require.Equal(t, notify.Outcome{Kind: notify.OutcomeSent, ProviderID: id}, provider.Send(t.Context(), m))
	}
	require.Equal(t, server.accepted[0], server.accepted[1])

	var got bytes.Buffer
	require.NoError(t, json.Indent(&got, server.accepted[0], "", "  "))
	got.WriteByte('\n')
	golden := filepath.Join("testdata", "sendgrid.json")
	if *update {
		require.NoError(t, os.WriteFile(golden, got.Bytes(), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

func TestSendGridTakesTheLeastMessage(t *testing.T) {
	t.Parallel()
	server := newSendGridServer(t)
	provider := newTestSendGrid(t, server.URL, func(c *SendGridConfig) { c.MessageIDDomain = "mail.example.net" })
	m := sendGridMessage()
	m.Name, m.Email.Text = "", ""
	require.Equal(t, notify.OutcomeSent, provider.Send(t.Context(), m).Kind)
	require.Contains(t, string(server.accepted[0]), `"Message-ID":"\u003c`+m.DeliveryID+`@mail.example.net\u003e"`)
	require.NotContains(t, string(server.accepted[0]), "text/plain")
	require.NotContains(t, string(server.accepted[0]), "reply_to")
}

func TestWhatCannotBeSentIsRefusedBeforeSendGridSeesIt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*notify.Message)
		reason notify.Reason
		says   string
	}{
		{"LF in the subject", func(m *notify.Message) { m.Email.Subject = "Hi\nBcc: eve@example.com" }, notify.ReasonBadContent, "subject"},
		{"CR in the subject", func(m *notify.Message) { m.Email.Subject = "Hi\rX: y" }, notify.ReasonBadContent, "subject"},
		{"NUL in the subject", func(m *notify.Message) { m.Email.Subject = "Hi\x00" }, notify.ReasonBadContent, "subject"},
		{"no subject", func(m *notify.Message) { m.Email.Subject = "" }, notify.ReasonBadContent, "subject"},
		{"LF in the name", func(m *notify.Message) { m.Name = "Ann\nBcc: eve@example.com" }, notify.ReasonBadAddress, "name"},
		{"LF in the address", func(m *notify.Message) { m.Address = "ann@example.com\nBcc: eve@example.com" }, notify.ReasonBadAddress, "address"},
		{"no address", func(m *notify.Message) { m.Address = "" }, notify.ReasonBadAddress, "address"},
		{"two addresses", func(m *notify.Message) { m.Address = "ann@example.com, eve@example.com" }, notify.ReasonBadAddress, "address"},
		{"CR in from", func(m *notify.Message) { m.Email.From = "a@example.com\rX: y" }, notify.ReasonBadContent, "from"},
		{"no address in from", func(m *notify.Message) { m.Email.From = "Shop" }, notify.ReasonBadContent, "from"},
		{"NUL in reply_to", func(m *notify.Message) { m.Email.ReplyTo = "a@example.com\x00" }, notify.ReasonBadContent, "reply_to"},
		{"no content", func(m *notify.Message) { m.Email.HTML, m.Email.Text = "", "" }, notify.ReasonBadContent, "html"},
	}
	server := newSendGridServer(t)
	provider := newTestSendGrid(t, server.URL, nil)
	for _, test := range tests {
		m := sendGridMessage()
		test.change(&m)
		o := provider.Send(t.Context(), m)
		require.Equal(t, notify.OutcomePermanent, o.Kind, test.name)
		require.Equal(t, test.reason, o.Reason, test.name)
		require.Contains(t, o.Detail, test.says+":", test.name)
	}
	require.Empty(t, server.accepted)
}

func TestWhatSendGridRefusesFailsWithItsWords(t *testing.T) {
	t.Parallel()
	const (
		to      = `"personalizations":[{"to":[{"email":"ann@example.com"}]}]`
		from    = `"from":{"email":"belfry@example.com"}`
		subject = `"subject":"Hi"`
		content = `"content":[{"type":"text/html","value":"<p>"}]`
	)
	join := func(parts ...string) string { return "{" + strings.Join(parts, ",") + "}" }
	recipients := make([]string, 1001)
	for i := range recipients {
		recipients[i] = fmt.Sprintf(`{"email":"u%d@example.com"}`, i)
	}
	tests := []struct{ name, body, says string }{
		{"no personalizations", join(from, subject, content), "400 personalizations: The personalizations field is required"},
		{"empty personalizations", join(`"personalizations":[]`, from, subject, content), "personalizations: "},
		{"no to", join(`"personalizations":[{}]`, from, subject, content), "personalizations.0.to: The to array is required"},
		{"no from", join(to, subject, content), "from.email: The from object must be provided"},
		{"no subject", join(to, from, content), "subject: The subject is required."},
		{"no content", join(to, from, subject), "content: Unless a valid template_id"},
		{"empty content value", join(to, from, subject, `"content":[{"type":"text/html","value":""}]`), "content.0.value: "},
		{"no content type", join(to, from, subject, `"content":[{"value":"Hi"}]`), "content.0.type: "},
		{"content in the wrong order", join(to, from, subject, `"content":[{"type":"text/html","value":"<p>"},{"type":"text/plain","value":"Hi"}]`), "content: If present, text/plain must be first"},
		{"1,001 recipients", join(`"personalizations":[{"to":[`+strings.Join(recipients, ",")+`]}]`, from, subject, content), "personalizations: There is a limit of 1000 total recipients"},
		{"the same recipient twice", join(`"personalizations":[{"to":[`+recipients[0]+","+recipients[0]+`]}]`, from, subject, content), "personalizations.0.to.1: Each email address"},
		{"no address to", join(`"personalizations":[{"to":[{"email":"ann"}]}]`, from, subject, content), "personalizations.0.to.0.email: Does not contain a valid address."},
		{"a comma in a name", join(`"personalizations":[{"to":[{"email":"a@b.example","name":"Doe, Ann"}]}]`, from, subject, content), "personalizations.0.to.0.name: "},
		{"no address from", join(to, `"from":{"email":"belfry"}`, subject, content), "from.email: The from email does not"},
		{"no address to reply to", join(to, from, subject, content, `"reply_to":{"email":"x"}`), "reply_to.email: "},
		{"custom_args of 10,000 bytes", join(to, from, subject, content, `"custom_args":{"a":"`+strings.Repeat("x", 10_000)+`"}`), "custom_args: "},
		{"a reserved header", join(to, from, subject, content, `"headers":{"Bcc":"eve@example.com"}`), "headers.Bcc: "},
		{"an unknown field", join(to, from, subject, content, `"colour":"red"`), "colour: Additional property"},
		{"no JSON", "{", "400 Bad Request"},
	}
	server := newSendGridServer(t)
	provider := newTestSendGrid(t, server.URL, nil)
	require.Equal(t, notify.OutcomeSent, provider.post(t.Context(), []byte(join(to, from, subject, content))).Kind)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := provider.post(t.Context(), []byte(test.body))
			require.Equal(t, notify.OutcomePermanent, o.Kind)
			require.Equal(t, notify.ReasonRejected, o.Reason)
			require.False(t, o.Down, "the next message may be better")
			require.Contains(t, o.Detail, test.says)
		})
	}
}

func TestAMessageOver30MBIsRefused(t *testing.T) {
	t.Parallel()
	provider := newTestSendGrid(t, newSendGridServer(t).URL, nil)
	m := sendGridMessage()
	m.Email.HTML = strings.Repeat("x", 31<<20)
	o := provider.Send(t.Context(), m)
	require.Equal(t, notify.Outcome{Kind: notify.OutcomePermanent, Reason: notify.ReasonRejected, Detail: "413 Payload too large"}, o)
}

func TestSendGridConfigIsChecked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*SendGridConfig)
		says   string
	}{
		{"no key", func(c *SendGridConfig) { c.APIKey = "" }, "APIKey"},
		{"a line break in the key", func(c *SendGridConfig) { c.APIKey += "\nX: y" }, "APIKey"},
		{"no from", func(c *SendGridConfig) { c.From = "" }, "From"},
		{"a broken domain", func(c *SendGridConfig) { c.MessageIDDomain = "a b" }, "MessageIDDomain"},
		{"no scheme", func(c *SendGridConfig) { c.BaseURL = "api.sendgrid.com" }, "BaseURL"},
		{"another scheme", func(c *SendGridConfig) { c.BaseURL = "smtp://api.sendgrid.com" }, "BaseURL"},
		{"no host", func(c *SendGridConfig) { c.BaseURL = "https://" }, "BaseURL"},
		{"a query", func(c *SendGridConfig) { c.BaseURL = "https://api.sendgrid.com/?x=y" }, "BaseURL"},
		{"a password", func(c *SendGridConfig) { c.BaseURL = "https://u:p@api.sendgrid.com" }, "BaseURL"},
		{"connections", func(c *SendGridConfig) { c.MaxConnections = -1 }, "MaxConnections"},
		{"time-out", func(c *SendGridConfig) { c.Timeout = -1 }, "time-out"},
	}
	for _, test := range tests {
		config := SendGridConfig{APIKey: testSendGridKey, From: "belfry@example.com"}
		test.change(&config)
		_, err := NewSendGrid(config)
		require.ErrorContains(t, err, test.says, test.name)
		require.NotContains(t, err.Error(), testSendGridKey, test.name)
	}
	provider, err := NewSendGrid(SendGridConfig{APIKey: testSendGridKey, From: "belfry@example.com"})
	require.NoError(t, err)
	require.Equal(t, "https://api.sendgrid.com/v3/mail/send", provider.request.BaseURL)
	require.Equal(t, "sendgrid", provider.Name())
	require.NoError(t, provider.Close())
}

func TestThePrintedSendGridConfigHoldsNoKey(t *testing.T) {
	t.Parallel()
	config := SendGridConfig{APIKey: testSendGridKey, BaseURL: DefaultSendGridURL}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", config)
	require.NotContains(t, fmt.Sprintf("%v %+v %s", config, config, log.String()), testSendGridKey)
}
