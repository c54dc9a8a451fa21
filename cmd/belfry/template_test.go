package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const welcomeTemplate = `{"name":"welcome","version":3,"description":"For \u001b[1mnew\u001b[0m people","created_at":"2026-01-02T03:04:05Z",` +
	`"channels":{"email":{"subject":"Hi {{ film }}","html":"<p>\r\n\u009b1m</p>\r\n","text":"Hi","reply_to":"a@b.c"}}}`

func TestTemplateListAndShow(t *testing.T) {
	t.Parallel()
	server := answering(map[string]string{
		"GET /v1/templates":         `{"items":[` + welcomeTemplate + `,{"name":"x","version":12,"description":"","created_at":"2026-01-02T03:04:05Z","channels":{"email":{},"inbox":{}}}]}`,
		"GET /v1/templates/welcome": welcomeTemplate,
	})
	require.Equal(t, ran{out: `NAME     VERSION  CREATED               CHANNELS      DESCRIPTION
welcome  3        2026-01-02T03:04:05Z  email         For \x1b[1mnew\x1b[0m people
x        12       2026-01-02T03:04:05Z  email, inbox
`}, caller{handler: server}.run(t.Context(), "template", "list"))
	require.Equal(t, ran{out: `template     welcome@3
created      2026-01-02T03:04:05Z
description  For \x1b[1mnew\x1b[0m people

email
subject   Hi {{ film }}
reply_to  a@b.c

--- text
Hi

--- html
<p>
\u009b1m</p>
`}, caller{handler: server}.run(t.Context(), "template", "show", "welcome"))
	got := caller{handler: server}.run(t.Context(), "template", "show", "welcome", "-o", "json")
	require.Equal(t, 0, got.code)
	require.JSONEq(t, welcomeTemplate, got.out)
	require.NotContains(t, got.out, "\u009b")
	got = caller{handler: answering(map[string]string{"GET /v1/templates": `{"items":[]}`})}.run(t.Context(), "template", "list")
	require.Equal(t, ran{}, got)
}

func TestTemplateShowOfAVersion(t *testing.T) {
	t.Parallel()
	var asked string
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		_, _ = io.WriteString(w, welcomeTemplate)
	})
	require.Equal(t, 0, caller{handler: server}.run(t.Context(), "template", "show", "welcome", "--version", "2").code)
	require.Equal(t, "/v1/templates/welcome?version=2", asked)
}

func TestTemplatePreview(t *testing.T) {
	t.Parallel()
	const answer = `{"channel":"email","content":{"subject":"Hi","html":"<p>Hi</p>","text":"Hi\nAnn","new":"field"}}`
	var asked *http.Request
	var body []byte
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		body, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, answer)
	})
	args := []string{
		"template", "preview", "welcome", "--data", `{"film":"Solaris"}`, "--to-name", "Ann", "--to-email", "a@b.c", "--to-id", "u1",
		"--to-locale", "pt-BR", "--to-time-zone", "Europe/Lisbon", "--version", "2", "--channel", "email",
	}
	require.Equal(t, ran{out: "subject  Hi\nnew      field\n\n--- text\nHi\nAnn\n\n--- html\n<p>Hi</p>\n"}, caller{handler: server}.run(t.Context(), args...))
	require.Equal(t, "POST /v1/templates/welcome/preview", asked.Method+" "+asked.URL.Path)
	require.JSONEq(t, `{"data":{"film":"Solaris"},"version":2,"channel":"email","recipient":{"id":"u1","email":"a@b.c","name":"Ann","locale":"pt-BR","time_zone":"Europe/Lisbon"}}`, string(body))
	require.JSONEq(t, answer, caller{handler: server}.run(t.Context(), append(args, "-o", "json")...).out)
}

// keeper takes templates as a server does, and keeps what came.
type keeper struct {
	there  bool
	method string
	path   string
	body   string
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if k.there && r.Method == http.MethodPost {
		problem(w, http.StatusConflict, "there is one of this name")
		return
	}
	k.method, k.path, k.body = r.Method, r.URL.Path, string(body)
	_, _ = io.WriteString(w, welcomeTemplate)
}

