package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
)

func TestACancelIsNoErrorInTheLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := sdklog.With(sdkLogger{sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(&out, nil)))}, "queue", "q")
	for _, err := range []error{context.Canceled, fmt.Errorf("page: %w", context.Canceled), temporal.NewCanceledError()} {
		l.Error("Activity error.", "Error", err)
		l.Warn("heartbeat", "Error", err)
	}
	require.Empty(t, out.String())
	l.Error("Activity error.", "Error", errors.New("no such page"))
	l.Warn("poller", "Error", context.DeadlineExceeded)
	l.Warn("no error at all")
	for _, want := range []string{`level=ERROR msg="Activity error." queue=q Error="no such page"`, "level=WARN msg=poller", `msg="no error at all"`} {
		require.Contains(t, out.String(), want)
	}
}
