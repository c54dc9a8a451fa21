package stack

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// killAfter is how long the watcher lets the children of a killed stack end by
// themselves.
const killAfter = 2 * time.Second

// What the stack writes to the watcher, a line each; the first two with the
// number of a process group.
const (
	wordAdd    = "add"
	wordRemove = "remove"
	wordBye    = "bye"
)

// A watcher is a small process that ends the children when the stack is killed
// and cannot do it itself.
type watcher struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	pipe io.WriteCloser
}

// startWatcher runs command, which calls Watch, in a session of its own.
func startWatcher(lock *os.File, command []string) (*watcher, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{lock} // held until the watcher ends too
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the watcher: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the watcher: %w", err)
	}
	return &watcher{cmd: cmd, pipe: pipe}, nil
}

func (w *watcher) add(pid int)    { w.tell(wordAdd, pid) }
func (w *watcher) remove(pid int) { w.tell(wordRemove, pid) }

func (w *watcher) tell(word string, pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = fmt.Fprintln(w.pipe, word, pid) // fails if it was killed; then there is none
}

// close says goodbye; the watcher ends and leaves all processes alone.
func (w *watcher) close() {
	w.tell(wordBye, 0)
	_ = w.pipe.Close()
	_ = w.cmd.Wait()
}

// Watch is the watcher: it reads which processes there are, and when its input
// ends without a goodbye, ends them and returns.
func Watch(input io.Reader) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	groups := map[int]bool{}
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		var word string
		var pid int
		if _, err := fmt.Sscan(lines.Text(), &word, &pid); err != nil {
			continue
		}
		switch word {
		case wordAdd:
			groups[pid] = true
		case wordRemove:
			delete(groups, pid)
		case wordBye:
			return
		}
	}
	kill(groups, syscall.SIGTERM)
	for deadline := time.Now().Add(killAfter); len(groups) > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		kill(groups, 0)
	}
	kill(groups, syscall.SIGKILL)
}

// kill signals process groups and forgets those that are gone.
func kill(groups map[int]bool, s syscall.Signal) {
	for pid := range groups {
		if syscall.Kill(-pid, s) == syscall.ESRCH {
			delete(groups, pid)
		}
	}
}
