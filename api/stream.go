package api

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

const streamPath = "/v1/stream"

type ticketInput struct {
	Body struct {
		UserID string `json:"user_id,omitempty" maxLength:"256" doc:"Whose inbox; needed unless a user's own token asks"`
	}
}

type ticketOutput struct {
	Body struct {
		Ticket    string    `json:"ticket" doc:"For the first frame of one socket, once"`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

// streamRoutes are those of the live socket. It does not go through huma, which
// knows no WebSockets, and finds out itself who connects: that may be said in
// the first frame.
func (s *Server) streamRoutes(router chi.Router, api huma.API) {
	if s.Stream == nil {
		return
	}
	router.Method(http.MethodGet, streamPath, s.Stream)
	socket := route(http.MethodGet, streamPath, "open-stream", "Open the live socket of an inbox: a WebSocket, subprotocol belfry.v1",
		http.StatusSwitchingProtocols, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUpgradeRequired, http.StatusTooManyRequests)
	socket.Description = "Frames are JSON, one a text message; the first one is the client's hello, within 5 s. See the README, Live."
	socket.Responses = map[string]*huma.Response{"101": {Description: "The connection is a WebSocket from here on"}}
	refusal := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	for _, status := range socket.Errors {
		socket.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Content: map[string]*huma.MediaType{"application/problem+json": {Schema: refusal}},
		}
	}
	api.OpenAPI().AddOperation(&socket)
	huma.Register(api, route(http.MethodPost, streamPath+"/tickets", "create-stream-ticket",
		"Make a ticket that opens one socket, for a browser that has no token of its own", http.StatusCreated),
		s.createTicket)
}

func (s *Server) createTicket(ctx context.Context, in *ticketInput) (*ticketOutput, error) {
	caller := access.From(ctx)
	userID := in.Body.UserID
	if userID == "" {
		userID = caller.UserID
	}
	if userID == "" {
		return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Fields: []notify.FieldError{
			{Location: "body.user_id", Message: "is needed, as it does not follow from who asks"},
		}})
	}
	if err := allow(caller, needs["create-stream-ticket"], userID); err != nil {
		return nil, s.fail(err)
	}
	ticket, expiresAt, err := s.Stream.Issue(ctx, caller, userID)
	if err != nil {
		return nil, s.fail(err)
	}
	out := &ticketOutput{}
	out.Body.Ticket, out.Body.ExpiresAt = ticket, expiresAt
	return out, nil
}

// runStream has the sockets learn of what they are not told, until what it gives
// is called.
func (s *Server) runStream(ctx context.Context) (stop func()) {
	if s.Stream == nil {
		return func() {}
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Stream.Run(running)
	}()
	return func() {
		cancel()
		<-done
	}
}

// drainStream closes the sockets.
func (s *Server) drainStream(ctx context.Context) {
	if s.Stream != nil {
		s.Stream.Drain(ctx)
	}
}
