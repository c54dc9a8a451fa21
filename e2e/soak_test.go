package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// What a soak allows: memory that grew by so much since a quarter of it was
// over, goroutines that are left when all is quiet again, and how much slower
// good requests may be than when nothing else was asked.
const (
	soakMemory     = 48 << 20 // bytes, and a quarter of what it was
	soakGoroutines = 20
	soakSlower     = 3
)

// goodTemplate is the template of good requests, which bad ones do not know.
const goodTemplate = "soaked"

// A soak asks an API for good and for bad things, and keeps what came of it.
type soak struct {
	*belfry
	client *http.Client
	seed   uint64

	mu       sync.Mutex
	statuses map[int]int
	quiet    []time.Duration // how long good requests took before the others came
	busy     []time.Duration // and while they came
	ids      []string        // of notifications that good requests made
	theirs   []string        // and bad ones
	slowest  []slowAnswer
	wrong    []string // what must not be answered
}

// A slowAnswer is one that took long.
type slowAnswer struct {
	took time.Duration
	to   string
}

// keepSlow keeps the slowest answers; s.mu is held.
func (s *soak) keepSlow(took time.Duration, to string) {
	const most = 8
	s.slowest = append(s.slowest, slowAnswer{took, to})
	slices.SortFunc(s.slowest, func(a, b slowAnswer) int { return cmp.Compare(b.took, a.took) })
	s.slowest = s.slowest[:min(most, len(s.slowest))]
}

