package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"

	"github.com/belfry-notify/belfry/internal/codec"
	"github.com/belfry-notify/belfry/internal/config"
)

// temporalVariables are the environment, where Temporal's API key may stand in
// a file too.
type temporalVariables struct{ err *error }

// Environ are all of them.
func (temporalVariables) Environ() []string { return os.Environ() }

// LookupEnv finds one.
func (v temporalVariables) LookupEnv(name string) (string, bool) {
	if name == "TEMPORAL_API_KEY" {
		return config.Lookup(os.LookupEnv, v.err)(name)
	}
	return os.LookupEnv(name)
}

// dialTemporal prepares a client of Temporal as its own variables say, and the
// name of the namespace. Temporal need not be there yet.
func dialTemporal(keys codec.Keys, log *slog.Logger) (c client.Client, namespace string, err error) {
	var wrong error
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{EnvLookup: temporalVariables{&wrong}})
	if wrong != nil {
		return nil, "", wrong
	}
	if err != nil {
		return nil, "", fmt.Errorf("read TEMPORAL_ variables: %w", err)
	}
	options.Logger = sdkLogger{sdklog.NewStructuredLogger(log)}
	codec.Configure(&options, keys)
	namespace = options.Namespace
	if namespace == "" {
		namespace = client.DefaultNamespace
	}
	if c, err = client.NewLazyClient(options); err != nil {
		return nil, "", fmt.Errorf("set up the Temporal client: %w", err)
	}
	return c, namespace, nil
}

// An sdkLogger is Temporal's SDK's. It has as an error, or a warning, that an
// activity ended because it was cancelled, as on each pause of a broadcast.
type sdkLogger struct{ sdklog.Logger }

func (l sdkLogger) Error(message string, keyvals ...any) {
	l.log(l.Logger.Error, message, keyvals)
}

func (l sdkLogger) Warn(message string, keyvals ...any) {
	l.log(l.Logger.Warn, message, keyvals)
}

func (l sdkLogger) log(as func(string, ...any), message string, keyvals []any) {
	if slices.ContainsFunc(keyvals, isCancel) {
		as = l.Debug
	}
	as(message, keyvals...)
}

func isCancel(value any) bool {
	err, _ := value.(error)
	return errors.Is(err, context.Canceled) || temporal.IsCanceledError(err)
}
