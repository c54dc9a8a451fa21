// Package api is the way in over HTTP: the contract of Belfry as an OpenAPI
// document and its handlers.
package api

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/httprate"
	"github.com/google/uuid"
	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"github.com/belfry-notify/belfry/api/stream"
	"github.com/belfry-notify/belfry/internal/certificate"
	"github.com/belfry-notify/belfry/internal/httpserver"
	"github.com/belfry-notify/belfry/internal/intake"
	"github.com/belfry-notify/belfry/internal/notify"
	"github.com/belfry-notify/belfry/internal/store"
	"github.com/belfry-notify/belfry/workflows"
)

// Limits of the HTTP server.
const (
	maxBody      = 1 << 20         // bytes
	checkTimeout = 2 * time.Second // for each neighbour in /readyz
)

// Templates checks and renders templates.
type Templates interface {
	Check(prefix string, bodies notify.Bodies) []notify.FieldError
	Email(ctx context.Context, source notify.Email, data notify.Object, to notify.User) (notify.Email, error)
	Inbox(ctx context.Context, source notify.InboxContent, data notify.Object, to notify.User) (notify.InboxContent, error)
}

// A Starter starts the workflow of a notification, once for each id: if there
// is one already, it does nothing.
type Starter interface {
	Start(ctx context.Context, n *notify.Notification) error
	Redeliver(ctx context.Context, in workflows.RedeliveryInput) error
	Controller
}

// A Check asks a neighbour whether it is there.
type Check func(ctx context.Context) error

// Config is what the API needs to know and to call.
type Config struct {
	Addr      string
	Version   string
	Access    Authenticator
	Store     *store.Store
	Templates Templates
	Starter   Starter
	Schedules Schedules
	Pusher    Pusher           // of what becomes of items; nil: nobody is told
	Providers []string         // the names of those that are configured
	Checks    map[string]Check // by the neighbour's name, for /readyz: without these nothing is accepted
	Informs   map[string]Check // also shown by /readyz, whose status they do not decide
	UILink    func(notificationID string) string
	Stream    *stream.Stream // the live socket; nil: there is none
	Log       *slog.Logger
	Now       func() time.Time

	SendGridWebhookKey *ecdsa.PublicKey // of its signed event webhook; nil: there is none
	AudienceRetention  time.Duration    // how long audiences are kept; 0: audience.DefaultRetention
	DirectLimit        int              // how many deliveries of a notification go the direct way at most

	Limits      Limits
	Certificate *certificate.Files // nil: plain HTTP
}

// A Server answers Belfry's HTTP API.
type Server struct {
	Config
	log     *slog.Logger
	intake  intake.Intake
	running *runningCounts
	uploads chan struct{} // one for each under way
	places  places
	limiter *httprate.RateLimiter // nil: no limit
}

// NewServer makes a server that answers when its Handler is asked.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Access == nil {
		return nil, errors.New("the API needs somebody to say who calls")
	}
	running, err := newRunningCounts(cfg.Now)
	return &Server{
		Config: cfg, log: cfg.Log, running: running, uploads: make(chan struct{}, maxUploads),
		places: newPlaces(cmp.Or(cfg.Limits.InFlight, defaultInFlight)), limiter: newLimiter(cfg.Limits),
		intake: intake.Intake{Store: cfg.Store, Starter: cfg.Starter, DirectLimit: cfg.DirectLimit},
	}, err
}

// Run serves until ctx ends, then finishes the requests in flight. Ready is
// called with the address once it listens; it may be nil.
func Run(ctx context.Context, cfg Config, ready func(addr string)) error {
	s, err := NewServer(cfg)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	server := httpserver.New(ctx, s.Handler(), s.Certificate, s.log)
	defer s.runStream(ctx)()
	s.log.InfoContext(ctx, "listening", "addr", listener.Addr().String())
	if ready != nil {
		ready(listener.Addr().String())
	}
	return httpserver.Serve(ctx, server, listener, s.drainStream)
}

