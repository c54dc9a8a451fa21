package stream

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/websocket"
)

// admit looks at what a request says before there is a socket, and gives the
// bearer token of its header.
func (s *Stream) admit(r *http.Request) (*credentials, *refusal) {
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		return nil, refuse(http.StatusUpgradeRequired, "upgrade_required", "here is a WebSocket (RFC 6455), subprotocol "+Subprotocol)
	case !slices.Contains(websocket.Subprotocols(r), Subprotocol):
		return nil, refuse(http.StatusBadRequest, "invalid", "the client has to offer the subprotocol "+Subprotocol)
	case !s.fromKnownOrigin(r):
		return nil, refuse(http.StatusForbidden, "origin_refused", "pages of this origin may not connect")
	}
	header := r.Header.Get("Authorization")
	if header == "" || s.Authenticate == nil {
		return nil, nil
	}
	scheme, bearer, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, refuse(http.StatusUnauthorized, "unauthorized", "the Authorization header is no bearer token")
	}
	shown, end := s.authenticate(r.Context(), strings.TrimSpace(bearer))
	if end == nil {
		return shown, nil
	}
	switch end.word {
	case wordUnavailable:
		return nil, refuse(http.StatusServiceUnavailable, end.word, end.detail)
	case wordScope:
		return nil, refuse(http.StatusForbidden, end.word, end.detail)
	}
	return nil, refuse(http.StatusUnauthorized, end.word, end.detail)
}

// fromKnownOrigin says whether a request comes from a page of this server, of
// one that is listed, or from what is no browser and has no origin.
func (s *Stream) fromKnownOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	if len(origins) > 1 {
		return false
	}
	if slices.ContainsFunc(s.Origins, func(known string) bool { return strings.EqualFold(known, origins[0]) }) {
		return true
	}
	origin, err := url.Parse(origins[0])
	return err == nil && origin.Host != "" && strings.EqualFold(origin.Host, r.Host)
}

// A refusal is the answer to a request that gets no socket.
type refusal struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

func refuse(status int, code, detail string) *refusal {
	return &refusal{Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

func (r *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	switch r.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusUpgradeRequired:
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
	}
	w.WriteHeader(r.Status)
	_ = json.NewEncoder(w).Encode(r) // the caller is gone if this fails
}
