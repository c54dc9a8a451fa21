package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"google.golang.org/protobuf/types/known/durationpb"
)

// dialTemporal connects to a namespace of the test's server.
func dialTemporal(t *testing.T, namespace string) client.Client {
	t.Helper()
	options, err := envconfig.LoadDefaultClientOptions()
	require.NoError(t, err)
	if namespace != "" {
		options.Namespace = namespace
	}
	c, err := client.Dial(options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// newNamespace makes a namespace of one test, so that no other one's workers
// take its work.
func newNamespace(t *testing.T) string {
	t.Helper()
	c := dialTemporal(t, "")
	name := "e2e-" + uuid.NewString()
	_, err := c.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace:                        name,
		WorkflowExecutionRetentionPeriod: durationpb.New(7 * 24 * time.Hour),
	})
	require.NoError(t, err)
	eventually(t, func() bool { // the server's cache of namespaces comes to know it
		_, err := c.WorkflowService().CountWorkflowExecutions(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Namespace: name})
		var missing *serviceerror.NamespaceNotFound
		return err == nil || !errors.As(err, &missing)
	}, patience, 50*time.Millisecond)
	return name
}

// resetToStart has a workflow that ended run again from its first task.
func resetToStart(t *testing.T, c client.Client, namespace, id string) error {
	t.Helper()
	_, err := c.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		WorkflowExecution:         &common.WorkflowExecution{WorkflowId: id},
		Reason:                    "test",
		WorkflowTaskFinishEventId: 4,
		RequestId:                 uuid.NewString(),
		Namespace:                 namespace,
	})
	return err
}
