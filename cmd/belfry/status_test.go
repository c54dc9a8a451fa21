package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

const aboutOne = `notification  n1
status        done
template      welcome@2
channels      email
tags          a, b
counts        2 deliveries, 1 sent, 1 failed
created       2026-01-02T03:04:05Z
expires       2026-01-03T03:04:05Z
temporal      http://ui/n1
`

func TestStatus(t *testing.T) {
	t.Parallel()
	server := func() *running {
		return &running{status: "done", counts: notify.Counts{Total: 2, Sent: 1, Failed: 1}, deliveries: []string{sentDelivery, failedOne}}
	}
	t.Run("as text", func(t *testing.T) {
		t.Parallel()
		got := caller{handler: server()}.run(t.Context(), "status", "n1")
		require.Equal(t, ran{code: exitFailed, out: aboutOne + `
STATE   CHANNEL  TO                  PROVIDER  DELIVERY  NOTE
sent    email    u1 ann@example.com  smtp      d1        resent
failed  email    bob@example.com               d2        rejected: 550 \x1b[31mno\r\nsuch user
`}, got)
	})
	t.Run("as JSON, as the server has it", func(t *testing.T) {
		t.Parallel()
		got := caller{handler: server()}.run(t.Context(), "status", "n1", "-o", "json")
		require.Equal(t, exitFailed, got.code)
		require.Empty(t, got.err)
		text := compact(t, got.out)
		require.True(t, strings.HasPrefix(text, `{"id":"n1","status":"done","template":`), text)
		require.Contains(t, text, `"metadata":{"z":"1","a":"2"},"links":{"self":"/x","temporal_ui":"http://ui/n1"},"deliveries":[`+sentDelivery+","+failedOne+"]}")
	})
	t.Run("while it runs nothing has failed yet", func(t *testing.T) {
		t.Parallel()
		running := server()
		running.looks = 1
		got := caller{handler: running}.run(t.Context(), "status", "n1")
		require.Equal(t, 0, got.code)
		require.Contains(t, got.out, "sending")
		require.Equal(t, 1, running.looked)
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		for _, args := range [][]string{{"status", "n2/../x"}, {"status", "n2/../x", "--watch"}} {
			got := caller{handler: answering(nil)}.run(t.Context(), args...)
			require.Equal(t, ran{code: exitFailed, err: "belfry: there is nothing at /v1/notifications/n2/../x (404)\n"}, got)
		}
	})
}

func TestStatusOfManyDeliveriesShowsTheTroubled(t *testing.T) {
	t.Parallel()
	var deliveries []string
	for i, state := range []string{"sent", "failed", "delivered", "skipped", "unknown", "queued", "sent"} {
		deliveries = append(deliveries, fmt.Sprintf(`{"id":"d%d","channel":"email","state":%q,"attempts":[]}`, i, state))
	}
	server := func(total int) *running {
		return &running{status: "sending", counts: notify.Counts{Total: total}, deliveries: deliveries}
	}
	many := server(fewDeliveries + 1)
	got := caller{handler: many}.run(t.Context(), "status", "n1")
	require.Equal(t, []string{"queued", "unknown", "failed"}, many.asked)
	require.Contains(t, got.out, "--all lists all")
	require.Contains(t, got.out, `
STATE    CHANNEL  TO  PROVIDER  DELIVERY  NOTE
queued   email                  d5
unknown  email                  d4
failed   email                  d1
`)
	for _, server := range []*running{server(fewDeliveries), server(fewDeliveries + 1)} {
		got := caller{handler: server}.run(t.Context(), "status", "n1", "--all")
		require.Equal(t, []string{""}, server.asked)
		require.Equal(t, len(deliveries), strings.Count(got.out, " email  "))
		require.NotContains(t, got.out, "--all")
	}
}

func TestADeliveryThatChangesItsStateIsShownOnce(t *testing.T) {
	t.Parallel()
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/deliveries") {
			_, _ = io.WriteString(w, `{"id":"n1","status":"sending","counts":{"total":100}}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"items":[{"id":"d1","state":%q}]}`, r.URL.Query().Get("state"))
	})
	got := caller{handler: server}.run(t.Context(), "status", "n1", "-o", "json")
	require.Contains(t, compact(t, got.out), `"deliveries":[{"id":"d1","state":"failed"}]`)
}

func TestAllPagesAreRead(t *testing.T) {
	t.Parallel()
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Encode() {
		case "limit=200":
			_, _ = io.WriteString(w, `{"items":[{"name":"a","version":1,"x":1}],"next_cursor":"c&d"}`)
		case "cursor=c%26d&limit=200":
			_, _ = io.WriteString(w, `{"items":[{"name":"b","version":1}]}`)
		default:
			t.Errorf("asked for %s", r.URL)
		}
	})
	got := caller{handler: server}.run(t.Context(), "template", "list", "-o", "json")
	require.JSONEq(t, `{"items":[{"name":"a","version":1,"x":1},{"name":"b","version":1}]}`, got.out)
}
