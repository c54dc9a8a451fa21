package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/api"
	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

const (
	audiences = "/v1/audiences"
	ndjson    = "application/x-ndjson"
)

type audienceAnswer struct {
	ID         string    `json:"id"`
	Total      int       `json:"total"`
	Duplicates int       `json:"duplicates"`
	CreatedAt  time.Time `json:"created_at"`
}

// upload posts an audience that must be kept.
func (s *server) upload(contentType, body string) audienceAnswer {
	s.t.Helper()
	response, text := s.ask(http.MethodPost, audiences, body, "Content-Type", contentType)
	require.Equal(s.t, http.StatusCreated, response.StatusCode, "%s", text)
	var answer audienceAnswer
	require.NoError(s.t, json.Unmarshal(text, &answer))
	require.Equal(s.t, audiences+"/"+answer.ID, response.Header.Get("Location"))
	return answer
}

// recipientsOf are all in an audience.
func (s *server) recipientsOf(id string) []notify.Recipient {
	s.t.Helper()
	a, err := s.store.Audience(s.t.Context(), id, time.Now())
	require.NoError(s.t, err)
	var recipients []notify.Recipient
	for page := range a.Pages {
		more, err := s.store.AudiencePage(s.t.Context(), id, page)
		require.NoError(s.t, err)
		recipients = append(recipients, more...)
	}
	return recipients
}

func TestAnAudienceIsUploadedReadAndDeleted(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	users := "{\"user_id\":\"u\"}\n\n{\"email\":\"ann@example.com\",\"name\":\"Ann\"}\r\n{\"user_id\":\"u\"}\n{\"email\":\"ANN@example.com\"}"
	tests := []struct{ name, contentType, body string }{
		{"NDJSON", ndjson, users},
		{"NDJSON, spelled otherwise", "Application/X-NDJSON; charset=utf-8", users},
		{"CSV", "text/csv", "\ufeffname,email,user_id\r\n,,u\r\nAnn,ann@example.com,\r\n,,u\r\n,ANN@example.com,\r\n"},
		{"CSV with its charset", "text/csv; charset=UTF-8; header=present", "name,user_id,email\n,u,\nAnn,,ann@example.com\n,u,\n,,ANN@example.com"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			created := s.upload(test.contentType, test.body)
			require.NoError(t, uuid.Validate(created.ID))
			require.Equal(t, 2, created.Total)
			require.Equal(t, 2, created.Duplicates)
			require.WithinDuration(t, time.Now(), created.CreatedAt, time.Minute)
			require.Equal(t, created, get[audienceAnswer](s, http.MethodGet, audiences+"/"+created.ID, http.StatusOK, nil))
			require.Equal(t, []notify.Recipient{{UserID: "u"}, {Email: "ann@example.com", Name: "Ann"}}, s.recipientsOf(created.ID))

			get[struct{}](s, http.MethodDelete, audiences+"/"+created.ID, http.StatusNoContent, nil)
			s.refused(http.MethodGet, audiences+"/"+created.ID, http.StatusNotFound, nil)
			s.refused(http.MethodDelete, audiences+"/"+created.ID, http.StatusNotFound, nil)
		})
	}
	s.refused(http.MethodGet, audiences+"/x", http.StatusUnprocessableEntity, nil)
	s.refused(http.MethodGet, audiences+"/"+uuid.NewString(), http.StatusNotFound, nil)
}

