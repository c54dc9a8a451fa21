package channel

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testSendGridKey = "SG.test-key.0123456789"

// A sendGridServer refuses what SendGrid refuses, as its pages "Mail Send",
// "Errors" and "Limitations" say, and keeps what it accepts.
type sendGridServer struct {
	*httptest.Server

	mu       sync.Mutex
	accepted [][]byte
}

func newSendGridServer(t *testing.T) *sendGridServer {
	t.Helper()
	s := &sendGridServer{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// newTestSendGrid makes a provider that talks to a server.
func newTestSendGrid(t *testing.T, url string, change func(*SendGridConfig)) *SendGrid {
	t.Helper()
	config := SendGridConfig{
		APIKey: testSendGridKey, BaseURL: url, From: "Belfry <belfry@example.com>", Timeout: 20 * time.Second,
	}
	if change != nil {
		change(&config)
	}
	s, err := NewSendGrid(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (s *sendGridServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, field, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		answer := map[string]any{"message": message, "field": nil, "help": nil}
		if field != "" {
			answer["field"] = field
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{answer}})
	}
	if r.URL.Path != "/v3/mail/send" {
		refuse(http.StatusNotFound, "", "not found")
		return
	}
	if r.Method != http.MethodPost {
		refuse(http.StatusMethodNotAllowed, "", "method not allowed")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+testSendGridKey {
		refuse(http.StatusUnauthorized, "", "The provided authorization grant is invalid, expired, or revoked")
		return
	}
	if r.Header.Get("Content-Type") != "application/json" {
		refuse(http.StatusUnsupportedMediaType, "", "Content-Type should be application/json.")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if len(body) > 30<<20 {
		refuse(http.StatusRequestEntityTooLarge, "", "Payload too large")
		return
	}
	if field, message := checkMailSend(body); message != "" {
		refuse(http.StatusBadRequest, field, message)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = append(s.accepted, body)
	w.Header().Set("X-Message-Id", fmt.Sprintf("message-%d", len(s.accepted)))
	w.WriteHeader(http.StatusAccepted)
}

type mailParty struct {
	Email string `json:"email"`
	Name  string `json:"name"`
}

func (p mailParty) valid() bool {
	a, err := mail.ParseAddress("<" + p.Email + ">")
	return err == nil && isASCII(a.Address)
}

// checkMailSend names the first field at fault and says what is wrong with it.
// It knows the fields that Belfry has a use for.
func checkMailSend(body []byte) (field, message string) {
	var m struct {
		Personalizations []struct {
			To []mailParty `json:"to"`
			CC []mailParty `json:"cc"`
		} `json:"personalizations"`
		From    *mailParty `json:"from"`
		ReplyTo *mailParty `json:"reply_to"`
		Subject string     `json:"subject"`
		Content []struct {
			Type  string `json:"type"`
			Value string `json:"value"`
		} `json:"content"`
		Headers    map[string]string          `json:"headers"`
		CustomArgs map[string]json.RawMessage `json:"custom_args"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		if _, name, found := strings.Cut(err.Error(), "unknown field "); found {
			return strings.Trim(name, `"`), "Additional property " + name + " is not allowed"
		}
		return "", "Bad Request"
	}
	if len(m.Personalizations) == 0 {
		return "personalizations", "The personalizations field is required and must have at least one personalization."
	}
	recipients, seen := 0, map[string]bool{}
	for i, p := range m.Personalizations {
		at := fmt.Sprintf("personalizations.%d.to", i)
		if len(p.To) == 0 {
			return at, "The to array is required for all personalization objects, and must have at least one email object with a valid email address."
		}
		for j, to := range append(p.To, p.CC...) {
			recipients++
			at := fmt.Sprintf("%s.%d", at, j)
			switch {
			case !to.valid():
				return at + ".email", "Does not contain a valid address."
			case strings.ContainsAny(to.Name, ",;"):
				return at + ".name", "The name cannot include either the ; or , characters."
			case seen[to.Email]:
				return at, "Each email address in the personalization block should be unique between to, cc, and bcc."
			}
			seen[to.Email] = true
		}
	}
	total := 0
	for key, value := range m.CustomArgs {
		total += len(key) + len(value)
	}
	switch {
	case recipients > 1000:
		return "personalizations", "There is a limit of 1000 total recipients (to + cc + bcc) per request."
	case m.From == nil || m.From.Email == "":
		return "from.email", "The from object must be provided for every email send."
	case !m.From.valid():
		return "from.email", "The from email does not contain a valid address."
	case m.ReplyTo != nil && !m.ReplyTo.valid():
		return "reply_to.email", "The reply_to email does not contain a valid address."
	case m.Subject == "":
		return "subject", "The subject is required."
	case len(m.Content) == 0:
		return "content", "Unless a valid template_id is provided, the content parameter is required."
	case total >= 10_000:
		return "custom_args", "The custom_args must be less than 10,000 bytes."
	}
	for i, c := range m.Content {
		at := fmt.Sprintf("content.%d", i)
		switch {
		case c.Type == "":
			return at + ".type", "The content type must be a string at least one character in length."
		case c.Value == "":
			return at + ".value", "The content value must be a string at least one character in length."
		case c.Type == "text/plain" && i > 0, c.Type == "text/html" && i > 0 && m.Content[i-1].Type != "text/plain":
			return "content", "If present, text/plain must be first, followed by text/html, followed by any other content."
		}
	}
	for name, value := range m.Headers {
		switch strings.ToLower(name) {
		case "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding",
			"to", "from", "subject", "reply-to", "cc", "bcc":
			return "headers." + name, "The header is reserved."
		}
		if !isASCII(value) || hasLineBreak(value) {
			return "headers." + name, "The header value is not encoded."
		}
	}
	return "", ""
}
