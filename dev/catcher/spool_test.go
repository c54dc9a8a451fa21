package catcher

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAHundredThousandMailsInLittleMemory(t *testing.T) {
	const mails = 100_000
	s, err := openSpool(t.TempDir(), DefaultCapacity)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	raw := []byte("Subject: many\r\nMessage-ID: <x@example.com>\r\n\r\n" + strings.Repeat("y", 2<<10))
	before := heap()
	for range mails {
		require.NoError(t, s.append("a@example.com", []string{strings.Repeat("b", 20) + "@example.com"}, raw, time.Now()))
	}
	require.Less(t, heap()-before, int64(100<<20), "mails of 2 KB each must not be held in memory")

	answer := httptest.NewRecorder()
	newHandler(s, slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/messages", nil))
	var all struct{ Items []json.RawMessage }
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &all))
	require.Len(t, all.Items, mails)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// FuzzParse must neither fail nor loop, whatever a mail looks like.
func FuzzParse(f *testing.F) {
	f.Add([]byte("Subject: =?utf-8?b?IOKckw==?=\r\n more\r\nContent-Type: text/html\r\n\r\n<p>"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx"))
	f.Add([]byte("\r\n"))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		scanHeader(raw)
		parse(raw)
	})
}
