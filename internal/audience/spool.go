package audience

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A Spool holds the recipients of an audience to be in temporary files until
// all have come, and then gives back each of them once. However many there are,
// it takes some 8 MiB of memory, and on disk what they are long and 24 bytes
// each.
//
// Two recipients are taken for the same if 128 bits of the SHA-256 of what
// names them are. Among a billion different ones the odds that any two agree
// are one in 10^20, and to make two agree takes some 2^64 hashes.
type Spool struct {
	file       *os.File
	out        *bufio.Writer
	frame      []byte
	added      uint64
	keys       sorter[record] // by key, for each recipient its number
	duplicates sorter[record] // the numbers of those who came before
	dropped    int
}

// NewSpool makes an empty spool; whoever makes it must close it. Its files are
// in os.TempDir and leave nothing there, even if the process is killed.
func NewSpool() (*Spool, error) {
	file, err := temporary()
	if err != nil {
		return nil, err
	}
	return &Spool{file: file, out: bufio.NewWriterSize(file, 64<<10)}, nil
}

// Close removes the files.
func (s *Spool) Close() error {
	return errors.Join(removeTemporary(s.file), s.keys.close(), s.duplicates.close())
}

// Add takes in a recipient.
func (s *Spool) Add(r notify.Recipient) error {
	s.frame = s.frame[:0]
	for _, field := range []string{r.UserID, r.Email, r.Name} {
		s.frame = appendField(s.frame, field)
	}
	if _, err := s.out.Write(s.frame); err != nil {
		return fmt.Errorf("write recipients: %w", err)
	}
	key := keyOf(r)
	key.number = s.added
	s.added++
	return s.keys.add(key)
}

// keyOf is what two recipients have in common who are the same: the user id, or
// the address whatever its case, as for their deliveries (notify.DeliveryID).
func keyOf(r notify.Recipient) record {
	name := "user/" + r.UserID
	if r.UserID == "" {
		name = "address/" + strings.ToLower(r.Email)
	}
	hash := sha256.Sum256([]byte(name))
	return record{high: binary.BigEndian.Uint64(hash[0:]), low: binary.BigEndian.Uint64(hash[8:])}
}

// Finish says how many are kept when all have been added, and how many are not
// because they came before.
func (s *Spool) Finish() (total, duplicates int, err error) {
	if err := s.out.Flush(); err != nil {
		return 0, 0, fmt.Errorf("write recipients: %w", err)
	}
	var first record
	seen := false
	for r, err := range s.keys.sorted() {
		if err != nil {
			return 0, 0, err
		}
		if seen && r.sameKey(first) {
			s.dropped++
			if err := s.duplicates.add(record{high: r.number}); err != nil {
				return 0, 0, err
			}
			continue
		}
		first, seen = r, true
	}
	return int(s.added) - s.dropped, s.dropped, nil
}

// Pages are the recipients that are kept, in the order in which they came, in
// slices of PageSize. It goes after Finish, and ends with the first error.
func (s *Spool) Pages() iter.Seq2[[]notify.Recipient, error] {
	return func(yield func([]notify.Recipient, error) bool) {
		var page []notify.Recipient
		for recipient, err := range s.kept() {
			if err != nil {
				yield(nil, err)
				return
			}
			if page = append(page, recipient); len(page) == PageSize {
				if !yield(page, nil) {
					return
				}
				page = nil
			}
		}
		if len(page) > 0 {
			yield(page, nil)
		}
	}
}

// kept reads the recipients again, and leaves out the duplicates.
func (s *Spool) kept() iter.Seq2[notify.Recipient, error] {
	return func(yield func(notify.Recipient, error) bool) {
		nextDuplicate, stop := iter.Pull2(s.duplicates.sorted())
		defer stop()
		duplicate, err, more := nextDuplicate()
		in := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, 1<<62), 64<<10)
		for number := range s.added {
			var recipient notify.Recipient
			if err == nil {
				recipient, err = readFrame(in)
			}
			if err != nil {
				yield(notify.Recipient{}, fmt.Errorf("read recipients again: %w", err))
				return
			}
			if more && duplicate.high == number {
				duplicate, err, more = nextDuplicate()
				continue
			}
			if !yield(recipient, nil) {
				return
			}
		}
	}
}

func readFrame(in *bufio.Reader) (notify.Recipient, error) {
	var fields [3]string
	for i := range fields {
		var err error
		if fields[i], err = readField(in); err != nil {
			return notify.Recipient{}, err
		}
	}
	return notify.Recipient{UserID: fields[0], Email: fields[1], Name: fields[2]}, nil
}

// appendField writes a field after its length; readField reads it again, io.EOF
// where there is none.
func appendField(text []byte, field string) []byte {
	return append(binary.AppendUvarint(text, uint64(len(field))), field...)
}

func readField(in *bufio.Reader) (string, error) {
	length, err := binary.ReadUvarint(in)
	if err != nil {
		return "", err
	}
	field := make([]byte, length)
	if _, err = io.ReadFull(in, field); errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return string(field), err
}

// temporary makes a file whose name is gone at once, where the system has that:
// nothing is left of it when the process ends, however it ends.
func temporary() (*os.File, error) {
	file, err := os.CreateTemp("", "belfry-audience-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	_ = os.Remove(file.Name())
	return file, nil
}

// removeTemporary closes such a file, if there is one.
func removeTemporary(file *os.File) error {
	if file == nil {
		return nil
	}
	err := file.Close()
	if gone := os.Remove(file.Name()); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
