package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// newSendGrid answers as SendGrid does to a good mail; what it would refuse is
// tested beside the provider.
func newSendGrid(t *testing.T) *httptest.Server {
	t.Helper()
	var messages atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v3/mail/send" || r.Header.Get("Authorization") != "Bearer SG.test" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Message-Id", fmt.Sprintf("message-%d", messages.Add(1)))
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	return server
}
