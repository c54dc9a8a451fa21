package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lock takes a data folder for this process, or says who has it. The watcher
// inherits it: after a kill of the stack the folder is free again only when
// the watcher has ended the children, which lock waits for.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	deadline := time.Now().Add(8 * time.Second)
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		holder := holder(file)
		alive := holder > 0 && syscall.Kill(holder, 0) == nil
		if !errors.Is(err, syscall.EWOULDBLOCK) || alive || time.Now().After(deadline) {
			_ = file.Close()
			if !errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("lock %s: %w", dir, err)
			}
			return nil, fmt.Errorf("%s is in use by another stack (process %d): stop that one, or choose another folder with --data", dir, holder)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := file.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return file, nil
}

// unlock gives the data folder free, whoever else has inherited the file.
func unlock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
	return errors.Join(err, file.Close())
}

// holder is the process that wrote its number into the lock, 0 if unknown.
func holder(file *os.File) int {
	text := make([]byte, 20)
	n, _ := file.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return 0
	}
	return pid
}
