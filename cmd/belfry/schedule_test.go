package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const reportSchedule = `{"name":"report","cron":"0 9 * * 1-5","time_zone":"Europe/Berlin","catchup_window":"1h","overlap":"skip",` +
	`"notification":{"template":"welcome","to":[{"email":"ann@example.com"},{"email":"bob@example.com"}]},"paused":false,` +
	`"next_runs":["2026-03-27T08:00:00Z","2026-03-30T07:00:00Z"],"recent_runs":[` +
	`{"scheduled_at":"2026-03-26T08:00:00Z","status":"skipped","reason":"overlap"},` +
	`{"scheduled_at":"2026-03-25T08:00:00Z","status":"failed","reason":"template_not_found","detail":"there is no template \u001b[1m"},` +
	`{"scheduled_at":"2026-03-24T08:00:00Z","status":"started","notification_id":"n1"}]}`

const aboutReport = `schedule   report
runs       0 9 * * 1-5
time zone  Europe/Berlin
catch-up   1h
overlap    skip
template   welcome
to         2 recipients
next runs  2026-03-27T09:00:00+01:00
           2026-03-30T09:00:00+02:00

SCHEDULED                  OUTCOME                     NOTIFICATION  NOTE
2026-03-26T09:00:00+01:00  skipped: overlap
2026-03-25T09:00:00+01:00  failed: template_not_found                there is no template \x1b[1m
2026-03-24T09:00:00+01:00  started                     n1
`

func TestScheduleListAndShow(t *testing.T) {
	t.Parallel()
	server := answering(map[string]string{
		"GET /v1/schedules": `{"items":[` + reportSchedule + `,{"name":"x","every":"90m","time_zone":"UTC","paused":true,"next_runs":["2026-03-27T08:00:00Z"]},` +
			`{"name":"y","calendar":{"hour":9,"minute":0},"time_zone":"UTC","next_runs":[]}]}`,
		"GET /v1/schedules/report": reportSchedule,
	})
	require.Equal(t, ran{out: `NAME    RUNS                   TIME ZONE      NEXT RUN                   LAST RUN                   OUTCOME
report  0 9 * * 1-5            Europe/Berlin  2026-03-27T09:00:00+01:00  2026-03-26T09:00:00+01:00  skipped: overlap
x       every 90m              UTC            paused
y       {"hour":9,"minute":0}  UTC            over
`}, caller{handler: server}.run(t.Context(), "schedule", "list"))
	require.Equal(t, ran{out: aboutReport}, caller{handler: server}.run(t.Context(), "schedule", "show", "report"))
	got := caller{handler: server}.run(t.Context(), "schedule", "show", "report", "-o", "json")
	require.Equal(t, 0, got.code)
	require.JSONEq(t, reportSchedule, got.out)
	got = caller{handler: server}.run(t.Context(), "schedule", "list", "-o", "json")
	require.Contains(t, compact(t, got.out), `{"items":[{"name":"report","cron":`)
	require.Equal(t, exitFailed, caller{handler: server}.run(t.Context(), "schedule", "show", "../x").code)
}

func TestScheduleCommandsAskForWhatTheySay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"name":"report","calendar":{"hour":9,"minute":"0-30"}}`), 0o600))
	for _, test := range []struct {
		name  string
		args  []string
		input string
		asked string
		out   string
	}{
		{"pause", []string{"pause", "report"}, "", "POST /v1/schedules/report/pause", aboutReport},
		{"unpause", []string{"unpause", "report"}, "", "POST /v1/schedules/report/unpause", aboutReport},
		{"trigger", []string{"trigger", "report"}, "", "POST /v1/schedules/report/trigger", "n1\n"},
		{"trigger as JSON", []string{"trigger", "report", "-o", "json"}, "", "POST /v1/schedules/report/trigger", "{\n  \"notification_id\": \"n1\"\n}\n"},
		{"delete", []string{"delete", "report"}, "", "DELETE /v1/schedules/report", ""},
		{"create from a file", []string{"create", "-f", file}, "", `POST /v1/schedules {"name":"report","calendar":{"hour":9,"minute":"0-30"}}`, aboutReport},
		{"create from standard input", []string{"create", "-f", "-"}, `{"name":"x"}`, `POST /v1/schedules {"name":"x"}`, aboutReport},
		{
			"create from flags", []string{
				"create", "report", "--cron", "0 9 * * 1-5", "--time-zone", "Europe/Berlin", "--start-at", "2026-01-01T01:00:00+01:00",
				"--overlap", "skip", "--template", "welcome", "--to", "Ann <ann@example.com>", "--to", "u1", "--data", `{"film":"Solaris"}`, "--tag", "a",
			}, "", `POST /v1/schedules {"name":"report","cron":"0 9 * * 1-5","time_zone":"Europe/Berlin","start_at":"2026-01-01T00:00:00Z","overlap":"skip",` +
				`"notification":{"template":"welcome","to":[{"email":"ann@example.com","name":"Ann"},{"user_id":"u1"}],"data":{"film":"Solaris"},"tags":["a"]}}`, aboutReport,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var asked string
			server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Method + " " + r.URL.Path
				if r.Body != nil { // as in memory
					body, err := io.ReadAll(r.Body)
					if err == nil {
						asked += " " + compact(t, string(body))
					}
				}
				switch {
				case r.Method == http.MethodDelete:
					w.WriteHeader(http.StatusNoContent)
				case r.URL.Path == "/v1/schedules/report/trigger":
					_, _ = io.WriteString(w, `{"notification_id":"n1"}`)
				default:
					_, _ = io.WriteString(w, reportSchedule)
				}
			})
			got := caller{handler: server, input: test.input}.run(t.Context(), append([]string{"schedule"}, test.args...)...)
			require.Equal(t, ran{out: test.out}, got)
			require.Equal(t, test.asked, asked)
		})
	}
}

func TestScheduleCreateNeedsAllOfIt(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"nothing":             {},
		"no rule":             {"report", "--time-zone", "UTC", "--template", "welcome", "--to", "u1"},
		"two rules":           {"report", "--cron", "@daily", "--every", "1h", "--time-zone", "UTC", "--template", "welcome", "--to", "u1"},
		"no zone":             {"report", "--cron", "@daily", "--template", "welcome", "--to", "u1"},
		"nobody":              {"report", "--cron", "@daily", "--time-zone", "UTC", "--template", "welcome"},
		"a file and flags":    {"-f", "-", "--cron", "@daily"},
		"a file that is none": {"-f", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := caller{handler: answering(nil), input: "[]"}.run(t.Context(), append([]string{"schedule", "create"}, args...)...)
			require.Equal(t, exitUsage, got.code, got.err)
		})
	}
}