func TestAWrongLineRefusesTheWholeAudience(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	tests := []struct{ name, contentType, body, says string }{
		{"both", ndjson, `{"user_id":"u","email":"a@b.c"}`, "line 1: needs exactly one of user_id and email"},
		{"neither", ndjson, "{\"user_id\":\"u\"}\n{}", "line 2: needs exactly one of user_id and email"},
		{"a name for a user", ndjson, `{"user_id":"u","name":"U"}`, "line 1: name: goes with email"},
		{"no address", ndjson, `{"email":"ann"}`, "line 1: email: not a mail address"},
		{"a name in the address", ndjson, `{"email":"Ann <ann@example.com>"}`, "line 1: email: not a bare mail address"},
		{"header injection", ndjson, `{"email":"a@b.c","name":"A\r\nBcc: x@y.z"}`, "line 1: name: must not hold control characters"},
		{"a long user id", ndjson, `{"user_id":"` + strings.Repeat("ü", 257) + `"}`, "line 1: user_id: is longer than 256 characters"},
		{"a long name", ndjson, `{"email":"a@b.c","name":"` + strings.Repeat("ü", 257) + `"}`, "line 1: name: is longer than 256 characters"},
		{"unknown field", ndjson, `{"user_id":"u","locale":"de"}`, `line 1: unknown field "locale"`},
		{"repeated key", ndjson, `{"user_id":"u","user_id":"u"}`, `line 1: repeated key "user_id"`},
		{"a line that is too long", ndjson, "{\"user_id\":\"u\"}\n" + strings.Repeat(" ", 1<<20), "line 2: is longer than 65536 bytes"},
		{"an unknown column", "text/csv", "email,age\na@b.c,7\n", `line 1: the column "age" is none of`},
		{"a bad record", "text/csv", "email,name\na@b.c,A\n\nann,Ann\n", "line 4: email: not a mail address"},
		{"a name for a user in CSV", "text/csv", "user_id,name\nu,\nv,V\n", "line 3: name: goes with email"},
		{"nobody", ndjson, "\n", "nobody"},
		{"nothing", ndjson, "", "nobody"},
		{"a header alone", "text/csv", "email\n", "nobody"},
		{"the last of many", ndjson, strings.Repeat("{\"user_id\":\"u\"}\n", 100_000) + "{", "line 100001: not JSON"},
		{"the first of many", ndjson, "[]\n" + strings.Repeat("{\"user_id\":\"u\"}\n", 500_000), "line 1: is not a JSON object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			response, text := s.ask(http.MethodPost, audiences, test.body, "Content-Type", test.contentType)
			require.Equal(t, http.StatusUnprocessableEntity, response.StatusCode, "%s", text)
			require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
			var p problem
			require.NoError(t, json.Unmarshal(text, &p))
			require.Equal(t, "invalid", p.Code)
			require.Contains(t, p.Detail, test.says)
			if number, wrong, ok := strings.Cut(p.Detail, ": "); ok && strings.HasPrefix(number, "line ") {
				require.Equal(t, []notify.FieldError{{Location: "body, " + number, Message: wrong}}, p.Errors)
			}
		})
	}
}

func TestAnAudienceComesAsNDJSONOrCSV(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, contentType := range []string{"application/json", "text/plain", "application/x-ndjson,text/csv", ""} {
		response, text := s.ask(http.MethodPost, audiences, `{"user_id":"u"}`, "Content-Type", contentType)
		require.Equal(t, http.StatusUnsupportedMediaType, response.StatusCode, "%s", text)
		var p problem
		require.NoError(t, json.Unmarshal(text, &p))
		require.Equal(t, "unsupported_media_type", p.Code)
		require.Contains(t, p.Detail, "text/csv")
	}
	response, _ := s.ask(http.MethodPost, "/v1/notifications", `{"user_id":"u"}`, "Content-Type", ndjson)
	require.Equal(t, http.StatusUnsupportedMediaType, response.StatusCode)

	document := get[map[string]any](s, http.MethodGet, "/openapi.json", http.StatusOK, nil)
	create := document["paths"].(object)[audiences].(object)["post"].(object)
	content := create["requestBody"].(object)["content"].(object)
	require.Len(t, content, 2)
	require.Contains(t, content, ndjson)
	require.Contains(t, content, "text/csv")
}

func TestAnAudienceExpires(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	created := s.again(func(cfg *api.Config) { cfg.AudienceRetention = time.Hour }).upload(ndjson, `{"user_id":"u"}`)
	kept := s.upload(ndjson, `{"user_id":"u"}`)
	later := s.again(func(cfg *api.Config) { cfg.Now = func() time.Time { return time.Now().Add(time.Hour) } })
	get[audienceAnswer](s, http.MethodGet, audiences+"/"+created.ID, http.StatusOK, nil)
	later.refused(http.MethodGet, audiences+"/"+created.ID, http.StatusNotFound, nil)
	later.refused(http.MethodDelete, audiences+"/"+created.ID, http.StatusNotFound, nil)
	get[audienceAnswer](later, http.MethodGet, audiences+"/"+kept.ID, http.StatusOK, nil)
}

// An upload of 200,000 lines, half of them duplicates, over a server whose time
// for a request is over before the body comes. It does not run beside others,
// whose memory would count.
func TestALongUploadTakesLittleMemoryAndAllTheTimeItNeeds(t *testing.T) {
	s := newServer(t)
	served, err := api.NewServer(api.Config{
		Access: &access.Authenticator{}, Store: s.store, Starter: s.starts, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	require.NoError(t, err)
	hasty := httptest.NewUnstartedServer(served.Handler())
	hasty.Config.ReadHeaderTimeout = 10 * time.Second
	hasty.Config.ReadTimeout, hasty.Config.WriteTimeout = time.Millisecond, time.Millisecond
	hasty.Start()
	defer hasty.Close()

	const lines, memory = 200_000, 12 << 20
	before := heapInUse()
	body := &madeLines{lines: lines}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, hasty.URL+audiences, body)
	require.NoError(t, err)
	request.Header.Set("Content-Type", ndjson)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, response.StatusCode, "%s", text)
	var answer audienceAnswer
	require.NoError(t, json.Unmarshal(text, &answer))
	require.Equal(t, lines/2, answer.Total)
	require.Equal(t, lines/2, answer.Duplicates)
	require.Less(t, body.mostHeap, before+memory)

	last, err := s.store.AudiencePage(t.Context(), answer.ID, lines/2/audience.PageSize-1)
	require.NoError(t, err)
	require.Len(t, last, audience.PageSize)
	require.Equal(t, notify.Recipient{Email: fmt.Sprintf("person%d@example.com", lines/2-1)}, last[audience.PageSize-1])
}

