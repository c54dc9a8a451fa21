package e2e

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/belfry-notify/belfry/internal/amqptest"
)

// secrets are all of a test's, each with the word in it that nobody is to see.
type secrets struct {
	t     *testing.T
	words []string
}

// word makes a secret of letters.
func (s *secrets) word() string {
	word := "hunter2" + strings.ReplaceAll(uuid.NewString(), "-", "")
	s.words = append(s.words, word)
	return word
}

// absent wants none of them in a text.
func (s *secrets) absent(where, text string) {
	s.t.Helper()
	for i, word := range s.words {
		require.NotContains(s.t, text, word, "secret %d is in %s", i, where)
	}
	require.NotContains(s.t, text, "hunter2", where)
}

// inFile has a variable given as a file.
func (b *belfry) inFile(name, value string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), name)
	require.NoError(b.t, os.WriteFile(file, []byte(value+"\n"), 0o600))
	b.variables[name], b.variables[name+"_FILE"] = "", file
}

// withUser is a URL with a user and a password.
func withUser(t *testing.T, of, password string) string {
	t.Helper()
	u, err := url.Parse(of)
	require.NoError(t, err)
	u.User = url.UserPassword("belfry", password)
	return u.String()
}

// everywhere gives what may be seen of a Belfry: answers, and what Temporal has
// of the notifications.
func (s *secrets) everywhere(b *belfry, process *process, ids []string) {
	for _, path := range []string{"/readyz", "/healthz", "/metrics", "/v1/notifications", "/v1/deliveries", "/openapi.json"} {
		_, text, err := b.request(http.MethodGet, path, nil, nil)
		require.NoError(s.t, err)
		s.absent(path, string(text))
	}
	for _, id := range ids {
		for _, path := range []string{"", "/deliveries"} {
			_, text, err := b.request(http.MethodGet, "/v1/notifications/"+id+path, nil, nil)
			require.NoError(s.t, err)
			s.absent(path, string(text))
		}
		for _, event := range historyOf(s.t, b, id) {
			text, err := protojson.Marshal(event)
			require.NoError(s.t, err)
			s.absent("the history", string(text))
			for _, payload := range payloadsOf(s.t, storedHistory(s.t, b, id)) {
				s.absent("a payload", string(payload.Data))
			}
		}
	}
	s.absent("the log", process.log.String())
}

// TestSecretsAreNotSeen gives every neighbour a wrong password, half of them in
// files, and looks at all that Belfry says while each refuses.
func TestSecretsAreNotSeen(t *testing.T) {
	t.Parallel()
	s := &secrets{t: t}
	server, sendGrid := newMailServer(t), newSendGrid(t)
	idpAddr := freeAddr(t)
	start(t, map[string]string{"BELFRY_IDP_TOKEN": s.word(), "BELFRY_LOG_LEVEL": "debug"}, "idp", "--addr", idpAddr, "--users", "../dev/users.yaml")

	b := newBelfry(t).
		with("BELFRY_LOG_LEVEL", "debug").
		with("BELFRY_AMQP_URL", withUser(t, amqptest.NewURL(t), s.word())).
		with("BELFRY_SMTP_URL", withUser(t, "smtp://"+server.addr+"?tls=none", s.word())). // which wants no user
		with("BELFRY_EMAIL_PROVIDER", "smtp,sendgrid").
		with("BELFRY_SENDGRID_URL", sendGrid.URL).
		with("BELFRY_IDP_ADDR", idpAddr).
		with("BELFRY_CODEC_TOKEN", s.word()).
		with("BELFRY_TEMPORAL_UI_URL", "http://127.0.0.1:8233")
	b.inFile("BELFRY_SENDGRID_API_KEY", "SG."+s.word())
	b.inFile("BELFRY_IDP_TOKEN", s.word())
	p := b.run("all")
	b.eventually("MongoDB and Temporal are there", func() bool { return b.status(http.MethodPost, "/v1/templates", welcome) == http.StatusCreated })

	expires := time.Now().Add(12 * time.Second)
	var ids []string
	for _, to := range []map[string]any{{"email": "ann@" + newDomain()}, {"user_id": ann}} {
		for _, provider := range []string{"smtp", "sendgrid"} {
			ids = append(ids, b.send(map[string]any{
				"template": "welcome", "data": map[string]any{"film": "x"}, "to": []map[string]any{to}, "provider": provider, "expires_at": expires,
			}))
		}
	}
	for _, said := range []string{"RabbitMQ", "403", "idp"} {
		b.eventually("the log tells of "+said, func() bool { return strings.Contains(p.log.String(), said) })
	}
	for _, id := range ids {
		b.wait(id)
	}
	s.everywhere(b, p, ids)
	p.stop()
	s.absent("the log of the end", p.log.String())
}

