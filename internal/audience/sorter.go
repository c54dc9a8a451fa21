package audience

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// What a sorter holds in memory.
const (
	runLength   = 1 << 16 // items: 1.5 MiB of records
	mergeMemory = 4 << 20 // bytes, shared by the runs while they are merged
	leastBuffer = 512     // bytes of a run, however many there are
)

// An item is what is sorted. It is written to a file and read again, io.EOF
// where there is none.
type item[T any] interface {
	compare(T) int
	appendTo([]byte) []byte
	read(*bufio.Reader) (T, error)
}

// A record is an item with a key and a number: it is sorted by the key, then by
// the number.
type record struct{ high, low, number uint64 }

func (r record) compare(other record) int {
	return cmp.Or(cmp.Compare(r.high, other.high), cmp.Compare(r.low, other.low), cmp.Compare(r.number, other.number))
}

func (r record) sameKey(other record) bool { return r.high == other.high && r.low == other.low }

func (r record) appendTo(text []byte) []byte {
	for _, n := range []uint64{r.high, r.low, r.number} {
		text = binary.LittleEndian.AppendUint64(text, n)
	}
	return text
}

func (record) read(in *bufio.Reader) (record, error) {
	var text [24]byte
	if _, err := io.ReadFull(in, text[:]); err != nil {
		return record{}, err
	}
	return record{
		high:   binary.LittleEndian.Uint64(text[0:]),
		low:    binary.LittleEndian.Uint64(text[8:]),
		number: binary.LittleEndian.Uint64(text[16:]),
	}, nil
}

// A sorter sorts any number of items in the same memory: it writes sorted runs
// of them to a temporary file, and merges these (Knuth, volume 3, 5.4).
type sorter[T item[T]] struct {
	memory []T      // of the run to come
	file   *os.File // runs of runLength items, one after the other; nil while there are none
	ends   []int64  // of the runs in the file
}

func (s *sorter[T]) add(r T) error {
	if len(s.memory) == runLength {
		if err := s.spill(); err != nil {
			return fmt.Errorf("sort recipients: %w", err)
		}
	}
	s.memory = append(s.memory, r)
	return nil
}

// spill writes the run in memory to the file.
func (s *sorter[T]) spill() (err error) {
	if s.file == nil {
		if s.file, err = temporary(); err != nil {
			return err
		}
	}
	slices.SortFunc(s.memory, T.compare)
	out := bufio.NewWriter(s.file)
	var text []byte
	end := s.end(len(s.ends))
	for _, r := range s.memory {
		text = r.appendTo(text[:0])
		_, _ = out.Write(text) // Flush tells of errors
		end += int64(len(text))
	}
	s.ends = append(s.ends, end)
	s.memory = s.memory[:0]
	return out.Flush()
}

// end is where the first runs of the file end.
func (s *sorter[T]) end(runs int) int64 {
	if runs == 0 {
		return 0
	}
	return s.ends[runs-1]
}

// sorted are all items in order. Nothing may be added meanwhile.
func (s *sorter[T]) sorted() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		slices.SortFunc(s.memory, T.compare)
		merged := merge[T]{}
		var none T
		begin := func(r *run[T]) bool {
			more, err := r.next()
			if err != nil {
				yield(none, err)
				return false
			}
			if more {
				merged = append(merged, r)
			}
			return true
		}
		if !begin(&run[T]{memory: s.memory}) {
			return
		}
		for i, end := range s.ends {
			section := io.NewSectionReader(s.file, s.end(i), end-s.end(i))
			if !begin(&run[T]{file: bufio.NewReaderSize(section, max(mergeMemory/len(s.ends), leastBuffer))}) {
				return
			}
		}
		heap.Init(&merged)
		for len(merged) > 0 {
			least := merged[0]
			if !yield(least.head, nil) {
				return
			}
			more, err := least.next()
			if err != nil {
				yield(none, err)
				return
			}
			if more {
				heap.Fix(&merged, 0)
			} else {
				heap.Pop(&merged)
			}
		}
	}
}

func (s *sorter[T]) close() error { return removeTemporary(s.file) }

// A run is one sorted part, in memory or in the file.
type run[T item[T]] struct {
	head   T
	memory []T
	file   *bufio.Reader
}

// next makes the next item the head, and says whether there is one.
func (r *run[T]) next() (bool, error) {
	if r.file == nil {
		if len(r.memory) == 0 {
			return false, nil
		}
		r.head, r.memory = r.memory[0], r.memory[1:]
		return true, nil
	}
	head, err := r.head.read(r.file)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("merge what is sorted: %w", err)
	}
	r.head = head
	return true, nil
}

// merge is a heap of runs, the one with the least head on top.
type merge[T item[T]] []*run[T]

func (m merge[T]) Len() int           { return len(m) }
func (m merge[T]) Less(i, j int) bool { return m[i].head.compare(m[j].head) < 0 }
func (m merge[T]) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *merge[T]) Push(r any)        { *m = append(*m, r.(*run[T])) }

func (m *merge[T]) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
