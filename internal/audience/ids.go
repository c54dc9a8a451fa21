package audience

import (
	"bufio"
	"iter"
	"strings"
)

// IDs sorts user ids in the same memory however many there are: some 10 MiB
// where they are UUIDs, and on disk what they are long. The zero value is empty;
// whoever adds to it must close it.
type IDs struct{ all sorter[idItem] }

// Add takes in an id.
func (s *IDs) Add(id string) error { return s.all.add(idItem(id)) }

// Sorted are the ids by their bytes, each once. Nothing may be added meanwhile.
// It ends with the first error.
func (s *IDs) Sorted() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var last idItem
		begun := false
		for id, err := range s.all.sorted() {
			if err == nil && begun && id == last {
				continue
			}
			if !yield(string(id), err) {
				return
			}
			last, begun = id, true
		}
	}
}

// Close removes what is on disk.
func (s *IDs) Close() error { return s.all.close() }

// An idItem is an id to be sorted.
type idItem string

func (i idItem) compare(other idItem) int { return strings.Compare(string(i), string(other)) }

func (i idItem) appendTo(text []byte) []byte { return appendField(text, string(i)) }

func (idItem) read(in *bufio.Reader) (idItem, error) {
	id, err := readField(in)
	return idItem(id), err
}
