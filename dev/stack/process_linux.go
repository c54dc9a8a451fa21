package stack

import "syscall"

// processAttributes puts a child into a process group of its own. Linux ends
// it too if the stack is killed before the watcher knows of it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
