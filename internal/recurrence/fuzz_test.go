package recurrence_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/recurrence"
)

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"*/15 * * * *", "0 9 * * MON-FRI", "0 0 29 2 *", "0 0 31 2 *", "@daily", "@every 1h",
		"TZ=", "CRON_TZ=UTC 0 0 * * *", ", , , , ,", "0 0 * * 5-7/2", "*-1 ?/2 1/9 * 7"} {
		f.Add(seed, "America/Nuuk")
	}
	f.Fuzz(func(t *testing.T, cron, zone string) {
		checkRule(t, recurrence.Rule{Cron: cron, Zone: zone})
	})
}

func FuzzCalendar(f *testing.F) {
	for _, seed := range []string{`{"hour":9,"minute":0}`, `{"month":2,"day_of_month":29,"day_of_week":"6-7","hour":"0-23","minute":"59"}`,
		`{"hour":"1-","minute":-1}`, `{"hour":1e3,"minute":[]}`, `null`, `[]`} {
		f.Add([]byte(seed), "Pacific/Apia")
	}
	f.Fuzz(func(t *testing.T, text []byte, zone string) {
		var calendar *recurrence.Calendar
		if json.Unmarshal(text, &calendar) != nil || calendar == nil {
			return
		}
		again, err := json.Marshal(calendar)
		require.NoError(t, err)
		var same *recurrence.Calendar
		require.NoError(t, json.Unmarshal(again, &same))
		require.Equal(t, calendar, same)
		checkRule(t, recurrence.Rule{Calendar: calendar, Zone: zone})
	})
}

// checkRule compiles a rule. It must be refused as Errors or recur.
func checkRule(t *testing.T, rule recurrence.Rule) {
	r, err := recurrence.Compile(rule)
	if err != nil {
		var wrong recurrence.Errors
		require.ErrorAs(t, err, &wrong)
		require.NotEmpty(t, wrong)
		return
	}
	require.Len(t, r.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 5), 5)
}
