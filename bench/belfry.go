package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func mapKeys[V any](m map[string]V) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A belfry is `belfry all` as a process of its own.
type belfry struct {
	url    string
	client *http.Client
	cmd    *exec.Cmd
}

const template = `{"name":"bench","channels":{"email":{
	"subject":"Your code is {{ code }}",
	"html":"<!doctype html><html><body><h1>Hello {{ recipient.name | default: \"there\" }}</h1><p>Your code is <b>{{ code }}</b>. It is good for ten minutes.</p></body></html>",
	"text":"Hello {{ recipient.name | default: \"there\" }}\n\nYour code is {{ code }}. It is good for ten minutes.\n"}}}`

// startBelfry runs a role that serves the API against a sink and waits until it
// is ready.
func startBelfry(ctx context.Context, binary, role, smtpAddr string, concurrency int, variables ...string) (*belfry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	b := &belfry{
		url: "http://" + addr,
		client: &http.Client{
			Timeout:   30 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: concurrency, MaxConnsPerHost: concurrency},
		},
		cmd: exec.CommandContext(ctx, binary, role),
	}
	b.cmd.Env = append(os.Environ(), "BELFRY_HTTP_ADDR="+addr, "BELFRY_SMTP_URL=smtp://"+smtpAddr+"?tls=none", "BELFRY_LOG_LEVEL=warn")
	b.cmd.Env = append(b.cmd.Env, variables...)
	b.cmd.Stderr = os.Stderr
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		if status, _, _ := b.call(http.MethodGet, "/readyz", ""); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("belfry is not ready after 30 s"), b.stop())
		}
		time.Sleep(20 * time.Millisecond)
	}
	status, answer, err := b.call(http.MethodPost, "/v1/templates", template)
	if err != nil || status != http.StatusCreated && status != http.StatusConflict {
		return nil, errors.Join(fmt.Errorf("create the template: %d %s", status, answer), err, b.stop())
	}
	return b, nil
}

// startRole runs a role beside it, which writes its log to a writer.
func startRole(ctx context.Context, binary, role string, log io.Writer, variables ...string) (*belfry, error) {
	r := &belfry{cmd: exec.CommandContext(ctx, binary, role)}
	r.cmd.Env = append(append(os.Environ(), "BELFRY_LOG_LEVEL=warn"), variables...)
	r.cmd.Stderr = log
	return r, r.cmd.Start()
}

func (b *belfry) stop() error {
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	return b.cmd.Wait()
}

func (b *belfry) call(method, path, body string) (int, []byte, error) {
	request, err := http.NewRequest(method, b.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// send has one mail accepted and gives the notification's id.
func (b *belfry) send(to, tag string) (string, error) {
	status, answer, err := b.call(http.MethodPost, "/v1/notifications",
		fmt.Sprintf(`{"template":"bench","to":[{"email":%q}],"data":{"code":4711},"tags":[%q]}`, to, tag))
	if err != nil {
		return "", err
	}
	if status != http.StatusAccepted {
		return "", fmt.Errorf("POST /v1/notifications: %d %s", status, answer)
	}
	var accepted struct {
		ID string `json:"id"`
	}
	return accepted.ID, json.Unmarshal(answer, &accepted)
}

// finished waits until the notifications are done, and gives when the last one
// was.
func (b *belfry) finished(ids []string) (time.Time, error) {
	deadline := time.Now().Add(5 * time.Minute)
	var last time.Time
	for _, id := range ids {
		for {
			_, answer, err := b.call(http.MethodGet, "/v1/notifications/"+id, "")
			if err != nil {
				return last, err
			}
			var n struct {
				Status     string    `json:"status"`
				FinishedAt time.Time `json:"finished_at"`
			}
			if err := json.Unmarshal(answer, &n); err != nil {
				return last, err
			}
			if n.Status == "done" {
				if n.FinishedAt.After(last) {
					last = n.FinishedAt
				}
				break
			}
			if time.Now().After(deadline) {
				return last, fmt.Errorf("notification %s is %s after 5 min", id, n.Status)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return last, nil
}

// cpuSeconds is what the process has used so far, user and system together.
func (b *belfry) cpuSeconds() float64 { return cpuSeconds(b.cmd.Process.Pid) }

// cpuOfOthers is what has been used so far by all that runs beside Belfry: this
// process, the one that started it, which has the database in it, and Temporal
// and RabbitMQ, which are children of that.
func cpuOfOthers() map[string]float64 {
	stack := os.Getppid()
	used := map[string]float64{"bench": cpuSeconds(os.Getpid()), "database": cpuSeconds(stack)}
	for name, command := range map[string]string{"temporal": "server start-dev", "rabbitmq": "beam"} {
		out, err := exec.Command("pgrep", "-P", strconv.Itoa(stack), "-f", command).Output()
		if err != nil {
			continue // it is not there
		}
		if pid, err := strconv.Atoi(strings.Fields(string(out))[0]); err == nil {
			used[name] = cpuSeconds(pid)
		}
	}
	return used
}

// idle waits until Temporal has done what a run before left it to do: it goes on
// with workflows that were started for a while.
func idle() {
	for quiet, last := 0, -1.0; quiet < 3; time.Sleep(300 * time.Millisecond) {
		used := cpuOfOthers()["temporal"]
		if used-last < 0.03 { // a tenth of a core
			quiet++
		} else {
			quiet = 0
		}
		last = used
	}
}

// addCPU adds to a result what was used per 1,000 since before, in seconds.
func addCPU(more, before map[string]float64, n int) {
	for name, used := range cpuOfOthers() {
		more[name+"_cpu_s_per_1000"] = (used - before[name]) * 1000 / float64(n)
	}
}

func cpuSeconds(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // clock ticks (getconf CLK_TCK)
}

// peakMemory is the most the process has had resident, in MiB.
func (b *belfry) peakMemory() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024
		}
	}
	return 0
}
