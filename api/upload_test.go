package api

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

// newUpload notes how much has come whenever the deadline is set.
func newUpload(body io.Reader) (u *upload, moved *[]int) {
	moved = new([]int)
	start, read := time.Unix(1_700_000_000, 0), 0
	counted := readFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		read += n
		return n, err
	})
	return &upload{body: counted, now: func() time.Time { return start }, setDeadline: func(at time.Time) error {
		*moved = append(*moved, read)
		return nil
	}}, moved
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestTheDeadlineOfAnUploadMovesWithEachStep(t *testing.T) {
	t.Parallel()
	u, moved := newUpload(iotest.OneByteReader(bytes.NewReader(make([]byte, 3*uploadStep-1))))
	n, err := io.Copy(io.Discard, u)
	require.NoError(t, err)
	require.EqualValues(t, 3*uploadStep-1, n)
	require.Equal(t, []int{0, uploadStep, 2 * uploadStep}, *moved, "no sooner, however many reads that takes")
	require.False(t, u.broke())

	_, err = u.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	u.drain()
	require.Len(t, *moved, 3, "after the end the connection is the server's again")
}

func TestAnUploadThatBreaksOffSaysSo(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for want, body := range map[error]io.Reader{
		gone:                iotest.ErrReader(gone),
		errStalled:          iotest.ErrReader(os.ErrDeadlineExceeded),
		io.ErrUnexpectedEOF: iotest.ErrReader(io.ErrUnexpectedEOF),
	} {
		u, moved := newUpload(io.MultiReader(strings.NewReader("x"), body))
		_, err := io.Copy(io.Discard, u)
		require.ErrorIs(t, err, want)
		require.True(t, u.broke())
		_, err = u.Read(make([]byte, 1))
		require.ErrorIs(t, err, want)
		u.drain()
		require.Len(t, *moved, 1)
	}
}

func TestARefusedUploadIsReadWithinLimits(t *testing.T) {
	t.Parallel()
	left := &io.LimitedReader{R: zeros{}, N: 2 * drainBytes}
	u, moved := newUpload(left)
	u.drain()
	require.EqualValues(t, drainBytes, left.N)
	require.Len(t, *moved, 1)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