// TestSecretsAreNotSeenWhileNobodyIsThere has every neighbour away.
func TestSecretsAreNotSeenWhileNobodyIsThere(t *testing.T) {
	t.Parallel()
	s := &secrets{t: t}
	b := newBelfry(t).
		with("BELFRY_LOG_LEVEL", "debug").
		with("BELFRY_MONGO_URI", "mongodb://belfry:"+s.word()+"@"+freeAddr(t)+"/belfry").
		with("BELFRY_IDP_ADDR", freeAddr(t)).
		with("BELFRY_SMTP_URL", "smtp://belfry:"+s.word()+"@"+freeAddr(t)+"?tls=none").
		with("TEMPORAL_ADDRESS", freeAddr(t)).
		with("BELFRY_PAYLOAD_KEYS", "a:"+s.word()+"AAAA=" /* 32 bytes */)
	b.inFile("BELFRY_AMQP_URL", "amqp://belfry:"+s.word()+"@"+freeAddr(t)+"/v")
	b.inFile("TEMPORAL_API_KEY", s.word())
	p := b.run("all")
	for _, ask := range [][2]string{{http.MethodGet, "/readyz"}, {http.MethodPost, "/v1/notifications"}, {http.MethodPost, "/v1/templates"}, {http.MethodGet, "/v1/deliveries"}} {
		var body any
		if ask[0] == http.MethodPost {
			body = map[string]any{"template": "welcome", "to": []map[string]any{{"email": "a@example.com"}}}
			if ask[1] == "/v1/templates" {
				body = welcome
			}
		}
		response, text, err := b.request(ask[0], ask[1], nil, body)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode, "%s %s", ask[1], text)
		s.absent(ask[1], string(text))
	}
	for _, said := range []string{"MongoDB", "RabbitMQ"} {
		b.eventually("the log tells of "+said, func() bool { return strings.Contains(p.log.String(), said) })
	}
	p.stop()
	s.absent("the log", p.log.String())
}

// TestAWrongSecretIsNotQuoted has the start refused.
func TestAWrongSecretIsNotQuoted(t *testing.T) {
	t.Parallel()
	s := &secrets{t: t}
	word := s.word()
	for name, value := range map[string]string{
		"BELFRY_MONGO_URI": "mongodb://u:" + word + "/x@h", "BELFRY_AMQP_URL": "amqp://u:" + word + "/x@h:x", "BELFRY_SMTP_URL": "smtp://u:" + word + "/@x",
		"BELFRY_IDP_TOKEN": word + " ", "BELFRY_SENDGRID_API_KEY": word + " ", "BELFRY_PAYLOAD_KEYS": word, "BELFRY_SENDGRID_WEBHOOK_KEY": word,
	} {
		for _, file := range []bool{false, true} {
			b := newBelfry(t).with("BELFRY_EMAIL_PROVIDER", "sendgrid").with("BELFRY_SENDGRID_API_KEY", "SG.x").with(name, value)
			says := name
			if file {
				b.inFile(name, value)
				says += "_FILE"
			}
			p := start(t, b.variables, "api")
			select {
			case <-p.exited:
			case <-time.After(patience):
				require.Fail(t, "it runs", name)
			}
			require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
			require.True(t, strings.HasPrefix(p.log.String(), "belfry: "+says+": "), p.log.String())
			require.Equal(t, 1, strings.Count(p.log.String(), "\n"), "one line")
			s.absent(says, p.log.String())
		}
	}
}
