package audience

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"unicode/utf8"

	"github.com/belfry-notify/belfry/internal/notify"
)

// CSV reads comma-separated values (RFC 4180) in UTF-8, with or without a byte
// order mark. Its first line names the columns, in any order: user_id, email,
// name. Blank lines are passed over. It ends with the first error: a *LineError
// with the line that the record begins in, or what reading came to.
func CSV(from io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		r := newRecordReader(from)
		columns, _, err := r.read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			columns = slices.Clone(columns)
			err = checkColumns(columns, r.line)
		}
		for err == nil {
			var fields []string
			var number int
			if fields, number, err = r.read(); err != nil {
				break
			}
			line := Line{Number: number}
			for i, column := range columns {
				set(&line.Recipient, column, fields[i])
			}
			if !yield(line, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(Line{}, err)
		}
	}
}

func checkColumns(columns []string, line int) error {
	for i, column := range columns {
		if !set(&notify.Recipient{}, column, "") {
			return &LineError{Line: line, Problem: fmt.Sprintf("the column %.64q is none of user_id, email and name", column)}
		}
		if slices.Contains(columns[:i], column) {
			return &LineError{Line: line, Problem: "the column " + column + " is there twice"}
		}
	}
	if !slices.Contains(columns, "user_id") && !slices.Contains(columns, "email") {
		return &LineError{Line: line, Problem: "there is no column user_id or email"}
	}
	return nil
}

// A recordReader reads records of at most MaxLine bytes.
type recordReader struct {
	records *csv.Reader
	source  *allowance
	line    int // in which the last record began
}

// readAhead is more than encoding/csv holds of what comes after a record.
const readAhead = 8 << 10

func newRecordReader(from io.Reader) *recordReader {
	buffered := bufio.NewReader(from)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	source := &allowance{from: buffered}
	records := csv.NewReader(source)
	records.ReuseRecord = true
	return &recordReader{records: records, source: source}
}

// read reads a record, which is good until the next call, and the line it
// begins in. At the end it is io.EOF.
func (r *recordReader) read() ([]string, int, error) {
	r.source.left = MaxLine + readAhead
	began := r.records.InputOffset()
	fields, err := r.records.Read()
	if errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	r.line++
	if len(fields) > 0 {
		r.line, _ = r.records.FieldPos(0)
	}
	if errors.Is(err, errAllowance) || r.records.InputOffset()-began > MaxLine+int64(len("\r\n")) {
		return nil, 0, tooLong(r.line)
	}
	var malformed *csv.ParseError
	if errors.As(err, &malformed) {
		problem := "not CSV: " + malformed.Err.Error()
		if errors.Is(err, csv.ErrFieldCount) {
			problem = fmt.Sprintf("has %d fields, and the first line has %d", len(fields), r.records.FieldsPerRecord)
		}
		return nil, 0, &LineError{Line: malformed.StartLine, Problem: problem}
	}
	if err != nil {
		return nil, 0, err
	}
	for _, field := range fields {
		if !utf8.ValidString(field) {
			return nil, 0, &LineError{Line: r.line, Problem: "is not UTF-8"}
		}
	}
	return fields, r.line, nil
}

// An allowance bounds what one record may take: a quote that is never closed
// would have all the rest read into memory.
type allowance struct {
	from io.Reader
	left int
}

var errAllowance = errors.New("the record is too long")

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errAllowance
	}
	n, err := a.from.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}
