package catcher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/dev/catcher"
)

// A mail with all that is awkward: a folded header, an encoded subject in
// Latin-1, quoted-printable and base64 parts.
const awkward = "From: =?utf-8?q?Belfry_=F0=9F=94=94?= <belfry@example.com>\r\n" +
	"To: undisclosed-recipients:;\r\n" +
	"Subject: =?iso-8859-1?q?Sol=E4ris?=\r\n =?utf-8?b?IOKckw==?=\r\n" +
	"Message-ID:\r\n <abc.1@example.com>\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: multipart/alternative; boundary=b\r\n" +
	"\r\n" +
	"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSol=E4ris, a =\r\nfilm\r\n" +
	"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+U29sw6RyaXM8L3A+\r\n" +
	"--b--\r\n"

type message struct {
	ID         string              `json:"id"`
	From       string              `json:"from"`
	To         []string            `json:"to"`
	Subject    string              `json:"subject"`
	MessageID  string              `json:"message_id"`
	ReceivedAt time.Time           `json:"received_at"`
	Headers    map[string][]string `json:"headers"`
	HTML       string              `json:"html"`
	Text       string              `json:"text"`
}

func TestMailInJSONOut(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Config{Dir: t.TempDir()})
	before := time.Now().Add(-time.Second)
	send(t, c, "bounces@example.com", []string{"ann@example.com", "hidden@example.com"}, awkward)
	send(t, c, "", []string{"jörg@bücher.example"}, "Subject: second\r\n\r\nplain\r\n")

	items := list(t, c, "")
	require.Len(t, items, 2)
	first := items[0]
	require.Equal(t, "bounces@example.com", first.From)
	require.Equal(t, []string{"ann@example.com", "hidden@example.com"}, first.To)
	require.Equal(t, "Soläris ✓", first.Subject)
	require.Equal(t, "abc.1@example.com", first.MessageID)
	require.WithinRange(t, first.ReceivedAt, before, time.Now().Add(time.Second))
	require.Equal(t, []string{"jörg@bücher.example"}, items[1].To)
	require.NotEqual(t, first.ID, items[1].ID)

	var one message
	decode(t, c, "/messages/"+first.ID, &one)
	require.Equal(t, first.To, one.To)
	require.Equal(t, "Soläris, a film", one.Text)
	require.Equal(t, "<p>Soläris</p>", one.HTML)
	require.Equal(t, []string{"Belfry 🔔 <belfry@example.com>"}, one.Headers["From"])

	require.Equal(t, awkward, string(read(t, c, "/messages/"+first.ID+"/source")))
	require.Equal(t, items[1:], list(t, c, "?after="+first.ID))
	require.Equal(t, items[1:], list(t, c, "?limit=1"))
	require.Equal(t, items[:1], list(t, c, "?to=HIDDEN@example.com"))
}

func TestTheHTMLViewCannotReachOut(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Config{Dir: t.TempDir()})
	send(t, c, "a@example.com", []string{"b@example.com"}, "Content-Type: text/html\r\n\r\n<script>1</script>\r\n")
	id := list(t, c, "")[0].ID
	answer, err := http.Get("http://" + c.HTTPAddr() + "/messages/" + id + "/html")
	require.NoError(t, err)
	defer answer.Body.Close()
	policy := answer.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.Contains(t, policy, "sandbox ")
	require.NotContains(t, policy, "allow-scripts")
	require.NotContains(t, policy, "allow-same-origin")
	require.NotContains(t, policy, "http")
	page := string(read(t, c, "/"))
	require.Contains(t, page, `sandbox="allow-popups allow-popups-to-escape-sandbox"`)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, catcher.Config{Dir: dir})
	send(t, c, "a@example.com", []string{"b@example.com"}, "Subject: 1\r\n\r\n")
	old := list(t, c, "")[0].ID
	for range 2 { // the second time there is nothing
		request, err := http.NewRequest(http.MethodDelete, "http://"+c.HTTPAddr()+"/messages", nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusNoContent, answer.StatusCode)
		require.JSONEq(t, `{"items": []}`, string(read(t, c, "/messages")))
	}
	stop(t, c)
	c = start(t, catcher.Config{Dir: dir})
	send(t, c, "a@example.com", []string{"b@example.com"}, "Subject: 2\r\n\r\n")
	items := list(t, c, "")
	require.Len(t, items, 1)
	require.NotEqual(t, old, items[0].ID, "ids are not used twice")
}

