package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

func TestWhoComesTooLateIsToldHowTheDeliveriesStand(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	welcome(s)
	var accepted struct {
		ID string `json:"id"`
	}
	_, text := s.ask(http.MethodPost, "/v1/notifications", object{"template": "welcome", "to": to("ann@example.com", "bob@example.com"), "delay": "1h"})
	require.NoError(t, json.Unmarshal(text, &accepted))
	s.starts.err = &notify.Error{Code: notify.CodeTooLate} // the workflow waits no more, and has not said so yet
	for _, what := range []string{"pause", "resume", "reschedule"} {
		var body any
		if what == "reschedule" {
			body = object{"send_at": "2027-01-01T00:00:00Z"}
		}
		response, text := s.ask(http.MethodPost, "/v1/notifications/"+accepted.ID+"/"+what, body)
		require.Equal(t, http.StatusConflict, response.StatusCode, "%s", text)
		var late struct {
			Code   string        `json:"code"`
			Counts notify.Counts `json:"counts"`
		}
		require.NoError(t, json.Unmarshal(text, &late))
		require.Equal(t, "too_late", late.Code)
		require.Equal(t, notify.Counts{Total: 2, Queued: 2}, late.Counts)
	}
}
