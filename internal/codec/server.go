package codec

import (
	"context"
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
	Token   string   // to be sent as "Authorization: Bearer"

	// Admit lets in other bearers: tokens of people. Without it and without a
	// token the server answers whoever reaches it.
	Admit func(ctx context.Context, bearer string) bool
}

// Handler is a codec server as Temporal's UI and command line use it: POST
// /encode and /decode.
func Handler(keys Keys, config ServerConfig) http.Handler {
	handler := http.MaxBytesHandler(guard(config, converter.NewPayloadCodecHTTPHandler(New(keys))), maxBody)
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

// guard lets in who has the token, or one of their own.
func guard(config ServerConfig, next http.Handler) http.Handler {
	if config.Token == "" && config.Admit == nil {
		return next
	}
	want := sha256.Sum256([]byte(config.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := strings.EqualFold(scheme, "Bearer") && bearer != ""
		got := sha256.Sum256([]byte(bearer))
		known := config.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
		if !given || !known && (config.Admit == nil || !config.Admit(r.Context(), bearer)) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
