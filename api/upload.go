package api

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// How fast an upload must come, however long it is: this much every so long.
const (
	uploadStep  = 32 << 10 // bytes
	uploadStall = 30 * time.Second
)

// How much of a refused upload is read for the sake of clients which listen
// only when they have sent everything.
const (
	drainBytes = 64 << 20
	drainTime  = 10 * time.Second
)

// maxUploads is how many audiences may come at a time: each takes memory for
// what it sorts.
const maxUploads = 16

var errStalled = fmt.Errorf("less than %d KiB came in %s", uploadStep>>10, uploadStall)

// An upload is a body of any length. In place of the server's deadline for all
// of a request, it has one for each step.
type upload struct {
	body        io.Reader
	setDeadline func(time.Time) error
	now         func() time.Time

	left int   // bytes of this step
	err  error // that reading ended with; the connection is not to be touched any more
}

func (u *upload) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	if u.left <= 0 {
		u.left = uploadStep
		_ = u.setDeadline(u.now().Add(uploadStall)) // a connection without deadlines has none to be moved
	}
	n, err := u.body.Read(p)
	u.left -= n
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errStalled
	}
	u.err = err
	return n, err
}

// broke says whether the client went away before the end.
func (u *upload) broke() bool { return u.err != nil && !errors.Is(u.err, io.EOF) }

// drain reads what is left, within limits.
func (u *upload) drain() {
	if u.err == nil {
		_ = u.setDeadline(u.now().Add(drainTime))
		_, _ = io.CopyN(io.Discard, u.body, drainBytes)
	}
}
