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
	runLength   = 1 << 16 // records: 1.5 MiB
	mergeMemory = 4 << 20 // bytes, shared by the runs while they are merged
	leastBuffer = 512     // bytes of a run, however many there are
)

// A record is what is sorted: by key, then by number.
type record struct{ high, low, number uint64 }

func (r record) compare(other record) int {
	return cmp.Or(cmp.Compare(r.high, other.high), cmp.Compare(r.low, other.low), cmp.Compare(r.number, other.number))
}

func (r record) sameKey(other record) bool { return r.high == other.high && r.low == other.low }

const recordBytes = 24

// A sorter sorts any number of records in the same memory: it writes sorted
// runs of them to a temporary file, and merges these (Knuth, volume 3, 5.4).
type sorter struct {
	memory []record // of the run to come
	file   *os.File // runs of runLength records, one after the other; nil while there are none
	runs   int
}

func (s *sorter) add(r record) error {
	if len(s.memory) == runLength {
		if err := s.spill(); err != nil {
			return fmt.Errorf("sort recipients: %w", err)
		}
	}
	s.memory = append(s.memory, r)
	return nil
}

// spill writes the run in memory to the file.
func (s *sorter) spill() (err error) {
	if s.file == nil {
		if s.file, err = temporary(); err != nil {
			return err
		}
	}
	slices.SortFunc(s.memory, record.compare)
	out := bufio.NewWriter(s.file)
	var text [recordBytes]byte
	for _, r := range s.memory {
		binary.LittleEndian.PutUint64(text[0:], r.high)
		binary.LittleEndian.PutUint64(text[8:], r.low)
		binary.LittleEndian.PutUint64(text[16:], r.number)
		_, _ = out.Write(text[:]) // Flush tells of errors
	}
	s.runs++
	s.memory = s.memory[:0]
	return out.Flush()
}

// sorted are all records in order. Nothing may be added meanwhile.
func (s *sorter) sorted() iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		slices.SortFunc(s.memory, record.compare)
		merged := merge{}
		begin := func(r *run) bool {
			more, err := r.next()
			if err != nil {
				yield(record{}, err)
				return false
			}
			if more {
				merged = append(merged, r)
			}
			return true
		}
		if !begin(&run{memory: s.memory}) {
			return
		}
		for i := range s.runs {
			const size = runLength * recordBytes
			section := io.NewSectionReader(s.file, int64(i)*size, size)
			if !begin(&run{file: bufio.NewReaderSize(section, max(mergeMemory/s.runs, leastBuffer))}) {
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
				yield(record{}, err)
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

func (s *sorter) close() error { return removeTemporary(s.file) }

// A run is one sorted part, in memory or in the file.
type run struct {
	head   record
	memory []record
	file   *bufio.Reader
}

// next makes the next record the head, and says whether there is one.
func (r *run) next() (bool, error) {
	if r.file == nil {
		if len(r.memory) == 0 {
			return false, nil
		}
		r.head, r.memory = r.memory[0], r.memory[1:]
		return true, nil
	}
	var text [recordBytes]byte
	if _, err := io.ReadFull(r.file, text[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, fmt.Errorf("merge sorted recipients: %w", err)
	}
	r.head = record{
		high:   binary.LittleEndian.Uint64(text[0:]),
		low:    binary.LittleEndian.Uint64(text[8:]),
		number: binary.LittleEndian.Uint64(text[16:]),
	}
	return true, nil
}

// merge is a heap of runs, the one with the least head on top.
type merge []*run

func (m merge) Len() int           { return len(m) }
func (m merge) Less(i, j int) bool { return m[i].head.compare(m[j].head) < 0 }
func (m merge) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(r any)        { *m = append(*m, r.(*run)) }

func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
