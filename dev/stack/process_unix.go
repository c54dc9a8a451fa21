//go:build unix && !linux

package stack

import "syscall"

// processAttributes puts a child into a process group of its own.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
