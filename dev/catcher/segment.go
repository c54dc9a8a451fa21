package catcher

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const segmentExtension = ".spool"

// A segment is one file of mails. A mail is a line of JSON (what is known about
// it and the size in bytes of what follows), the mail as it came and a newline.
type segment struct {
	first  uint64 // id of its first mail, in its name
	file   *os.File
	size   int64
	count  int
	buffer []byte
}

// A record is the line before a mail.
type record struct {
	*entry
	Size int `json:"size"`
}

// createSegment makes the file whose first mail will have the id given.
func createSegment(dir string, first uint64) (*segment, error) {
	name := filepath.Join(dir, fmt.Sprintf("mail-%012d%s", first, segmentExtension))
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make a file for mails: %w", err)
	}
	return &segment{first: first, file: file}, nil
}

// openSegment reads what a file holds. A last mail that was not written to its
// end is cut off.
func openSegment(name string) (*segment, []*entry, error) {
	base := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), "mail-"), segmentExtension)
	first, err := strconv.ParseUint(base, 10, 64)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not a file of mails", name)
	}
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open mails: %w", err)
	}
	seg := &segment{first: first, file: file}
	var entries []*entry
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		e, length := readRecord(reader)
		if e == nil {
			break
		}
		e.segment, e.offset = seg, seg.size+length-int64(e.size)-1
		seg.size += length
		entries = append(entries, e)
	}
	seg.count = len(entries)
	if err := file.Truncate(seg.size); err != nil {
		return nil, nil, fmt.Errorf("cut off a half-written mail: %w", err)
	}
	return seg, entries, nil
}

// readRecord reads what is known about the next mail and skips the mail. It
// returns nil where there is no whole one.
func readRecord(reader *bufio.Reader) (e *entry, length int64) {
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return nil, 0
	}
	r := record{entry: &entry{}}
	if err := json.Unmarshal(line, &r); err != nil || r.Size < 0 || r.ID == 0 {
		return nil, 0
	}
	if _, err := reader.Discard(r.Size); err != nil {
		return nil, 0
	}
	if end, err := reader.ReadByte(); err != nil || end != '\n' {
		return nil, 0
	}
	r.size = r.Size
	return r.entry, int64(len(line)) + int64(r.Size) + 1
}

// append writes a mail with one call, so that a kill leaves at most one half.
func (seg *segment) append(e *entry, raw []byte) error {
	line, err := json.Marshal(record{entry: e, Size: len(raw)})
	if err != nil {
		return fmt.Errorf("describe a mail: %w", err)
	}
	seg.buffer = append(append(append(append(seg.buffer[:0], line...), '\n'), raw...), '\n')
	if _, err := seg.file.WriteAt(seg.buffer, seg.size); err != nil {
		return fmt.Errorf("write a mail: %w", err)
	}
	e.segment, e.offset, e.size = seg, seg.size+int64(len(line))+1, len(raw)
	seg.size += int64(len(seg.buffer))
	seg.count++
	if cap(seg.buffer) > 1<<20 {
		seg.buffer = nil
	}
	return nil
}

// read is a mail as it came.
func (seg *segment) read(e *entry) ([]byte, error) {
	raw := make([]byte, e.size)
	if _, err := io.ReadFull(io.NewSectionReader(seg.file, e.offset, int64(e.size)), raw); err != nil {
		return nil, fmt.Errorf("read a mail: %w", err)
	}
	return raw, nil
}

// remove closes and deletes the file.
func (seg *segment) remove() error {
	_ = seg.file.Close() // it is deleted next
	if err := os.Remove(seg.file.Name()); err != nil {
		return fmt.Errorf("drop mails: %w", err)
	}
	return nil
}
