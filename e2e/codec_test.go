package e2e

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	visit "go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/notify"
)

// A payload key, in base64, made of a letter.
func payloadKey(letter string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32)))
}

func storedHistory(t *testing.T, b *belfry, id string) *history.History {
	t.Helper()
	return &history.History{Events: historyOf(t, b, id)}
}

// payloadsOf are those of a history, but for search attributes, which Temporal
// has to read.
func payloadsOf(t *testing.T, of *history.History) []*common.Payload {
	t.Helper()
	var all []*common.Payload
	require.NoError(t, visit.VisitPayloads(t.Context(), of, visit.VisitPayloadsOptions{
		SkipSearchAttributes: true,
		Visitor: func(_ *visit.VisitPayloadsContext, payloads []*common.Payload) ([]*common.Payload, error) {
			all = append(all, payloads...)
			return payloads, nil
		},
	}))
	return all
}

// keysOf are the ids of the keys that a history is encrypted with, all of it.
func keysOf(t *testing.T, of *history.History) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for _, payload := range payloadsOf(t, of) {
		require.Equal(t, "binary/encrypted", string(payload.Metadata["encoding"]), "%s", payload)
		ids[string(payload.Metadata["encryption-key-id"])] = true
	}
	return ids
}

// TestPayloadsAreEncrypted looks at what Temporal keeps, rotates the key while a
// notification waits, and leaves workers without the key for a while.
func TestPayloadsAreEncrypted(t *testing.T) {
	t.Parallel()
	b := newBelfry(t).with("BELFRY_PAYLOAD_KEYS", "old:"+payloadKey("a")).with("BELFRY_SWEEP_INTERVAL", "1s")
	options, err := envconfig.LoadDefaultClientOptions()
	require.NoError(t, err)
	keys, err := codec.ParseKeys("new:" + payloadKey("b") + ",old:" + payloadKey("a"))
	require.NoError(t, err)
	options.Namespace = b.variables["TEMPORAL_NAMESPACE"]
	codec.Configure(&options, keys)
	temporal, err := client.Dial(options)
	require.NoError(t, err)
	t.Cleanup(temporal.Close)
	p := b.run("all")
	b.ready()
	domain := newDomain()
	request := func(more map[string]any) map[string]any {
		all := map[string]any{
			"template": "welcome", "data": map[string]any{"film": "Solaris"}, "tags": []string{"secret-tag"},
			"to": append(to("u%d", domain, 2), map[string]any{"user_id": ann}),
		}
		for name, value := range more {
			all[name] = value
		}
		return all
	}

	direct := b.send(request(nil))
	require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.wait(direct).Counts)
	paged := b.send(request(map[string]any{"priority": "low"}))
	require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.wait(paged).Counts)
	for _, id := range []string{direct, paged} {
		events := storedHistory(t, b, id)
		require.Equal(t, map[string]bool{"old": true}, keysOf(t, events))
		raw, err := proto.Marshal(events)
		require.NoError(t, err)
		for _, plain := range []string{"@" + domain, ann, "Solaris", `"recipients"`, `"id"`, "welcome@1", "recipients by email"} {
			require.NotContains(t, string(raw), plain)
		}
	}

	// A schedule keeps what it starts its runs with.
	schedule := map[string]any{"name": "monthly", "cron": "0 9 1 * *", "time_zone": "UTC", "notification": request(nil)}
	b.do(http.MethodPost, "/v1/schedules", http.StatusCreated, schedule, nil)
	described, err := temporal.ScheduleClient().GetHandle(t.Context(), "schedule/monthly").Describe(t.Context())
	require.NoError(t, err)
	action := described.Schedule.Action.(*client.ScheduleWorkflowAction)
	require.Equal(t, "old", string(action.Args[0].(*common.Payload).Metadata["encryption-key-id"]))

	waiting, late := b.send(request(map[string]any{"delay": "48h"})), b.send(request(map[string]any{"delay": "48h"}))
	now := map[string]any{"send_at": time.Now().Add(-time.Hour)}
	p.stop()

	// Without the key nothing is decided, and nothing is lost.
	b.variables["BELFRY_PAYLOAD_KEYS"] = ""
	p = b.run("all")
	b.eventually("ready", func() bool { return b.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	b.do(http.MethodPost, "/v1/notifications/"+late+"/reschedule", http.StatusServiceUnavailable, now, nil)
	b.eventually("the log names the key", func() bool { return strings.Contains(p.log.String(), `\"old\"`) })
	description, err := temporal.DescribeWorkflowExecution(t.Context(), "notification/"+late, "")
	require.NoError(t, err)
	require.Equal(t, enums.WORKFLOW_EXECUTION_STATUS_RUNNING, description.GetWorkflowExecutionInfo().GetStatus())
	p.stop()

	// With a new key before it, it is as it was.
	b.variables["BELFRY_PAYLOAD_KEYS"] = "new:" + payloadKey("b") + ",old:" + payloadKey("a")
	b.run("all")
	b.eventually("ready", func() bool { return b.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	for _, id := range []string{waiting, late} {
		b.eventually("moved", func() bool {
			status := b.status(http.MethodPost, "/v1/notifications/"+id+"/reschedule", now)
			return status == http.StatusOK || status == http.StatusConflict
		})
		require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.wait(id).Counts)
	}
	require.Equal(t, map[string]bool{"old": true, "new": true}, keysOf(t, storedHistory(t, b, waiting)))
	var run struct {
		NotificationID string `json:"notification_id"`
	}
	b.do(http.MethodPost, "/v1/schedules/monthly/trigger", http.StatusAccepted, map[string]any{}, &run)
	require.Equal(t, notify.Counts{Total: 3, Sent: 3}, b.wait(run.NotificationID).Counts)
	b.eventually("a worker encrypts it anew", func() bool {
		described, err := temporal.ScheduleClient().GetHandle(t.Context(), "schedule/monthly").Describe(t.Context())
		require.NoError(t, err)
		return codec.KeyOf(described.Schedule.Action.(*client.ScheduleWorkflowAction).Args[0].(*common.Payload)) == "new"
	})

	testCodecServer(t, b.variables["BELFRY_PAYLOAD_KEYS"], storedHistory(t, b, waiting))
}

// testCodecServer has a codec server decrypt a history for people.
func testCodecServer(t *testing.T, keys string, of *history.History) {
	addr := freeAddr(t)
	start(t, map[string]string{"BELFRY_PAYLOAD_KEYS": keys, "BELFRY_CODEC_ADDR": addr, "BELFRY_CODEC_TOKEN": "codec-token"}, "codec")
	remote := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{
		Endpoint:      "http://" + addr,
		ModifyRequest: func(r *http.Request) error { r.Header.Set("Authorization", "Bearer codec-token"); return nil },
	})
	var shown []string
	eventually(t, func() bool {
		decoded, err := remote.Decode(payloadsOf(t, of))
		if err != nil {
			return false
		}
		for _, payload := range decoded {
			shown = append(shown, string(payload.Data))
		}
		return true
	}, patience, 50*time.Millisecond)
	all := strings.Join(shown, "\n")
	require.Contains(t, all, `"recipients":3`)
	require.Contains(t, all, "welcome@1 to 3 recipients by email")
}

// A codec server that others could reach asks for a token.
func TestACodecServerIsNotOpenToOthers(t *testing.T) {
	t.Parallel()
	for variable, says := range map[string]string{
		"BELFRY_PAYLOAD_KEYS=":              "BELFRY_PAYLOAD_KEYS: ",
		"BELFRY_CODEC_ADDR=0.0.0.0:0":       "BELFRY_CODEC_TOKEN: ",
		"BELFRY_TLS_CERT_FILE=/nonexistent": "BELFRY_TLS_KEY_FILE: ",
	} {
		name, value, _ := strings.Cut(variable, "=")
		variables := map[string]string{"BELFRY_PAYLOAD_KEYS": "a:" + payloadKey("a"), "BELFRY_CODEC_ADDR": "127.0.0.1:0"}
		variables[name] = value
		p := start(t, variables, "codec")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		select {
		case <-p.exited:
		case <-ctx.Done():
			t.Errorf("%s: it runs", variable)
		}
		cancel()
		require.Error(t, p.err)
		require.Contains(t, p.log.String(), "belfry: "+says)
	}
}
