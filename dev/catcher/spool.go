package catcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxSpoolBytes bounds what the mails take on disk together.
const maxSpoolBytes = 4 << 30

// errClosed is what a closed spool answers.
var errClosed = errors.New("the mail catcher is closed")

// A spool keeps mails in files, in the order they came, and an index of them
// in memory. A file holds a quarter of the capacity; to make room the oldest
// file goes as a whole. What append has taken survives a kill of the process.
type spool struct {
	dir         string
	perSegment  int
	maxSegments int

	mu       sync.RWMutex
	segments []*segment // oldest first; the last one is written to
	index    []*entry   // ordered by id
	next     uint64     // the next id
}

// An entry is what is known about a mail without reading it.
type entry struct {
	ID         uint64    `json:"id,string"`
	From       string    `json:"from"`
	To         []string  `json:"to"`
	Subject    string    `json:"subject"`
	MessageID  string    `json:"message_id"`
	ReceivedAt time.Time `json:"received_at"`

	segment *segment
	offset  int64
	size    int
}

// openSpool reads the mails kept in dir, which is made if missing.
func openSpool(dir string, capacity int) (*spool, error) {
	const segments = 4
	s := &spool{dir: dir, perSegment: max(1, capacity/segments), maxSegments: segments, next: 1}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the mails: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "mail-*"+segmentExtension))
	if err != nil {
		return nil, fmt.Errorf("list the mails: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		seg, entries, err := openSegment(name)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.segments = append(s.segments, seg)
		s.index = append(s.index, entries...)
		s.next = seg.first + uint64(len(entries))
	}
	if len(s.segments) == 0 {
		if err := s.roll(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// roll begins a new segment and drops the oldest where there is no room.
// The caller holds mu.
func (s *spool) roll() error {
	seg, err := createSegment(s.dir, s.next)
	if err != nil {
		return err
	}
	s.segments = append(s.segments, seg)
	for len(s.segments) > 1 && (len(s.segments) > s.maxSegments || s.bytes() > maxSpoolBytes) {
		oldest := s.segments[0]
		s.segments = s.segments[1:]
		s.index = slices.Clone(s.index[s.position(s.segments[0].first):])
		if err := oldest.remove(); err != nil {
			return err
		}
	}
	return nil
}

// bytes is what the mails take on disk. The caller holds mu.
func (s *spool) bytes() (sum int64) {
	for _, seg := range s.segments {
		sum += seg.size
	}
	return sum
}

// position is where the first entry with this id or a later one is in the
// index. The caller holds mu.
func (s *spool) position(id uint64) int {
	i, _ := slices.BinarySearchFunc(s.index, id, func(e *entry, id uint64) int {
		switch {
		case e.ID < id:
			return -1
		case e.ID > id:
			return 1
		default:
			return 0
		}
	})
	return i
}

// append keeps a mail.
func (s *spool) append(from string, to []string, raw []byte, at time.Time) error {
	header := scanHeader(raw)
	e := &entry{
		From: strings.Clone(from), To: to,
		Subject: header.subject, MessageID: header.messageID,
		ReceivedAt: at.UTC().Truncate(time.Millisecond),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return errClosed
	}
	last := s.segments[len(s.segments)-1]
	if last.count >= s.perSegment || last.size > maxSpoolBytes/int64(s.maxSegments) {
		if err := s.roll(); err != nil {
			return err
		}
		last = s.segments[len(s.segments)-1]
	}
	e.ID = s.next
	if err := last.append(e, raw); err != nil {
		return err
	}
	s.next++
	s.index = append(s.index, e)
	return nil
}

// list is the entries after an id, oldest first. They must not be changed.
func (s *spool) list(after uint64) []*entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.index[s.position(after+1):])
}

// bounds tells how many mails there are and the ids of the first and last.
func (s *spool) bounds() (count int, first, last uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.index) == 0 {
		return 0, 0, 0
	}
	return len(s.index), s.index[0].ID, s.index[len(s.index)-1].ID
}

// read is one mail as it came; ok is false when there is none with this id.
func (s *spool) read(id uint64) (e *entry, raw []byte, ok bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := s.position(id)
	if i == len(s.index) || s.index[i].ID != id {
		return nil, nil, false, nil
	}
	e = s.index[i]
	raw, err = e.segment.read(e)
	return e, raw, true, err
}

// clear drops all mails. Ids go on counting.
func (s *spool) clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return errClosed
	}
	old := s.segments
	s.segments, s.index = nil, nil
	if old[len(old)-1].first == s.next {
		s.segments, old = old[len(old)-1:], old[:len(old)-1] // it is empty, and has the name a new one would have
	} else if err := s.roll(); err != nil {
		s.segments = old[len(old)-1:]
		return err
	}
	var errs []error
	for _, seg := range old {
		errs = append(errs, seg.remove())
	}
	return errors.Join(errs...)
}

// close closes the files.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, seg := range s.segments {
		errs = append(errs, seg.file.Close())
	}
	s.segments, s.index = nil, nil
	return errors.Join(errs...)
}
