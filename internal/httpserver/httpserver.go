// Package httpserver serves HTTP with limits on all that a client may delay.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/belfry-notify/belfry/internal/certificate"
)

// Limits of a server. A handler may move those of its own request.
const (
	headerTimeout = 5 * time.Second // from a connection's first byte, TLS handshake included
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	drainTimeout  = 10 * time.Second // for requests in flight at the end

	// WriteTimeout bounds the answer, from when the request has come.
	WriteTimeout = 60 * time.Second
)

// New is a server with its limits. A certificate makes it speak TLS, with
// HTTP/2; nil is plain HTTP.
func New(ctx context.Context, handler http.Handler, certificate *certificate.Files, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong: handshakes, malformed requests
	}
	if certificate != nil {
		server.TLSConfig = certificate.Config()
	}
	return server
}

// Serve serves until ctx ends, then finishes the requests in flight. Meanwhile
// it has drain end what the server does not know of: connections that were
// hijacked.
func Serve(ctx context.Context, server *http.Server, listener net.Listener, drain ...func(context.Context)) error {
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
			return
		}
		served <- server.Serve(listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	var others sync.WaitGroup
	for _, drain := range drain {
		others.Go(func() { drain(draining) })
	}
	err := server.Shutdown(draining)
	others.Wait()
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
