// Package telemetry says how Belfry tells what it does.
package telemetry

import (
	"io"
	"log/slog"
)

// NewLogger writes one line an event, as text or as JSON.
func NewLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
