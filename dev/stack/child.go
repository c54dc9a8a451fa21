package stack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A family is the processes the stack started. Each leads a process group of
// its own, so that Ctrl-C in a terminal reaches the stack alone.
type family struct {
	watcher *watcher
	starts  chan func()
}

// newFamily starts the watcher, which holds on to the lock too. command is how
// to run it, that is, Watch.
func newFamily(lock *os.File, command []string) (*family, error) {
	w, err := startWatcher(lock, command)
	if err != nil {
		return nil, err
	}
	f := &family{watcher: w, starts: make(chan func())}
	go func() {
		// Where the system can signal a child when its parent dies, it takes
		// the thread that started it for the parent: keep that one alive.
		runtime.LockOSThread()
		for start := range f.starts {
			start()
		}
	}()
	return f, nil
}

// close tells the watcher that all is well.
func (f *family) close() {
	close(f.starts)
	f.watcher.close()
}

// A child is one process.
type child struct {
	name   string
	cmd    *exec.Cmd
	log    string        // file with its output, empty if that is the terminal
	ended  chan struct{} // closed when it has
	err    error         // valid then
	family *family
}

// start runs a command. Its output goes to a file of that name, the one of
// the run before being kept beside it, or where cmd says if log is empty.
func (f *family) start(name string, cmd *exec.Cmd, log string) (*child, error) {
	if log != "" {
		_ = os.Rename(log, log+".old") // there may be none
		file, err := os.Create(log)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		defer file.Close()
		cmd.Stdout, cmd.Stderr = file, file
	}
	cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	f.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	f.watcher.add(cmd.Process.Pid)
	c := &child{name: name, cmd: cmd, log: log, ended: make(chan struct{}), family: f}
	go func() {
		c.err = cmd.Wait()
		f.watcher.remove(cmd.Process.Pid)
		close(c.ended)
	}()
	return c, nil
}

// signal sends a signal to the child and all it started.
func (c *child) signal(s syscall.Signal) {
	select {
	case <-c.ended:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, s) // it may have just ended
	}
}

// stop asks the child to end, and makes it end after patience.
func (c *child) stop(patience time.Duration) {
	if c == nil {
		return
	}
	c.signal(syscall.SIGTERM)
	select {
	case <-c.ended:
		return
	case <-time.After(patience):
		c.signal(syscall.SIGKILL)
		<-c.ended
	}
}

// ending says how the child ended.
func (c *child) ending() string {
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}