// Handler is the whole API as an HTTP handler.
func (s *Server) Handler() http.Handler {
	router := chi.NewRouter()
	router.Use(s.recovered, s.clientAddress)
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(http.StatusNotFound, "there is nothing at "+r.URL.Path))
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(methodsOf(router, r), ", "))
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, r.Method+" is not a method of "+r.URL.Path))
	})
	router.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	router.Get("/readyz", s.ready)
	router.Method(http.MethodGet, "/metrics", s.metrics())
	docs := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Belfry", SwaggerJSON: "/openapi.json", BasePath: "/docs",
	})
	router.Mount("/docs", docs)

	api := s.newAPI(router)
	s.templateRoutes(api)
	s.notificationRoutes(api)
	s.controlRoutes(api)
	s.deliveryRoutes(api)
	s.webhookRoutes(api)
	s.audienceRoutes(api)
	s.scheduleRoutes(api)
	s.triggerRoutes(api)
	s.keyRoutes(api)
	s.inboxRoutes(api)
	s.streamRoutes(router, api)
	return router
}

// methodsOf are those that the routes know for a request's path.
func methodsOf(router chi.Routes, r *http.Request) []string {
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath // as chi routes
	}
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if router.Match(chi.NewRouteContext(), method, path) {
			methods = append(methods, method)
		}
	}
	return methods
}

// newAPI makes the API that the routes are added to.
func (s *Server) newAPI(router chi.Router) huma.API {
	api := humachi.New(router, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Belfry", Version: s.Version,
				Description: "Durable notifications: say what to tell whom, and Belfry tells them once.",
			},
			Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer), SecuritySchemes: bearerSecurity()},
		},
		OpenAPIPath:                  "/openapi",
		Formats:                      map[string]huma.Format{"application/json": strictJSON(), "json": strictJSON()},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
	registerOutput(api.OpenAPI().Components.Schemas)
	api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		next(huma.WithValue(ctx, serverKey{}, s))
	}, s.authorize, s.limited, requireJSON, s.admitted)
	return api
}

// route describes an operation; every one of them is limited and named alike,
// and says by its id who may call it (access.go).
func route(method, path, id, summary string, status int, errorStatuses ...int) huma.Operation {
	if len(needs[id]) > 0 {
		errorStatuses = append(errorStatuses, http.StatusUnauthorized, http.StatusForbidden)
	}
	return huma.Operation{
		OperationID:   id,
		Method:        method,
		Path:          path,
		Summary:       summary,
		DefaultStatus: status,
		Security:      security(id),
		MaxBodyBytes:  maxBody + 1, // huma refuses a body that reaches it
		// The body is at hand by then: a deadline for reading the connection
		// would end the request.
		BodyReadTimeout: -1,
		Errors:          append(errorStatuses, http.StatusUnprocessableEntity, http.StatusServiceUnavailable),
	}
}

// ready says whether the neighbours answer, each within checkTimeout. Belfry
// is ready when it can accept notifications, which wait for who else is away.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	var mu sync.Mutex
	var group sync.WaitGroup
	checks, status := map[string]string{}, http.StatusOK
	ask := func(neighbours map[string]Check, statusWithout int) {
		for name, check := range neighbours {
			group.Go(func() {
				err := check(ctx)
				mu.Lock()
				defer mu.Unlock()
				checks[name] = "ok"
				if err != nil {
					s.log.WarnContext(ctx, "neighbour unavailable", "neighbour", name, "error", err)
					checks[name], status = "unavailable", max(status, statusWithout)
				}
			})
		}
	}
	ask(s.Checks, http.StatusServiceUnavailable)
	ask(s.Informs, http.StatusOK)
	group.Wait()
	writeJSON(w, status, map[string]any{"checks": checks})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller is gone if this fails
}

// now is the moment as Belfry keeps it: UTC, in milliseconds.
func (s *Server) now() time.Time { return s.Now().UTC().Truncate(time.Millisecond) }

// newID is a fresh id in the order of time.
func newID() string { return uuid.Must(uuid.NewV7()).String() }