func TestMailSurvivesARestartAndAHalfWrittenOneDoesNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, catcher.Config{Dir: dir})
	for i := range 3 {
		send(t, c, "a@example.com", []string{"b@example.com"}, fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i))
	}
	before := list(t, c, "")
	stop(t, c)
	files, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	file, err := os.OpenFile(files[0], os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = file.WriteString(`{"id":"4","to":["half@example.com"],"size":1000}` + "\nhalf")
	require.NoError(t, err)
	require.NoError(t, file.Close())

	c = start(t, catcher.Config{Dir: dir})
	require.Equal(t, before, list(t, c, ""))
	send(t, c, "a@example.com", []string{"b@example.com"}, "Subject: 3\r\n\r\n")
	after := list(t, c, "")
	require.Len(t, after, 4)
	require.Equal(t, "3", after[3].Subject)
	require.Equal(t, "Subject: 0\r\n\r\nbody 0\r\n", string(read(t, c, "/messages/"+after[0].ID+"/source")))
}

func TestTheOldestMakeRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const capacity, sent = 40, 95
	c := start(t, catcher.Config{Dir: dir, Capacity: capacity})
	for i := range sent {
		send(t, c, "a@example.com", []string{"b@example.com"}, fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	check := func(items []message) {
		require.LessOrEqual(t, len(items), capacity)
		require.GreaterOrEqual(t, len(items), capacity*3/4)
		for i, item := range items {
			require.Equal(t, fmt.Sprint(sent-len(items)+i), item.Subject)
		}
	}
	check(list(t, c, ""))
	stop(t, c)
	check(list(t, start(t, catcher.Config{Dir: dir, Capacity: capacity}), ""))
}

func TestTooLargeAMailIsRefused(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Config{Dir: t.TempDir()})
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", catcher.MaxMessageBytes/72+1)
	client := dial(t, c)
	err := client.SendMail("a@example.com", []string{"b@example.com"}, strings.NewReader("Subject: 1\r\n\r\n"+body))
	var refused *smtp.SMTPError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 552, refused.Code)
	require.Empty(t, list(t, c, ""))
}

func TestAnyPasswordWill(t *testing.T) {
	t.Parallel()
	c := start(t, catcher.Config{Dir: t.TempDir()})
	require.NoError(t, dial(t, c).Auth(sasl.NewPlainClient("", "user", "secret")))
	require.NoError(t, dial(t, c).Auth(sasl.NewLoginClient("user", "secret")))
}

// BenchmarkMail takes mails of 2 KB over connections that stay open.
func BenchmarkMail(b *testing.B) {
	c := start(b, catcher.Config{Dir: b.TempDir()})
	body := "Subject: many\r\nMessage-ID: <x@example.com>\r\n\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 28)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		client := dial(b, c)
		for pb.Next() {
			if err := client.SendMail("a@example.com", []string{"b@example.com"}, strings.NewReader(body)); err != nil {
				b.Errorf("send: %v", err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
}

func start(t testing.TB, config catcher.Config) *catcher.Catcher {
	t.Helper()
	config.SMTPAddr, config.HTTPAddr = "127.0.0.1:0", "127.0.0.1:0"
	config.Logger = slog.New(slog.DiscardHandler)
	c, err := catcher.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t testing.TB, c *catcher.Catcher) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, c.Stop(ctx))
}

func dial(t testing.TB, c *catcher.Catcher) *smtp.Client {
	t.Helper()
	client, err := smtp.Dial(c.SMTPAddr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func send(t testing.TB, c *catcher.Catcher, from string, to []string, raw string) {
	t.Helper()
	client := dial(t, c)
	require.NoError(t, client.Mail(from, &smtp.MailOptions{UTF8: true}))
	for _, address := range to {
		require.NoError(t, client.Rcpt(address, nil))
	}
	w, err := client.Data()
	require.NoError(t, err)
	_, err = io.WriteString(w, raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func list(t testing.TB, c *catcher.Catcher, query string) []message {
	t.Helper()
	var answer struct{ Items []message }
	decode(t, c, "/messages"+query, &answer)
	return answer.Items
}

func decode(t testing.TB, c *catcher.Catcher, path string, into any) {
	t.Helper()
	require.NoError(t, json.NewDecoder(bytes.NewReader(read(t, c, path))).Decode(into))
}

func read(t testing.TB, c *catcher.Catcher, path string) []byte {
	t.Helper()
	answer, err := http.Get("http://" + c.HTTPAddr() + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, string(body))
	return body
}
