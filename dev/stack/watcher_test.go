package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChildrenOfAKilledStackEnd(t *testing.T) {
	t.Parallel()
	pids, data := t.TempDir(), t.TempDir()
	stack := exec.Command(os.Args[0], "stack", data)
	stack.Env = append(os.Environ(), pidsVariable+"="+pids)
	require.NoError(t, stack.Start())
	t.Cleanup(func() { _ = stack.Process.Kill() })
	children := map[string]int{}
	for _, role := range []string{"idp", "sleep", "watch"} {
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(pids, role))
			return err == nil
		}, 30*time.Second, 10*time.Millisecond, "%s did not start", role)
		children[role] = pidOf(t, pids, role)
	}

	require.NoError(t, stack.Process.Kill())
	_ = stack.Wait() // it was killed
	require.Eventually(t, func() bool {
		for _, pid := range children {
			if alive(pid) {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond, "some of %v outlived the stack", children)

	lock, err := lock(data)
	require.NoError(t, err)
	require.NoError(t, unlock(lock))
}

func TestALockIsWaitedForWhileTheWatcherCleansUp(t *testing.T) {
	t.Parallel()
	pids, data := t.TempDir(), t.TempDir()
	stack := exec.Command(os.Args[0], "stack", data)
	stack.Env = append(os.Environ(), pidsVariable+"="+pids)
	require.NoError(t, stack.Start())
	t.Cleanup(func() { _ = stack.Process.Kill() })
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(pids, "sleep"))
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	sleeper := pidOf(t, pids, "sleep")
	_, err := lock(data)
	require.ErrorContains(t, err, "in use by another stack (process "+strconv.Itoa(stack.Process.Pid)+")")

	require.NoError(t, stack.Process.Kill())
	_ = stack.Wait() // it was killed
	file, err := lock(data)
	require.NoError(t, err)
	require.NoError(t, unlock(file))
	require.False(t, alive(sleeper), "the folder was free before the children had ended")
}

func pidOf(t *testing.T, pids, role string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(pids, role))
	require.NoError(t, err)
	pid, err := strconv.Atoi(string(text))
	require.NoError(t, err)
	return pid
}

// alive says whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && len(state) > 0 && state[0] != 'Z'
}
