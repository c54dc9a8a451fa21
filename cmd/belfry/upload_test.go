package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lines is a recipient list that never ends.
type lines struct{ read int64 }

func (l *lines) Read(p []byte) (int, error) {
	const line = "ann@example.com\n"
	n := 0
	for n+len(line) <= len(p) {
		n += copy(p[n:], line)
	}
	l.read += int64(n)
	return n, nil
}

// put runs audience put against a server over a real connection.
func put(t *testing.T, server *httptest.Server, in io.Reader, args ...string) ran {
	t.Helper()
	var out, complaints strings.Builder
	env := &environment{in: in, out: &out, err: &complaints, http: server.Client()}
	code := execute(t.Context(), append([]string{"audience", "put", "--server", server.URL}, args...), env)
	return ran{code: code, out: out.String(), err: complaints.String()}
}

// Its memory is measured, so it runs alone.
func TestAnUploadOfAnyLengthTakesLittleMemory(t *testing.T) { //nolint:paralleltest // see above
	const size = 256 << 20
	var came, announced int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		announced = r.ContentLength
		came, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, uploadedOne)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "big.csv")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, size))
	for _, test := range []struct {
		args      []string
		announced int64
	}{{[]string{file}, size}, {[]string{"-", "--format", "csv"}, -1}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := put(t, server, io.LimitReader(&lines{}, size), test.args...)
		runtime.ReadMemStats(&after)
		require.Equal(t, 0, got.code, got.err)
		require.EqualValues(t, size, came)
		require.Equal(t, test.announced, announced)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
	}
}

func TestAWrongLineIsToldBeforeAllWasSent(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]int64{"at once": 0, "in the middle": 8 << 20} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, read)
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"detail":"line 17: email: not a mail address","errors":[{"location":"body, line 17","message":"email: not a mail address"}]}`)
		}))
		got := put(t, server, &lines{}, "-", "--format", "csv")
		server.Close()
		require.Equal(t, ran{
			code: exitFailed,
			err:  "belfry: line 17: email: not a mail address (422)\n  body, line 17: email: not a mail address\n",
		}, got, name)
	}
}

func TestAnUploadIsTriedAgainFromTheBeginning(t *testing.T) {
	t.Parallel()
	failing := func(fail http.HandlerFunc) *broadcasting {
		server := &broadcasting{}
		server.onUpload = func(w http.ResponseWriter, r *http.Request) {
			server.onUpload = nil
			_, _ = io.CopyN(io.Discard, r.Body, 5)
			fail(w, r)
		}
		return server
	}
	file := peopleFile(t, "people.csv")
	for _, fail := range []http.HandlerFunc{lose, status(503, "5"), status(429, "")} {
		synctest.Test(t, func(t *testing.T) {
			server := failing(fail)
			got := caller{handler: server}.run(t.Context(), "audience", "put", file)
			require.Equal(t, "a1\n", got.out, got.err)
			require.Equal(t, []string{"text/csv " + people}, server.uploads)
		})
		synctest.Test(t, func(t *testing.T) {
			server := failing(fail)
			got := caller{handler: server, input: people}.run(t.Context(), "audience", "put", "-", "--format", "csv")
			require.Equal(t, exitFailed, got.code, "what was read is gone")
			require.Empty(t, server.uploads)
		})
	}
}

func TestAnUploadThatFailsOnThisSide(t *testing.T) {
	t.Parallel()
	asked := 0
	server := &broadcasting{onUpload: func(_ http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = io.Copy(io.Discard, r.Body)
		lose(nil, nil)
	}}
	missing := filepath.Join(t.TempDir(), "missing.csv")
	got := caller{handler: server}.run(t.Context(), "audience", "put", missing)
	require.Equal(t, ran{code: exitFailed, err: "belfry: read the audience: open " + missing + ": no such file or directory\n"}, got)
	require.Zero(t, asked)
	folder := filepath.Join(t.TempDir(), "folder.csv")
	require.NoError(t, os.Mkdir(folder, 0o700))
	unreadable := httptest.NewServer(server)
	defer unreadable.Close()
	got = put(t, unreadable, nil, folder)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "read the audience: read "+folder+": is a directory")
	got = put(t, unreadable, io.MultiReader(strings.NewReader(people), iotest.ErrReader(errors.New("disk on fire"))), "-", "--format", "csv")
	require.Equal(t, ran{code: exitFailed, err: "belfry: read the audience: disk on fire\n"}, got)
}

func TestAnUploadIsInterrupted(t *testing.T) {
	t.Parallel()
	t.Run("before its end", func(t *testing.T) {
		t.Parallel()
		terminal := endless{make(chan struct{})}
		defer close(terminal.closed)
		ctx, interrupt := context.WithCancel(t.Context())
		began := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		defer server.Close()
		var complaints strings.Builder
		env := &environment{in: io.MultiReader(strings.NewReader(people), terminal), out: io.Discard, err: &complaints, http: server.Client()}
		go func() {
			<-began
			interrupt()
		}()
		require.Equal(t, exitInterrupted, execute(ctx, toAudience("-", "--audience-format", "csv", "--server", server.URL), env))
		require.Contains(t, complaints.String(), "nothing of the audience is kept")
	})
	t.Run("when it is with the server", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, interrupt := context.WithTimeoutCause(t.Context(), time.Minute, context.Canceled)
			defer interrupt()
			server := &broadcasting{onUpload: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				hang(w, r)
			}}
			got := caller{handler: server}.run(ctx, toAudience(peopleFile(t, "people.csv"))...)
			require.Equal(t, exitInterrupted, got.code)
			require.Contains(t, got.err, "all of the audience was uploaded, but Belfry did not say that it is kept")
			require.Empty(t, server.requests)
		})
	})
}

func TestAnUploadThatStandsStillEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got := caller{handler: &broadcasting{onUpload: hang}}.run(t.Context(), "audience", "put", peopleFile(t, "people.csv"))
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.err, "nothing came or went for 10m0s")
		require.Equal(t, uploadStall, time.Since(began))
	})
}

func TestTheProgressOfAnUpload(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "people.csv")
	const size = 20 << 20
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, size))
	slow := func() *broadcasting {
		return &broadcasting{onUpload: func(w http.ResponseWriter, r *http.Request) {
			<-time.After(uploadLook / 2) // a moment at which nobody looks
			for range 20 {               // 1 MiB a second
				_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
				<-time.After(time.Second)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			<-time.After(time.Second)
			_, _ = io.WriteString(w, uploadedOne)
		}}
	}
	run := func(t *testing.T, live bool, args ...string) (text string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			input := strings.Repeat("x", size)
			got := caller{handler: slow(), live: live, input: input}.run(t.Context(), append([]string{"audience", "put"}, args...)...)
			require.Equal(t, 0, got.code, got.err)
			text = got.err
		})
		return text
	}
	live := run(t, true, file)
	require.Contains(t, live, overwrite+noWrap+"uploading [##########----------] 50%, 10.0 MiB of 20.0 MiB, 1.0 MiB/s"+wrap)
	require.Contains(t, live, "uploaded 20.0 MiB, Belfry stores it")
	require.Contains(t, run(t, true, "-", "--format", "csv"), overwrite+noWrap+"uploading 10.0 MiB, 1.0 MiB/s"+wrap)
	plain := run(t, false, file)
	require.Equal(t, 3, strings.Count(plain, "\n"), plain)
	require.Contains(t, plain, "uploading 50%, 10.0 MiB of 20.0 MiB, ")
	require.Empty(t, run(t, false, file, "-o", "json"))
}
