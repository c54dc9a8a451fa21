package stack

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func TestTemporalKeepsItsNamespaceOverARestart(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	root, err := filepath.Abs("../..") // where .tools is
	require.NoError(t, err)
	config.Root, config.Persist = root, true
	config.Environ = []string{"PATH=" + os.Getenv("PATH"), "TEMPORAL_CLI=" + os.Getenv("TEMPORAL_CLI"),
		envMongo + "=x", envSMTP + "=x", envIDP + "=x"}
	_, err = config.temporalCLI()
	require.NoError(t, err, "`make test` builds it")
	// A start that was interrupted before the schema was there.
	require.NoError(t, os.WriteFile(config.data("temporal.db"), nil, 0o600))
	for range 2 {
		config.Ports, err = freePorts()
		require.NoError(t, err)
		s, err := newStack(config, watchTest)
		require.NoError(t, err)
		err = s.startEngines(t.Context())
		if err == nil {
			checkNamespace(t, address(config.Ports.Temporal))
		}
		s.stop()
		require.NoError(t, err)
	}
}

func checkNamespace(t *testing.T, addr string) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	namespace, err := workflowservice.NewWorkflowServiceClient(conn).DescribeNamespace(t.Context(),
		&workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, 7*24*time.Hour, namespace.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
	attributes, err := operatorservice.NewOperatorServiceClient(conn).ListSearchAttributes(t.Context(),
		&operatorservice.ListSearchAttributesRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, searchAttributes, attributes.GetCustomAttributes())
}