// TestGoodAndBadRequestsAtOnce has a generator make requests of the API's own
// description, most of them bad, while good ones go on. No answer is a failure
// of Belfry's, each refusal is as documented, nothing leaks, and good requests
// stay fast. `make soak` has it at length.
func TestGoodAndBadRequestsAtOnce(t *testing.T) {
	requests := chaos(t, "SOAK_REQUESTS", 1000)
	length := time.Duration(chaos(t, "SOAK_SECONDS", 10)) * time.Second
	s := newSoak(t)
	t.Logf("seed %d: SOAK_SEED=%d makes the same requests", s.seed, s.seed)
	text := s.read("/openapi.json")
	made, err := newGenerator(s.seed, text)
	require.NoError(t, err)

	goroutines := s.metric("go_goroutines")
	s.goodOnes(&s.quiet, max(200, requests/100), length/time.Duration(requests/5))
	memory := s.load(made, requests, length)
	grown := s.metric("process_resident_memory_bytes")
	var left float64
	eventually(t, func() bool {
		s.client.CloseIdleConnections()
		left = s.metric("go_goroutines")
		return left <= goroutines+soakGoroutines
	}, patience, 500*time.Millisecond, "goroutines are left over")

	quiet, loaded := percentile(s.quiet, 99), percentile(s.busy, 99)
	t.Logf("%d requests in %s, statuses %v", requests, length, s.statuses)
	t.Logf("good requests: quiet p50 %s p99 %s of %d, under load p50 %s p99 %s of %d", percentile(s.quiet, 50), quiet, len(s.quiet), percentile(s.busy, 50), loaded, len(s.busy))
	t.Logf("memory %.0f MiB after a quarter, %.0f MiB at the end; goroutines %.0f before, %.0f after", memory/(1<<20), grown/(1<<20), goroutines, left)
	for _, slow := range s.slowest {
		t.Logf("among the slowest: %s for %s", slow.took, slow.to)
	}
	require.Empty(t, s.wrong)
	require.LessOrEqual(t, s.statuses[http.StatusServiceUnavailable], requests/10_000)
	limit, most := soakSlower*quiet, memory*1.25+soakMemory
	if os.Getenv("SOAK_REQUESTS") == "" { // beside other tests, and with the race detector
		limit, most = limit+busy, 2*most
	}
	require.LessOrEqual(t, grown, most)
	require.LessOrEqual(t, loaded, limit)
	for _, id := range s.ids[max(0, len(s.ids)-20):] {
		require.Equal(t, notify.StatusDone, s.waitWithin(id, 5*patience).Status)
	}
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	b := newBelfry(t)
	b.run("api")
	b.run("worker")
	b.ready()
	good := maps.Clone(welcome)
	good["name"] = goodTemplate
	b.do(http.MethodPost, "/v1/templates", http.StatusCreated, good, nil)
	u, err := url.Parse(b.url)
	require.NoError(t, err)
	require.True(t, net.ParseIP(u.Hostname()).IsLoopback(), "nobody else is asked")
	seed := uint64(chaos(t, "SOAK_SEED", 0))
	if seed == 0 {
		seed = rand.Uint64N(1 << 31)
	}
	return &soak{
		belfry: b, seed: seed, statuses: map[int]int{},
		client: &http.Client{
			Timeout:       patience,
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// load sends requests, every fifth a good one, evenly over a time. It gives how
// much memory there was after a quarter of them.
func (s *soak) load(made *generator, requests int, length time.Duration) (memory float64) {
	const good = 5
	turns := time.NewTicker(length / time.Duration(requests))
	defer turns.Stop()
	limit := make(chan struct{}, 64)
	var group sync.WaitGroup
	for i := range requests {
		<-turns.C
		if i == requests/4 {
			memory = s.metric("process_resident_memory_bytes")
		}
		limit <- struct{}{}
		if i%good == 0 {
			group.Go(func() {
				defer func() { <-limit }()
				s.goodOne(&s.busy)
			})
			continue
		}
		if i%100 == 1 {
			made.known = s.some(&s.theirs)
		}
		request := made.next()
		group.Go(func() {
			defer func() { <-limit }()
			s.badOne(request)
		})
	}
	group.Wait()
	return memory
}

// some are the last of ids.
func (s *soak) some(of *[]string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone((*of)[max(0, len(*of)-16):])
}

// old are notifications that have ended, most likely: the counts of those that
// run are a query.
func (s *soak) old() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(0, len(s.ids)-50)
	return slices.Clone(s.ids[max(0, n-100):n])
}

// goodOnes sends good requests only, at an even pace.
func (s *soak) goodOnes(into *[]time.Duration, n int, every time.Duration) {
	turns := time.NewTicker(max(every, time.Millisecond))
	defer turns.Stop()
	for range n {
		<-turns.C
		s.goodOne(into)
	}
}

// goodOne sends one of the requests that programs send most. None of them is a
// query: those get slower with all that is stored, where the database is the
// local stack's, which scans.
func (s *soak) goodOne(into *[]time.Duration) {
	method, path, want, body := http.MethodGet, "/v1/templates/"+goodTemplate, http.StatusOK, ""
	ids := s.old()
	switch choice := rand.IntN(10); {
	case choice < 5 || len(ids) == 0:
		method, path, want = http.MethodPost, "/v1/notifications", http.StatusAccepted
		body = fmt.Sprintf(`{"template":%q,"to":[{"email":"%s@example.com"}],"data":{"film":"Solaris"},"tags":["soak"]}`, goodTemplate, uuid.NewString())
	case choice < 8:
		path = "/v1/notifications/" + ids[rand.IntN(len(ids))]
	case choice < 9:
		method, path, body = http.MethodPost, "/v1/templates/"+goodTemplate+"/preview", `{"data":{"film":"Solaris"},"recipient":{"name":"Ann"}}`
	}
	began := time.Now()
	status, _, text, err := s.ask(method, path, "application/json", nil, body)
	took := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[status]++
	*into = append(*into, took)
	s.keepSlow(took, method+" "+path+", a good one")
	if err != nil || status != want {
		s.wrong = append(s.wrong, fmt.Sprintf("a good request, %s %s: %d %v %s", method, path, status, err, text))
	}
	var accepted standing
	if status == http.StatusAccepted && json.Unmarshal(text, &accepted) == nil {
		s.ids = append(s.ids, accepted.ID)
	}
}

func (s *soak) badOne(r *generated) {
	began := time.Now()
	status, header, text, err := s.ask(r.method, r.target, r.contentType, r.header, r.body)
	fault := faultOf(r, status, header, text)
	if err != nil {
		fault = err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[status]++
	s.keepSlow(time.Since(began), fmt.Sprintf("%.200s: %d", r, status))
	if id := header.Get("Location"); status == http.StatusAccepted {
		s.theirs = append(s.theirs, id[strings.LastIndex(id, "/")+1:])
	}
	if fault != "" && len(s.wrong) < 50 {
		s.wrong = append(s.wrong, fmt.Sprintf("%s: %d %s: %.300s", r, status, fault, text))
	}
}

func (s *soak) ask(method, target, contentType string, header map[string]string, body string) (int, http.Header, []byte, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(context.WithoutCancel(s.t.Context()), method, s.url, content)
	if err != nil {
		return 0, nil, nil, err
	}
	path, query, _ := strings.Cut(target, "?")
	request.URL.Opaque, request.URL.RawQuery = "//"+request.URL.Host+path, query // as it is, however odd
	if body != "" && contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, text, err
}

// Statuses that every operation may answer, whatever its description says: it
// is the request that does not come to it.
var general = []int{
	http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
}

var codes = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// faultOf says what is wrong with an answer, "" where nothing is.
func faultOf(r *generated, status int, header http.Header, text []byte) string {
	_, documented := r.operation.Responses[strconv.Itoa(status)]
	switch {
	case status == http.StatusServiceUnavailable && header.Get("Retry-After") != "" && slices.Contains(scans, r.method+" "+r.path):
		return "" // it was given up after its time: see scans
	case status >= 500:
		return "a failure of Belfry's, while nothing is away"
	case r.wrong != "method" && !documented && !slices.Contains(general, status):
		return "not documented"
	case status < 300:
		if len(text) > 0 && r.method != http.MethodHead && !json.Valid(text) {
			return "not JSON"
		}
		return ""
	case header.Get("Content-Type") != "application/problem+json":
		return "not problem+json but " + header.Get("Content-Type")
	case r.method == http.MethodHead:
		return ""
	}
	var p struct {
		Title, Detail, Code string
		Status              int
		Errors              []notify.FieldError
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return err.Error()
	}
	if p.Title == "" || p.Detail == "" || p.Status != status || !codes.MatchString(p.Code) || p.Code == "internal" {
		return "not a problem as documented"
	}
	for _, e := range p.Errors {
		if e.Location == "" || e.Message == "" {
			return "an error that does not say where or what"
		}
	}
	return ""
}

// read is what the API answers to a GET.
func (s *soak) read(path string) []byte {
	s.t.Helper()
	status, _, text, err := s.ask(http.MethodGet, path, "", nil, "")
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, status)
	return text
}

// metric is one of /metrics.
func (s *soak) metric(name string) float64 {
	s.t.Helper()
	lines := bufio.NewScanner(strings.NewReader(string(s.read("/metrics"))))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			number, err := strconv.ParseFloat(value, 64)
			require.NoError(s.t, err)
			return number
		}
	}
	require.Fail(s.t, "no metric "+name)
	return 0
}

func percentile(of []time.Duration, percent int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}