// heapInUse is how much memory is held.
func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// madeLines is NDJSON that is made as it is read, each line twice.
type madeLines struct {
	lines, written int
	mostHeap       uint64
	pending        bytes.Buffer
}

func (m *madeLines) Read(p []byte) (int, error) {
	for m.pending.Len() < len(p) && m.written < m.lines {
		fmt.Fprintf(&m.pending, "{\"email\":\"person%d@example.com\"}\n", m.written/2)
		if m.written++; m.written%(m.lines/10) == 0 {
			m.mostHeap = max(m.mostHeap, heapInUse())
		}
	}
	return m.pending.Read(p)
}

// The server's clock is behind, so that its deadline for a step is soon.
func TestAStalledUploadIsEnded(t *testing.T) {
	t.Parallel()
	s := newServer(t).again(func(cfg *api.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(-30*time.Second + 50*time.Millisecond) }
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.http.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, "POST "+audiences+" HTTP/1.1\r\nHost: belfry\r\nContent-Length: 1000\r\nContent-Type: "+ndjson+"\r\n\r\n{\"user_id\":\"u\"}\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	var p problem
	require.NoError(t, json.NewDecoder(response.Body).Decode(&p))
	require.Equal(t, http.StatusRequestTimeout, p.Status)
	require.Equal(t, "timeout", p.Code)
	require.Contains(t, p.Detail, "30s")
}

func TestAnAudienceIsTold(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	readers := s.upload(ndjson, "{\"user_id\":\"u\"}\n{\"email\":\"ann@example.com\"}\n")
	request := object{"template": "welcome", "audience": object{"id": readers.ID}, "rate": "200/s", "delay": "1h"}
	first := get[struct {
		ID string `json:"id"`
	}](s, http.MethodPost, "/v1/notifications", http.StatusAccepted, request)
	record, err := s.store.Notification(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, &notify.AudienceRef{ID: readers.ID, Total: 2}, record.Audience)
	require.True(t, record.Bulk)
	require.Equal(t, notify.Rate("200/s"), record.Rate)
	require.Equal(t, notify.Counts{Total: 2, Queued: 2}, record.Counts)

	require.NoError(t, s.store.UpdateStatus(t.Context(), first.ID, notify.StatusSending))
	require.NoError(t, s.store.PutPageCounts(t.Context(), notify.PageCounts{ID: first.ID + "/0", NotificationID: first.ID, Counts: notify.Counts{Total: 1, Failed: 1}}))
	require.NoError(t, s.store.PutPageCounts(t.Context(), notify.PageCounts{ID: first.ID + "/0", NotificationID: first.ID, Counts: notify.Counts{Total: 1, Sent: 1}}))
	shown := get[struct {
		Counts notify.Counts `json:"counts"`
	}](s, http.MethodGet, "/v1/notifications/"+first.ID, http.StatusOK, nil)
	require.Equal(t, notify.Counts{Total: 2, Sent: 1, Queued: 1}, shown.Counts, "as its pages say while it runs")

	p := s.refused(http.MethodDelete, audiences+"/"+readers.ID, http.StatusConflict, nil)
	require.Contains(t, p.Detail, first.ID)
	require.NoError(t, s.store.UpdateProgress(t.Context(), first.ID, notify.Progress{Status: notify.StatusDone}))
	response, text := s.ask(http.MethodDelete, audiences+"/"+readers.ID, nil)
	require.Equal(t, http.StatusNoContent, response.StatusCode, "%s", text)

	all := get[struct {
		ID string `json:"id"`
	}](s, http.MethodPost, "/v1/notifications", http.StatusAccepted, object{"template": "welcome", "audience": object{"all_users": true}})
	record, err = s.store.Notification(t.Context(), all.ID)
	require.NoError(t, err)
	require.Equal(t, &notify.AudienceRef{ID: all.ID, AllUsers: true}, record.Audience)
}

func TestSoManyUploadsMayComeAtATime(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const most, all = 16, 20
	end := make(chan struct{})
	statuses := make(chan int, all)
	for range all {
		body, writer := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.http.URL+audiences, body)
		require.NoError(t, err)
		request.Header.Set("Content-Type", ndjson)
		go func() {
			// So much that no buffer of the client's holds it back.
			_, _ = io.WriteString(writer, strings.Repeat("{\"email\":\"ann@example.com\"}\n", 10_000))
			<-end
			_ = writer.Close()
		}()
		go func() {
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				statuses <- 0
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		}()
	}
	for range all - most {
		require.Equal(t, http.StatusTooManyRequests, <-statuses)
	}
	close(end)
	for range most {
		require.Equal(t, http.StatusCreated, <-statuses)
	}
}
