package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listing has n notifications, and keeps what was asked.
type listing struct {
	n     int
	asked []url.Values
}

func (l *listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	l.asked = append(l.asked, query)
	limit, _ := strconv.Atoi(query.Get("limit"))
	from, _ := strconv.Atoi(query.Get("cursor"))
	var items []string
	for i := from; i < min(from+limit, l.n); i++ {
		items = append(items, fmt.Sprintf(`{"id":"n%d","status":"done","template":{"name":"welcome","version":2},"created_at":"2026-01-02T03:04:05Z",`+
			`"counts":{"total":12,"queued":1,"sent":7,"delivered":3,"failed":1}}`, i))
	}
	next := ""
	if from+limit < l.n {
		next = strconv.Itoa(from + limit)
	}
	_, _ = fmt.Fprintf(w, `{"items":[%s],"next_cursor":%q}`, strings.Join(items, ","), next)
}

func TestList(t *testing.T) {
	t.Parallel()
	server := &listing{n: 1}
	require.Equal(t, ran{out: `NOTIFICATION  CREATED               STATUS  TOTAL  SENT  QUEUED  TEMPLATE
n0            2026-01-02T03:04:05Z  done    12     10    1       welcome@2
`}, caller{handler: server}.run(t.Context(), "list", "--template", "welcome", "--status", "done", "--tag", "a b",
		"--from", "2026-01-02T00:00:00Z", "--to", "2026-01-03T00:00:00+01:00"))
	require.Equal(t, []url.Values{{
		"template": {"welcome"}, "status": {"done"}, "tag": {"a b"}, "limit": {"50"}, "from": {"2026-01-02T00:00:00Z"}, "to": {"2026-01-02T23:00:00Z"},
	}}, server.asked)
	require.Equal(t, ran{}, caller{handler: &listing{}}.run(t.Context(), "list"))
	require.JSONEq(t, `{"items":[]}`, caller{handler: &listing{}}.run(t.Context(), "list", "-o", "json").out)
}

func TestListReadsAsManyPagesAsAskedFor(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]int{1: 1, 200: 200, 201: 201, 450: 450, 1000: 500} {
		got := caller{handler: &listing{n: 500}}.run(t.Context(), "list", "--limit", strconv.Itoa(limit))
		require.Zero(t, got.code, got.err)
		require.Equal(t, 1+want, strings.Count(got.out, "\n"), limit)
	}
}
