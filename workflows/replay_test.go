package workflows_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/belfry-notify/belfry/workflows"
)

// TestReplay runs stored histories through the workflows of today: a change
// that would break notifications under way fails here. To store one more:
//
//	temporal workflow show -w notification/<id> -o json > workflows/testdata/<what>.json
func TestReplay(t *testing.T) {
	t.Parallel()
	histories, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, histories)
	for _, path := range histories {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			replayer := worker.NewWorkflowReplayer()
			replayer.RegisterWorkflow(workflows.Notification)
			replayer.RegisterWorkflow(workflows.Partition)
			replayer.RegisterWorkflow(workflows.Redelivery)
			replayer.RegisterWorkflow(workflows.ScheduledRun)
			replayer.RegisterWorkflow(workflows.Backfill)
			quiet := log.NewStructuredLogger(slog.New(slog.DiscardHandler))
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(quiet, path))
		})
	}
}