func TestTemplatePut(t *testing.T) {
	t.Parallel()
	const yaml = `
name: welcome
description: no     # text, also where YAML knows another meaning
channels:
  email:
    subject: 2026-01-02
    html: |
      <p>{{ film }}</p>
  inbox: {title: "{{ film }}", body: On, url: /films}
`
	const json = `{"name":"welcome","description":"no","channels":{"email":{"subject":"2026-01-02","html":"<p>{{ film }}</p>\n"},"inbox":{"title":"{{ film }}","body":"On","url":"/films"}}}`
	const shownAgain = `{"name":"welcome","version":3,"description":"no","created_at":"2026-01-02T03:04:05Z","channels":{"email":{"subject":"2026-01-02","html":"<p>{{ film }}</p>\n"},"inbox":{"title":"{{ film }}","body":"On","url":"/films"}}}`
	folder := map[string]string{
		"d/template.yaml": "name: welcome\ndescription: \"no\"\n", "d/email.subject": "2026-01-02\r\n", "d/email.html": "<p>{{ film }}</p>\n", "d/README.md": "x",
		"d/inbox.title": "{{ film }}\n", "d/inbox.txt": "On", "d/inbox.url": "/films\n",
	}
	tests := []struct {
		name  string
		files map[string]string
		input string
		arg   string
	}{
		{"YAML", map[string]string{"welcome.yaml": yaml}, "", "welcome.yaml"},
		{"JSON", map[string]string{"welcome.json": json}, "", "welcome.json"},
		{"JSON under any name", map[string]string{"welcome": json}, "", "welcome"},
		{"JSON as show prints it", map[string]string{"welcome.json": shownAgain}, "", "welcome.json"},
		{"standard input, YAML", nil, yaml, "-"},
		{"standard input, JSON", nil, json, "-"},
		{"a folder", folder, "", "d"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.arg != "-" {
				test.arg = filepath.Join(writeFiles(t, test.files), test.arg)
			}
			create, update := &keeper{}, &keeper{there: true}
			for _, server := range []*keeper{create, update} {
				require.Equal(t, ran{out: "welcome@3\n"}, caller{handler: server, input: test.input}.run(t.Context(), "template", "put", test.arg))
			}
			require.Equal(t, "POST /v1/templates", create.method+" "+create.path)
			require.JSONEq(t, json, create.body)
			require.Equal(t, "PUT /v1/templates/welcome", update.method+" "+update.path)
			require.JSONEq(t, strings.Replace(json, `"name":"welcome",`, "", 1), update.body)
		})
	}
	got := caller{handler: &keeper{}, input: json}.run(t.Context(), "template", "put", "-", "-o", "json")
	require.JSONEq(t, welcomeTemplate, got.out)
}

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestABadTemplateFileIsNotSent(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, file, text, says string }{
		{"no such file", "", "", "no such file"},
		{"no name", "t.yaml", "channels: {}", "has no name"},
		{"empty", "t.yaml", "", "no documents"},
		{"YAML that does not parse", "t.yaml", "name: [", "did not find"},
		{"Liquid without quotes", "t.yaml", "name: x\nchannels:\n  email:\n    subject: {{ film }}", "line 4: not a text; one that begins with { needs quotes"},
		{"an unknown field", "t.yaml", "name: x\nchanels: {}", "line 2: field chanels not found"},
		{"a field twice", "t.yaml", "name: x\nname: y", "name"},
		{"two documents", "t.yaml", "name: x\n---\nname: y", "single document"},
		{"JSON that does not parse", "t.json", `{"name":`, "unexpected EOF"},
		{"a list for a text in JSON", "t.json", `{"name":["x"]}`, "/name"},
		{"an unknown field in JSON", "t.json", `{"name":"x","chanels":{}}`, "chanels"},
		{"a field twice in JSON", "t.json", `{"name":"x","name":"y"}`, "name"},
		{"a folder without template.yaml", "d/email.html", "x", "template.yaml"},
		{"a part twice", "d/template.yaml", "name: x\nchannels: {email: {html: y}}", "email.html"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"d/email.html": "<p>"}
			if test.file != "" {
				files[test.file] = test.text
			}
			dir := writeFiles(t, files)
			path := filepath.Join(dir, "missing.yaml")
			if test.file != "" {
				name, _, _ := strings.Cut(test.file, "/")
				path = filepath.Join(dir, name)
			}
			server := &keeper{}
			got := caller{handler: server}.run(t.Context(), "template", "put", path)
			require.Equal(t, exitFailed, got.code)
			require.Empty(t, server.method, "nothing was sent")
			require.Contains(t, got.err, path)
			require.Contains(t, got.err, test.says)
			require.NotContains(t, got.err, "templateFile")
		})
	}
}

func FuzzParseTemplate(f *testing.F) {
	f.Add([]byte("name: x\nchannels: {email: {html: y}}"), false)
	f.Add([]byte(welcomeTemplate), true)
	f.Fuzz(func(t *testing.T, text []byte, isJSON bool) {
		file, err := parseTemplate(text, isJSON)
		if err != nil {
			return
		}
		_, err = encodeJSON(file)
		require.NoError(t, err)
	})
}
