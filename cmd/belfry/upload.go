package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// audienceFormats are the media types of recipient lists.
var audienceFormats = map[string]string{
	"csv":    "text/csv",
	"ndjson": "application/x-ndjson",
	"jsonl":  "application/x-ndjson",
}

// A recipientList is where the recipients of an audience are read.
type recipientList struct {
	file      string // - is standard input
	mediaType string
}

// newRecipientList takes a list to have the format that a flag of this name
// gives or, where that is empty, the one that the file's name ends in.
func newRecipientList(file, flag, format string) (recipientList, error) {
	mediaType, known := audienceFormats[cmp.Or(format, strings.ToLower(strings.TrimPrefix(filepath.Ext(file), ".")))]
	switch {
	case known:
		return recipientList{file: file, mediaType: mediaType}, nil
	case format != "":
		return recipientList{}, usagef("%s: needs csv or ndjson", flag)
	case file == "-":
		return recipientList{}, usagef("standard input: needs %s csv or ndjson", flag)
	}
	return recipientList{}, usagef("%s: does not end in .csv, .ndjson or .jsonl, so it needs %s csv or ndjson", file, flag)
}

// uploadStall is for how long an upload may stand still: also after its last
// byte, when the server stores what came.
const uploadStall = 10 * time.Minute

var errStalled = fmt.Errorf("nothing came or went for %s", uploadStall)

// uploadLook is how often the progress of an upload is looked at.
const uploadLook = 200 * time.Millisecond

// An upload is one try to have a recipient list stored. It is sent while it is
// read, so that it may be of any length.
type upload struct {
	from  io.ReadCloser
	size  int64 // -1 where nobody knows
	sent  atomic.Int64
	whole atomic.Bool // all of it was read
	stall *time.Timer
}

// An unreadable error says that it was not the server who failed.
type unreadable struct{ err error }

func (u *unreadable) Error() string { return "read the audience: " + u.err.Error() }
func (u *unreadable) Unwrap() error { return u.err }

// upload has the server keep an audience. It is tried again while the server is
// away, where it is a file, which can be read once more.
func (s server) upload(ctx context.Context, env *environment, c *apiClient, list recipientList) (shownAudience, error) {
	var u *upload
	again := func(err error) bool { return isTransient(err) && u.size >= 0 }
	p := s.progress(env)
	got, err := c.insist(ctx, again, func() (got answer, err error) {
		if u, err = openUpload(env, list); err != nil {
			return got, err
		}
		return u.send(ctx, c, list.mediaType, p)
	})
	if err == nil {
		return decodeAudience(got)
	}
	_, away := errors.AsType[*unreachable](err)
	switch {
	case !away && ctx.Err() == nil:
		return shownAudience{}, err
	case u != nil && u.whole.Load():
		return shownAudience{}, fmt.Errorf("%w\nall of the audience was uploaded, but Belfry did not say that it is kept; to upload it again does no harm", err)
	}
	return shownAudience{}, fmt.Errorf("%w\nthe upload broke off: nothing of the audience is kept", err)
}

func openUpload(env *environment, list recipientList) (*upload, error) {
	if list.file == "-" {
		return &upload{from: io.NopCloser(env.in), size: -1}, nil
	}
	file, err := os.Open(list.file)
	if err != nil {
		return nil, &unreadable{err}
	}
	u := &upload{from: file, size: -1}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		u.size = info.Size()
	}
	return u, nil
}

// Read counts.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	u.sent.Add(int64(n))
	u.stall.Reset(uploadStall)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &unreadable{err}
	}
	u.whole.Store(errors.Is(err, io.EOF))
	return n, err
}

// send sends it and shows how far it has come. The server may answer before it
// has all.
func (u *upload) send(ctx context.Context, c *apiClient, mediaType string, p *progress) (answer, error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u.stall = time.AfterFunc(uploadStall, func() { cancel(errStalled) })
	defer u.stall.Stop()
	request, err := c.request(limited, http.MethodPost, "/v1/audiences", u.body(limited))
	if err != nil {
		return answer{}, err
	}
	request.ContentLength = u.size
	request.Header.Set("Content-Type", mediaType)

	var got answer
	done := make(chan struct{})
	go func() {
		defer close(done)
		got, err = c.do(ctx, request)
	}()
	look := time.NewTicker(uploadLook)
	defer look.Stop()
	defer p.clear()
	var pace speed
	for {
		select {
		case <-done:
			return got, ownFault(limited, err)
		case now := <-look.C:
			p.show(u.standing(p.env.live, &pace, now))
		}
	}
}

// ownFault tells what ended an upload on this side from a server that is away.
func ownFault(ctx context.Context, err error) error {
	if wrong, ok := errors.AsType[*unreadable](err); ok {
		return wrong
	}
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return &unreachable{errStalled}
	}
	return err
}

// body is what is uploaded. It ends with ctx, which a read from a terminal does
// not; the HTTP client would wait for that.
func (u *upload) body(ctx context.Context) io.Reader {
	body, pipe := io.Pipe()
	context.AfterFunc(ctx, func() { _ = body.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(pipe, u)
		_ = pipe.CloseWithError(err)
		_ = u.from.Close()
	}()
	return body
}

// barWidth is how many characters wide a progress bar is.
const barWidth = 20

// standing is how far an upload has come, in a line.
func (u *upload) standing(bar bool, pace *speed, now time.Time) string {
	sent := u.sent.Load()
	if u.whole.Load() {
		return "uploaded " + byteSize(sent) + ", Belfry stores it"
	}
	text := "uploading"
	if u.size > 0 {
		part := min(float64(sent)/float64(u.size), 1)
		if bar {
			full := int(part * barWidth)
			text += " [" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "]"
		}
		text += fmt.Sprintf(" %.0f%%, %s of %s", 100*part, byteSize(sent), byteSize(u.size))
	} else {
		text += " " + byteSize(sent)
	}
	if perSecond := pace.at(now, sent); perSecond > 0 {
		text += ", " + byteSize(int64(perSecond)) + "/s"
	}
	return text
}

// byteSize is a number of bytes for a person.
func byteSize(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/(1<<10), "KiB"
	for _, bigger := range []string{"MiB", "GiB", "TiB"} {
		if size < 1<<10 {
			break
		}
		size, unit = size/(1<<10), bigger
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
