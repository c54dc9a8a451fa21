package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The engines are all given, so that exec only runs the command.
var given = []string{
	"TEMPORAL_ADDRESS=127.0.0.1:1", "BELFRY_MONGO_URI=mongodb://127.0.0.1:1/x",
	"BELFRY_SMTP_URL=smtp://127.0.0.1:1", "BELFRY_IDP_ADDR=127.0.0.1:1", "BELFRY_AMQP_URL=amqp://127.0.0.1:1",
}

func TestExecRunsWhatFollowsTheDashes(t *testing.T) {
	t.Parallel()
	stack := filepath.Join(t.TempDir(), "stack")
	out, err := exec.Command("go", "build", "-o", stack, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	for name, test := range map[string]struct {
		args []string
		code int
		out  string
	}{
		"after dashes":      {[]string{"exec", "--", "sh", "-c", "echo $TEMPORAL_ADDRESS; exit 3"}, 3, "127.0.0.1:1\n"},
		"without dashes":    {[]string{"exec", "sh", "-c", "exit 4"}, 4, ""},
		"flags of its own":  {[]string{"exec", "--persist", "--", "echo", "--help", "--", "x"}, 0, "--help -- x\n"},
		"a given RabbitMQ":  {[]string{"exec", "--rabbitmq", "--", "sh", "-c", "echo $BELFRY_AMQP_URL"}, 0, "amqp://127.0.0.1:1\n"},
		"nothing":           {[]string{"exec", "--"}, 1, ""},
		"a missing command": {[]string{"exec", "--", "/none"}, 1, ""},
		"success":           {[]string{"exec", "--", "true"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(stack, test.args...)
			cmd.Env = append(os.Environ(), given...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run() // its exit code is looked at
			require.Equal(t, test.code, cmd.ProcessState.ExitCode(), stderr.String())
			require.Equal(t, test.out, stdout.String())
		})
	}
}
