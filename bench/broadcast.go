package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"
)

type broadcastCmd struct {
	N           int    `default:"20000" short:"n" help:"Recipients."`
	Connections int    `default:"10" help:"SMTP connections of each worker."`
	Workers     int    `default:"1" help:"Processes that send: belfry all, and the others belfry worker."`
	Direct      int    `default:"0" help:"Notifications to one recipient sent beside the broadcast, 5 a second."`
	Env         string `help:"Variables for belfry, NAME=value, separated by commas."`
}

// How Belfry spreads pages: so many go straight from the notification's
// workflow, more over so many partitions.
const (
	pageSize      = 500
	pagesStraight = 8
	partitions    = 4
)

// bodyOf is 2 KB of HTML to somebody, as Liquid or as rendered.
func bodyOf(name string) string {
	var body strings.Builder
	fmt.Fprintf(&body, "<!doctype html><html><body><h1>Hello %s</h1><p>This week, %s, there is this for you:</p><table>\n", name, name)
	for i := range 17 {
		fmt.Fprintf(&body, `<tr><td style="padding:8px"><a href="https://cinema.example.com/film/%d?to=%s">Film %d of the week</a></td></tr>`+"\n", i*7919, name, i)
	}
	fmt.Fprintf(&body, "</table><p>See you soon, %s</p></body></html>", name)
	return body.String()
}

func textOf(name string) string {
	return "Hello " + name + "\n\nThis week there is a lot for you at https://cinema.example.com/\n"
}

// Run measures.
func (b *broadcastCmd) Run(ctx context.Context, c *cli) (err error) {
	fmt.Printf("broadcast: %d recipients, %d connections a worker, %d worker(s); Temporal dev server in memory, FerretDB on file, belfry as processes of its own\n",
		b.N, b.Connections, b.Workers)
	sink, err := newSink()
	if err != nil {
		return err
	}
	variables := []string{"BELFRY_SMTP_BULK_CONNECTIONS=" + strconv.Itoa(b.Connections)}
	if b.Env != "" {
		variables = append(variables, strings.Split(b.Env, ",")...)
	}
	server, err := startBelfry(ctx, c.Belfry, "all", sink.addr, 10, variables...)
	if err != nil {
		return err
	}
	processes := []*belfry{server}
	for range b.Workers - 1 {
		worker, err := startRole(ctx, c.Belfry, "worker", os.Stderr, append(variables, "BELFRY_SMTP_URL=smtp://"+sink.addr+"?tls=none")...)
		if err != nil {
			return err
		}
		processes = append(processes, worker)
	}
	defer func() {
		for _, p := range processes {
			err = errors.Join(err, p.stop())
		}
	}()
	bare, err := newBare() // reads histories
	if err != nil {
		return err
	}
	defer bare.stop()
	template, err := json.Marshal(map[string]any{"name": "broadcast", "channels": map[string]any{"email": map[string]string{
		"subject": "News for {{ recipient.name }}", "html": bodyOf("{{ recipient.name }}"), "text": textOf("{{ recipient.name }}"),
	}}})
	if err != nil {
		return err
	}
	if status, answer, err := server.call(http.MethodPost, "/v1/templates", string(template)); err != nil || status != http.StatusCreated && status != http.StatusConflict {
		return errors.Join(fmt.Errorf("create the template: %d %s", status, answer), err)
	}
	for _, n := range []int{500, b.N / 10} { // warm up
		if _, _, err := b.belfry(server, sink, n); err != nil {
			return err
		}
	}
	return repeat(c, func() (Result, error) {
		// Raw half before and half after: machines get slower while they work.
		before, err := b.raw(ctx, sink, b.N/2)
		if err != nil {
			return Result{}, err
		}
		var used, memory float64
		for _, p := range processes {
			used -= p.cpuSeconds()
		}
		spent := cpuOfOthers()
		more := map[string]float64{}
		beside := make(chan error, 1)
		go func() {
			if b.Direct == 0 {
				beside <- nil
				return
			}
			beside <- b.beside(server, sink, more)
		}()
		value, id, err := b.belfry(server, sink, b.N)
		if err := errors.Join(err, <-beside); err != nil {
			return Result{}, err
		}
		for _, p := range processes {
			used += p.cpuSeconds()
			memory = max(memory, p.peakMemory())
		}
		addCPU(more, spent, b.N)
		after, err := b.raw(ctx, sink, b.N/2)
		if err != nil {
			return Result{}, err
		}
		limit := float64(b.N/2*2) / (before + after).Seconds()
		events, err := bare.historyEvents(ctx, "notification/"+id)
		if err != nil {
			return Result{}, err
		}
		if b.N > pagesStraight*pageSize {
			for part := 1; part <= partitions; part++ {
				more, err := bare.historyEvents(ctx, fmt.Sprintf("notification/%s/part/1.%d", id, part))
				if err != nil {
					return Result{}, err
				}
				events += more
			}
		}
		more["recipients"], more["workers"] = float64(b.N), float64(b.Workers)
		more["raw_before"], more["raw_after"] = float64(b.N/2)/before.Seconds(), float64(b.N/2)/after.Seconds()
		more["cpu_s_per_1000"], more["peak_memory_mib"], more["history_events"] = used*1000/float64(b.N), memory, events
		return Result{Scenario: "broadcast", Value: value, Unit: "mails/s", Limit: limit, Ratio: value / limit, More: more}, nil
	})
}

