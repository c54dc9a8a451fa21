package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"go.temporal.io/api/enums/v1"
	namespacev1 "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

// retention is how long ended workflows can be looked at.
const retention = 7 * 24 * time.Hour

// searchAttributes are those that Belfry gives its workflows.
var searchAttributes = map[string]enums.IndexedValueType{
	"BelfryTemplate": enums.INDEXED_VALUE_TYPE_KEYWORD,
	"BelfryChannel":  enums.INDEXED_VALUE_TYPE_KEYWORD_LIST,
	"BelfryTags":     enums.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}

// temporalCLI finds the Temporal CLI.
func (c *Config) temporalCLI() (string, error) {
	if given := environ(c.Environ).get("TEMPORAL_CLI"); given != "" {
		if path, err := exec.LookPath(given); err == nil {
			return filepath.Abs(path)
		}
		return "", fmt.Errorf("TEMPORAL_CLI: %s cannot be run", given)
	}
	if path, err := exec.LookPath("temporal"); err == nil {
		return filepath.Abs(path)
	}
	built := c.path(filepath.Join(".tools", "temporal"))
	if _, err := exec.LookPath(built); err == nil {
		return built, nil
	}
	return "", errors.New("the Temporal CLI is missing: install it (TEMPORAL_CLI can say where), or run make .tools/temporal, which builds it")
}

// startTemporal runs the CLI's dev server, with its namespace as Belfry wants
// it, and returns once it can be used.
func (s *Stack) startTemporal(ctx context.Context) error {
	cli, err := s.config.temporalCLI()
	if err != nil {
		return err
	}
	namespace := s.namespace()
	args := []string{
		"server", "start-dev",
		"--ip", "127.0.0.1", "--port", strconv.Itoa(s.config.Ports.Temporal),
		"--namespace", namespace,
		"--log-level", "warn", "--color", "never",
		"--disable-config-file", "--disable-config-env",
		// Visibility records are written one at a time, as SQLite would have it
		// anyway. Under load those of short workflows are then written once,
		// when they have ended, and no longer twice.
		"--dynamic-config-value", "history.visibilityProcessorSchedulerWorkerCount=1",
		// The kinds of search attributes, which are fixed here, are read once
		// and not three times a workflow.
		"--dynamic-config-value", "system.forceSearchAttributesCacheRefreshOnRead=false",
		// Task queues are not spread: where there are four parts of each, a task
		// now and then waits a second in one while the pollers ask another.
		"--dynamic-config-value", "matching.numTaskqueueReadPartitions=1",
		"--dynamic-config-value", "matching.numTaskqueueWritePartitions=1",
	}
	if s.config.UI {
		args = append(args, "--ui-port", strconv.Itoa(s.config.Ports.TemporalUI))
	} else {
		args = append(args, "--headless")
	}
	for name, kind := range searchAttributes {
		args = append(args, "--search-attribute", name+"="+kind.String())
	}
	db := s.config.data("temporal.db")
	if s.config.Persist {
		if err := dropHalfMade(db); err != nil {
			return err
		}
		// Twice the workflows a second of the defaults.
		args = append(args, "--db-filename", db,
			"--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL")
	}
	cmd := exec.Command(cli, args...)
	cmd.Dir, cmd.Env = s.config.Root, s.env
	if s.temporal, err = s.startChild("Temporal", cmd, s.config.data("logs", "temporal.log")); err != nil {
		return err
	}
	if err := s.untilReady(ctx, s.temporal, func(ctx context.Context) error {
		return setUpNamespace(ctx, address(s.config.Ports.Temporal), namespace)
	}); err != nil {
		return err
	}
	if s.config.Persist {
		return os.WriteFile(db+readySuffix, nil, 0o644)
	}
	return nil
}

// namespace is the one Belfry uses.
func (s *Stack) namespace() string {
	if given := s.env.get("TEMPORAL_NAMESPACE"); given != "" {
		return given
	}
	return "default"
}

// readySuffix ends the name of a file that says that the database beside it
// was made to the end.
const readySuffix = ".ready"

// dropHalfMade removes a database whose making was interrupted: Temporal does
// not start from one.
func dropHalfMade(db string) error {
	if _, err := os.Stat(db + readySuffix); err == nil {
		return nil
	}
	for _, file := range []string{db, db + "-wal", db + "-shm"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("drop a half-made database: %w", err)
		}
	}
	return nil
}

// setUpNamespace gives the namespace its retention and, where the database is
// older than one of them, its search attributes. It succeeds once Temporal
// takes requests.
func setUpNamespace(ctx context.Context, addr, namespace string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to Temporal: %w", err)
	}
	defer conn.Close()
	workflow := workflowservice.NewWorkflowServiceClient(conn)
	now, err := workflow.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("look at namespace %s: %w", namespace, err)
	}
	if now.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() < retention {
		if _, err := workflow.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
			Namespace: namespace,
			Config:    &namespacev1.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(retention)},
		}); err != nil {
			return fmt.Errorf("set the retention of namespace %s: %w", namespace, err)
		}
	}
	operator := operatorservice.NewOperatorServiceClient(conn)
	known, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enums.IndexedValueType{}
	for name, kind := range searchAttributes {
		if _, found := known.GetCustomAttributes()[name]; !found {
			missing[name] = kind
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	}); err != nil {
		return fmt.Errorf("add search attributes: %w", err)
	}
	return nil
}
