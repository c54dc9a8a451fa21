package codec

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/cors"
	"go.temporal.io/sdk/converter"
)

// maxBody is how large a request may be: a page of a history in JSON.
const maxBody = 32 << 20

// corsAge is for how long a browser need not ask again whether it may ask.
const corsAge = 10 * time.Minute

// ServerConfig says who may use a codec server.
type ServerConfig struct {
	Origins []string // of pages in browsers: that of Temporal's UI
	Token   string   // to be sent as "Authorization: Bearer"; empty: whoever reaches it
}

// Handler is a codec server as Temporal's UI and command line use it: POST
// /encode and /decode.
func Handler(keys Keys, config ServerConfig) http.Handler {
	handler := http.MaxBytesHandler(guard(config.Token, converter.NewPayloadCodecHTTPHandler(New(keys))), maxBody)
	if len(config.Origins) == 0 {
		return handler
	}
	return cors.Handler(cors.Options{
		AllowedOrigins:   config.Origins,
		AllowedMethods:   []string{http.MethodPost},
		AllowedHeaders:   []string{"Authorization", "Content-Type", "X-Namespace"},
		AllowCredentials: true,
		MaxAge:           int(corsAge.Seconds()),
	})(handler)
}

// guard lets in who has the token.
func guard(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if !bearer || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