// belfry gives mails/s, from accepted to the last mail, and the notification's
// id.
func (b *broadcastCmd) belfry(server *belfry, sink *sink, n int) (float64, string, error) {
	run := uuid.NewString()
	var list bytes.Buffer
	list.WriteString("email,name\n")
	for i := range n {
		fmt.Fprintf(&list, "u%d@%s.example,User%d\n", i, run, i)
	}
	request, err := http.NewRequest(http.MethodPost, server.url+"/v1/audiences", &list)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "text/csv")
	client := &http.Client{Timeout: 10 * time.Minute}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	var audience, accepted struct {
		ID    string `json:"id"`
		Total int    `json:"total"`
	}
	if err := json.NewDecoder(response.Body).Decode(&audience); err != nil || audience.Total != n {
		return 0, "", fmt.Errorf("upload of %d recipients: %d kept, %w", n, audience.Total, err)
	}
	status, answer, err := server.call(http.MethodPost, "/v1/notifications", fmt.Sprintf(`{"template":"broadcast","audience":{"id":%q}}`, audience.ID))
	if err != nil || status != http.StatusAccepted {
		return 0, "", errors.Join(fmt.Errorf("POST /v1/notifications: %d %s", status, answer), err)
	}
	began := time.Now()
	if err := json.Unmarshal(answer, &accepted); err != nil {
		return 0, "", err
	}
	sink.wait(run+".example", n)
	took := time.Since(began)
	_, err = server.finished([]string{accepted.ID})
	return float64(n) / took.Seconds(), accepted.ID, err
}

// beside sends notifications to one recipient and measures from POST to mail
// accepted.
func (b *broadcastCmd) beside(server *belfry, sink *sink, more map[string]float64) error {
	single := latencyCmd{N: b.Direct, Rate: 5}
	took, err := single.measure(func(to string) (func() (time.Time, bool), error) {
		_, err := server.send(to, "beside")
		return func() (time.Time, bool) { return sink.at(to) }, err
	})
	if err != nil {
		return err
	}
	more["direct_p50_ms"], more["direct_p99_ms"] = ms(took, 0.5), ms(took, 0.99)
	return nil
}

// raw is how long n of the same messages take, already rendered, sent by go-mail
// over as many connections.
func (b *broadcastCmd) raw(ctx context.Context, sink *sink, n int) (time.Duration, error) {
	host, port, err := net.SplitHostPort(sink.addr)
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return 0, err
	}
	connections := b.Connections * b.Workers
	clients := make(chan *mail.Client, connections)
	for range connections {
		client, err := mail.NewClient(host, mail.WithPort(number), mail.WithTLSPolicy(mail.NoTLS), mail.WithoutNoop())
		if err != nil {
			return 0, err
		}
		if err := client.DialWithContext(ctx); err != nil {
			return 0, err
		}
		defer client.Close()
		clients <- client
	}
	run := uuid.NewString()
	bodies, texts := make([]string, n), make([]string, n)
	for i := range n {
		bodies[i], texts[i] = bodyOf(fmt.Sprintf("User%d", i)), textOf(fmt.Sprintf("User%d", i))
	}
	began := time.Now()
	err = spread(n, connections, func(i int) error {
		client := <-clients
		defer func() { clients <- client }()
		m := mail.NewMsg()
		_ = m.From("belfry@example.com")
		_ = m.AddToFormat(fmt.Sprintf("User%d", i), fmt.Sprintf("u%d@%s.example", i, run))
		m.Subject(fmt.Sprintf("News for User%d", i))
		m.SetDate()
		m.SetMessageIDWithValue(fmt.Sprintf("%d.%s@example.com", i, run))
		m.SetBodyString(mail.TypeTextPlain, texts[i])
		m.AddAlternativeString(mail.TypeTextHTML, bodies[i])
		return client.Send(m)
	})
	sink.wait(run+".example", n)
	return time.Since(began), err
}
