package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A commandLine runs belfry as a person does, against one server.
type commandLine struct {
	t *testing.T
	b *belfry
}

// run gives what a command printed and its exit code.
func (c commandLine) run(args ...string) (out, complaints string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	command := exec.CommandContext(ctx, binary, args...)
	command.Env = append(command.Environ(), "BELFRY_SERVER="+c.b.url)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(c.t, err, &exit)
	}
	require.NotContains(c.t, stderr.String(), "DATA RACE")
	return stdout.String(), stderr.String(), command.ProcessState.ExitCode()
}

// do runs a command that must succeed and complain about nothing.
func (c commandLine) do(args ...string) string {
	c.t.Helper()
	out, complaints, code := c.run(args...)
	require.Zero(c.t, code, "%s%s", out, complaints)
	require.Empty(c.t, complaints)
	return out
}

// start runs a command beside the test; wait gives its exit code.
func (c commandLine) start(args ...string) *process {
	c.t.Helper()
	return start(c.t, map[string]string{"BELFRY_SERVER": c.b.url}, args...)
}

func (p *process) wait() int {
	select {
	case <-p.exited:
	case <-time.After(2 * patience):
		p.kill()
		require.Fail(p.t, "the command does not end", p.log.tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

const solaris = `{"film":"Solaris"}`

func TestCLISends(t *testing.T) {
	t.Parallel()
	cli := commandLine{t, runAll(t)}

	t.Run("and waits for each outcome", func(t *testing.T) {
		t.Parallel()
		cli, domain := commandLine{t, cli.b}, newDomain()
		out := cli.do("send", "--template", "welcome", "--to", "Cleo <cli@"+domain+">", "--to", ann, "--data", solaris, "--wait")
		require.Contains(t, out, "done: 2 deliveries, 2 sent\n")
		require.Regexp(t, `(?m)^sent +email +cli@`+domain, out)
		require.Regexp(t, `(?m)^sent +email +`+ann+` ann@example.com`, out)
		require.Len(t, mails(t, domain), 1)
		require.Equal(t, "Welcome, Cleo", mails(t, domain)[0].Subject)
	})
	t.Run("and says what failed, without noise", func(t *testing.T) {
		t.Parallel()
		cli := commandLine{t, cli.b}
		out, complaints, code := cli.run("send", "--template", "welcome", "--to", "nobody", "--data", solaris, "--wait")
		require.Equal(t, 1, code)
		require.Contains(t, out, "user_not_found")
		require.Empty(t, complaints)
	})
	t.Run("and is refused", func(t *testing.T) {
		t.Parallel()
		cli := commandLine{t, cli.b}
		out, complaints, code := cli.run("send", "--template", "unknown", "--to", ann)
		require.Equal(t, 1, code)
		require.Empty(t, out)
		require.Contains(t, complaints, "404")
		_, complaints, code = cli.run("send", "--template", "welcome", "--to", "not@an@address", "--tag", strings.Repeat("x", 65))
		require.Equal(t, 1, code)
		require.Contains(t, complaints, "body.to[0].email: ")
		require.Contains(t, complaints, "body.tags[0]: ")
		_, complaints, code = cli.run("send", "--template", "welcome")
		require.Equal(t, 2, code)
		require.Contains(t, complaints, "--to")
	})
	t.Run("free-form content, tagged, as JSON", func(t *testing.T) {
		t.Parallel()
		cli, domain := commandLine{t, cli.b}, newDomain()
		var sent struct {
			standing
			Tags       []string          `json:"tags"`
			Deliveries []notify.Delivery `json:"deliveries"`
		}
		out := cli.do("send", "--subject", "Hi", "--html", "<p>Hi</p>", "--to", "a@"+domain, "--tag", domain, "--channel", "email", "--wait", "-o", "json")
		require.NoError(t, json.Unmarshal([]byte(out), &sent), out)
		require.Equal(t, notify.StatusDone, sent.Status)
		require.Equal(t, []string{domain}, sent.Tags)
		require.Len(t, sent.Deliveries, 1)
		require.Equal(t, "a@"+domain, sent.Deliveries[0].Address)
	})
	t.Run("once under one key", func(t *testing.T) {
		t.Parallel()
		cli, domain := commandLine{t, cli.b}, newDomain()
		args := []string{"send", "--template", "welcome", "--to", "once@" + domain, "--data", solaris, "--idempotency-key", uuid.NewString()}
		id := cli.do(args...)
		again, complaints, code := cli.run(append(args, "--wait")...)
		require.Zero(t, code, complaints)
		require.Contains(t, again, strings.TrimSpace(id)+" done")
		require.Contains(t, complaints, "not again")
		require.Len(t, mails(t, domain), 1)
		_, complaints, code = cli.run(append(args, "--to", "twice@"+domain)...)
		require.Equal(t, 1, code)
		require.Contains(t, complaints, "409")
	})
}

func TestCLISendWaitsForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	b := runAll(t)
	away := newBelfry(t)
	for _, shared := range []string{"BELFRY_MONGO_URI", "TEMPORAL_NAMESPACE"} {
		away.variables[shared] = b.variables[shared]
	}
	domain := newDomain()
	send := commandLine{t, away}.start("send", "--template", "welcome", "--to", "a@"+domain, "--data", solaris, "--wait")
	b.eventually("it tries again", func() bool { return strings.Contains(send.log.String(), "trying again") })
	away.run("api")
	require.Zero(t, send.wait(), send.log.String())
	require.Contains(t, send.log.String(), "1 sent")
	require.Len(t, mails(t, domain), 1)
}

// counted puts a proxy before Belfry that counts what is asked of it.
func (c commandLine) counted() (_ commandLine, asked *atomic.Int64) {
	target, err := url.Parse(c.b.url)
	require.NoError(c.t, err)
	asked = &atomic.Int64{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	c.t.Cleanup(server.Close)
	return commandLine{t: c.t, b: &belfry{t: c.t, url: server.URL}}, asked
}

func TestCLIWatches(t *testing.T) {
	t.Parallel()
	b := newBelfry(t).with("BELFRY_IDP_ADDR", freeAddr(t)) // nobody is there
	b.run("all")
	b.eventually("up", func() bool { return b.status(http.MethodPost, "/v1/templates", welcome) == http.StatusCreated })
	cli := commandLine{t, b}
	id := strings.TrimSpace(cli.do("send", "--template", "welcome", "--to", ann, "--to", "nobody", "--data", solaris))
	require.Contains(t, cli.do("status", id), "sending")

	counted, asked := cli.counted()
	left := counted.start("status", "--watch", id)
	b.eventually("it watches", func() bool { return asked.Load() > 1 })
	require.NoError(t, left.cmd.Process.Signal(os.Interrupt))
	require.Equal(t, 130, left.wait(), left.log.String())
	require.Contains(t, left.log.String(), "belfry status --watch "+id)

	counted, asked = cli.counted()
	stays := counted.start("status", "--watch", id, "-o", "json")
	b.eventually("it watches", func() bool { return asked.Load() > 1 })
	start(t, nil, "idp", "--addr", b.variables["BELFRY_IDP_ADDR"], "--users", "../dev/users.yaml")
	require.Equal(t, 1, stays.wait(), "nobody has failed")
	var ended struct {
		standing
		Deliveries []notify.Delivery `json:"deliveries"`
	}
	require.NoError(t, json.Unmarshal([]byte(stays.log.String()), &ended), stays.log.String())
	require.Equal(t, notify.Counts{Total: 2, Sent: 1, Failed: 1}, ended.Counts)
	require.Len(t, ended.Deliveries, 2)
}

func TestCLIStatusOfManyDeliveries(t *testing.T) {
	t.Parallel()
	cli, domain := commandLine{t, runAll(t)}, newDomain()
	args := []string{"send", "--template", "welcome", "--data", solaris, "--to", "nobody", "--wait"}
	for i := range 250 { // more than a page
		args = append(args, "--to", fmt.Sprintf("u%d@%s", i, domain))
	}
	out, complaints, code := cli.run(args...)
	require.Equal(t, 1, code, complaints)
	require.Equal(t, 250, strings.Count(out, domain), "each outcome")
	id, _, _ := strings.Cut(out, " ")

	out, complaints, code = cli.run("status", id)
	require.Equal(t, 1, code, complaints)
	require.Contains(t, out, "251 deliveries, 250 sent, 1 failed")
	require.Contains(t, out, "user_not_found")
	require.NotContains(t, out, domain)
	out, _, code = cli.run("status", id, "--all")
	require.Equal(t, 1, code)
	require.Equal(t, 250, strings.Count(out, domain))
}

func TestCLITemplates(t *testing.T) {
	t.Parallel()
	cli, dir := commandLine{t, runAll(t)}, t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	file := write("ticket.yaml", "name: ticket\ndescription: A seat\nchannels:\n  email:\n    subject: Ticket for {{ film }}\n    html: |\n      <p>{{ recipient.name }}</p>\n")
	require.Equal(t, "ticket@1\n", cli.do("template", "put", file))
	write("template.yaml", "name: ticket")
	write("email.subject", "Your {{ film }}\n")
	write("email.html", "<p>{{ film }}\u009b for {{ recipient.name }}</p>\n")
	require.Equal(t, "ticket@2\n", cli.do("template", "put", dir))

	require.Regexp(t, `(?m)^ticket +2 +\S+ +email$`, cli.do("template", "list"))
	require.Regexp(t, `(?m)^subject +Your {{ film }}$`, cli.do("template", "show", "ticket"))
	require.Regexp(t, `(?m)^description +A seat$`, cli.do("template", "show", "ticket", "--version", "1"))
	preview := cli.do("template", "preview", "ticket", "--data", solaris, "--to-name", "Ann")
	require.Regexp(t, `(?m)^subject +Your Solaris$`, preview)
	require.Contains(t, preview, `<p>Solaris\u009b for Ann</p>`)

	shown := write("shown.json", cli.do("template", "show", "ticket", "-o", "json"))
	require.Equal(t, "ticket@3\n", cli.do("template", "put", shown), "what is shown can be put back")
	var second, third notify.Template
	require.NoError(t, json.Unmarshal([]byte(cli.do("template", "show", "ticket", "-o", "json", "--version", "2")), &second))
	require.NoError(t, json.Unmarshal([]byte(cli.do("template", "show", "ticket", "-o", "json")), &third))
	require.Equal(t, second.Channels, third.Channels)

	_, complaints, code := cli.run("template", "preview", "ticket", "--to-name", "Ann")
	require.Equal(t, 1, code)
	require.Contains(t, complaints, "film")
	_, complaints, code = cli.run("template", "put", write("bad.json", `{"name":"bad","channels":{"email":{"subject":"{{ x","html":"h"}}}`))
	require.Equal(t, 1, code)
	require.Contains(t, complaints, "body.channels.email.subject")
	_, complaints, code = cli.run("template", "show", "missing")
	require.Equal(t, 1, code)
	require.Contains(t, complaints, "404")
}

func TestCLIHealth(t *testing.T) {
	t.Parallel()
	b := newBelfry(t)
	_, port, err := net.SplitHostPort(b.variables["BELFRY_HTTP_ADDR"])
	require.NoError(t, err)
	health := func() *process {
		return start(t, map[string]string{"BELFRY_HTTP_ADDR": "0.0.0.0:" + port}, "health")
	}
	require.Equal(t, 1, health().wait())
	b.run("api")
	require.Zero(t, health().wait())
}
