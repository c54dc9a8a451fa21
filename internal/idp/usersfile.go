package idp

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxUsersFileBytes keeps a wrong path from filling the memory.
	maxUsersFileBytes = 64 << 20
	// reloadInterval is how often at most the file is looked at for changes.
	reloadInterval = time.Second
)

// A usersFile holds the users of a file, as it was when last read well.
type usersFile struct {
	path string
	log  *slog.Logger
	now  func() time.Time
	last atomic.Pointer[directory]

	mu      sync.Mutex  // held by the one request that looks at the file
	checked time.Time   // when that was last done
	seen    os.FileInfo // of the version last read, well or not; nil when there was none
}

// Users are those of a users file, as it is now.
type Users struct{ file *usersFile }

// OpenUsers reads a users file, which is read again when it has changed.
func OpenUsers(path string) (*Users, error) {
	file, err := openUsersFile(path, slog.New(slog.DiscardHandler), time.Now)
	return &Users{file}, err
}

// Has says whether there is a user of that id.
func (u *Users) Has(id string) bool { return u.file.current().byID[id] != nil }

// openUsersFile reads the file for the first time.
func openUsersFile(path string, log *slog.Logger, now func() time.Time) (*usersFile, error) {
	f := &usersFile{path: path, log: log, now: now, checked: now()}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the users file: %w", err)
	}
	f.seen = info
	users, err := readUsers(path)
	if err != nil {
		return nil, err
	}
	f.last.Store(users)
	return f, nil
}

// current is the users now. While one request reads a changed file, the others
// get the users read before.
func (f *usersFile) current() *directory {
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if now := f.now(); now.Sub(f.checked) >= reloadInterval {
			f.checked = now
			f.reload()
		}
	}
	return f.last.Load()
}

// reload reads the file if it is not the version last read. A version that is
// wrong is reported once.
func (f *usersFile) reload() {
	info, err := os.Stat(f.path)
	before := f.seen
	f.seen = info // nil with an error
	if (info == nil && before == nil) || sameVersion(info, before) {
		return
	}
	var users *directory
	if err == nil {
		users, err = readUsers(f.path)
	}
	if err != nil {
		f.log.Error("users file not reloaded, the users read before stay", "error", err)
		return
	}
	f.last.Store(users)
	f.log.Info("users file reloaded", "users", len(users.sorted))
}

func sameVersion(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func readUsers(path string) (*directory, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the users file: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxUsersFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the users file: %w", err)
	}
	if len(text) > maxUsersFileBytes {
		return nil, fmt.Errorf("users file %s: larger than %d MiB", path, maxUsersFileBytes>>20)
	}
	users, err := parseUsers(path, text)
	if err != nil {
		return nil, fmt.Errorf("users file %s: %w", path, err)
	}
	return users, nil
}
