package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	lifetime      = time.Hour // of a token, unless another one is asked for
	maxLifetime   = 24 * time.Hour
	maxForm       = 64 << 10
	headerTimeout = 5 * time.Second
	stopTimeout   = 5 * time.Second
)

// A Config says how to serve an issuer.
type Config struct {
	Known    func(userID string) bool // whether there is such a user
	Audience string                   // whom tokens are for, unless another one is asked for
	Rotate   time.Duration            // how often the signing key changes; 0: never by itself
	Log      *slog.Logger
	Now      func() time.Time
}

// Serve answers as an issuer on the listener, which it closes, until ctx ends.
// The listener must be on a loopback address.
func Serve(ctx context.Context, listener net.Listener, cfg Config) error {
	defer func() { _ = listener.Close() }()
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok || !addr.IP.IsLoopback() {
		return fmt.Errorf("the sample issuer gives tokens to anyone: it listens on this machine only, not on %s", listener.Addr())
	}
	i, err := New("http://"+listener.Addr().String(), cfg.Now)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: i.Handler(cfg), ReadHeaderTimeout: headerTimeout, ReadTimeout: 2 * headerTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	cfg.Log.InfoContext(ctx, "OIDC issuer serving", "issuer", i.url)
	var rotate <-chan time.Time
	if cfg.Rotate > 0 {
		ticker := time.NewTicker(cfg.Rotate)
		defer ticker.Stop()
		rotate = ticker.C
	}
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve the OIDC issuer: %w", err)
		case <-rotate:
			if err := i.Rotate(); err != nil {
				cfg.Log.ErrorContext(ctx, "signing key not rotated", "error", err)
			}
		case <-ctx.Done():
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err := server.Shutdown(stopping)
			if served := <-served; !errors.Is(served, http.ErrServerClosed) {
				err = errors.Join(err, served)
			}
			return err
		}
	}
}

// Handler answers what an issuer is asked: its discovery document, its keys, and
// tokens. POST /rotate has it sign with a new key.
func (i *Issuer) Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"issuer": i.url, "jwks_uri": i.url + "/jwks", "token_endpoint": i.url + "/token",
			"grant_types_supported": []string{"password"}, "response_types_supported": []string{"token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
			"claims_supported": []string{"iss", "sub", "aud", "iat", "nbf", "exp", "roles"},
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, i.published()) })
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		token, lasts, err := i.grant(cfg, r)
		if err != nil { // as RFC 6749, section 5.2, has it
			answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(lasts.Seconds())})
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		if err := i.Rotate(); err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// grant gives the token that a form asks for: for username, a user's id, with
// whatever password. audience, roles and expires_in (seconds) may be asked for
// too.
func (i *Issuer) grant(cfg Config, r *http.Request) (token string, lasts time.Duration, err error) {
	if err := r.ParseForm(); err != nil {
		return "", 0, errors.New("the form cannot be read")
	}
	user := r.PostForm.Get("username")
	if !cfg.Known(user) {
		return "", 0, errors.New("username: there is no user of this id")
	}
	lasts = lifetime
	if text := r.PostForm.Get("expires_in"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 || seconds > int(maxLifetime.Seconds()) {
			return "", 0, fmt.Errorf("expires_in: not a number of seconds up to %d", int(maxLifetime.Seconds()))
		}
		lasts = time.Duration(seconds) * time.Second
	}
	claims := Claims{"sub": user, "aud": cfg.Audience, "exp": i.now().Add(lasts).Unix()}
	if audience := r.PostForm.Get("audience"); audience != "" {
		claims["aud"] = audience
	}
	if roles := strings.Fields(r.PostForm.Get("roles")); len(roles) > 0 {
		claims["roles"] = roles
	}
	token, err = i.Token(claims)
	return token, lasts, err
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller is gone if this fails
}
