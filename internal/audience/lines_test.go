package audience_test

import (
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/audience"
	"github.com/belfry-notify/belfry/internal/notify"
)

// all reads lines until their end or the first error.
func all(lines iter.Seq2[audience.Line, error]) ([]audience.Line, error) {
	var read []audience.Line
	for line, err := range lines {
		if err != nil {
			return read, err
		}
		read = append(read, line)
	}
	return read, nil
}

func line(number int, userID, email, name string) audience.Line {
	return audience.Line{Number: number, Recipient: notify.Recipient{UserID: userID, Email: email, Name: name}}
}

func TestNDJSON(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", audience.MaxLine-len(`{"name":""}`))
	tests := []struct {
		name, text string
		want       []audience.Line
		wrong      string // how the error begins
	}{
		{"nothing", "", nil, ""},
		{"blank lines", "\n \r\n\t\n", nil, ""},
		{"a line without an end", `{"user_id":"u"}`, []audience.Line{line(1, "u", "", "")}, ""},
		{"lines", "{\"email\":\"a@b.c\",\"name\":\"A\"}\r\n\n { \"user_id\" : \"ü\" } \n{}\n", []audience.Line{line(1, "", "a@b.c", "A"), line(3, "ü", "", ""), line(4, "", "", "")}, ""},
		{"escapes", `{"\u006eame":"\u00fc\n"}`, []audience.Line{line(1, "", "", "ü\n")}, ""},
		{"the longest line", `{"name":"` + long + "\"}\r\n{}", []audience.Line{line(1, "", "", long), line(2, "", "", "")}, ""},
		{"a longer line", `{"name":"` + long + "x\"}\n{}", nil, "line 1: is longer than 65536 bytes"},
		{"a line without end", "{}\n" + strings.Repeat(" ", 1<<20), []audience.Line{line(1, "", "", "")}, "line 2: is longer than 65536 bytes"},
		{"unknown field", "{}\n{\"Email\":\"a@b.c\"}", []audience.Line{line(1, "", "", "")}, `line 2: unknown field "Email"`},
		{"unknown field, not a string", `{"x":[1]}`, nil, `line 1: unknown field "x"`},
		{"a long unknown field", `{"` + strings.Repeat("x", 999) + `":1}`, nil, `line 1: unknown field "` + strings.Repeat("x", 64) + `"`},
		{"repeated key", `{"email":"a@b.c","email":"a@b.c"}`, nil, `line 1: repeated key "email"`},
		{"null", `{"email":null}`, nil, "line 1: email is not a string"},
		{"a number", `{"user_id":17}`, nil, "line 1: user_id is not a string"},
		{"an object in it", `{"name":{}}`, nil, "line 1: name is not a string"},
		{"no object", `"a@b.c"`, nil, "line 1: is not a JSON object"},
		{"an array", `[{"user_id":"u"}]`, nil, "line 1: is not a JSON object"},
		{"two objects", `{} {}`, nil, "line 1: there is more after the JSON object"},
		{"a comma after it", `{},`, nil, "line 1: there is more after the JSON object"},
		{"over two lines", "{\"name\":\n\"A\"}", nil, "line 1: not JSON: "},
		{"no JSON", "\n\nann@example.com", nil, "line 3: not JSON: "},
		{"not UTF-8", "{\"name\":\"\xff\"}", nil, "line 1: not JSON: "},
		{"a byte order mark", "\ufeff{}", nil, "line 1: not JSON: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, from := range []io.Reader{strings.NewReader(test.text), iotest.OneByteReader(strings.NewReader(test.text))} {
				got, err := all(audience.NDJSON(from))
				require.Equal(t, test.want, got)
				requireWrong(t, test.wrong, err)
			}
		})
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       []audience.Line
		wrong      string
	}{
		{"nothing", "", nil, ""},
		{"a mark of nothing", "\ufeff", nil, ""},
		{"a header", "email,name\r\n", nil, ""},
		{"users", "user_id\nu\n\"v,\"\"w\"\n", []audience.Line{line(2, "u", "", ""), line(3, `v,"w`, "", "")}, ""},
		{"any order, a mark, no last line end", "\ufeffname,email\r\n\r\nÄnn,a@b.c\r\n,d@e.f", []audience.Line{line(3, "", "a@b.c", "Änn"), line(4, "", "d@e.f", "")}, ""},
		{"users and addresses", "user_id,email\nu,\n,a@b.c\n", []audience.Line{line(2, "u", "", ""), line(3, "", "a@b.c", "")}, ""},
		{"a record over two lines", "email,name\na@b.c,\"A\nB\"\nd@e.f,D\n", []audience.Line{line(2, "", "a@b.c", "A\nB"), line(4, "", "d@e.f", "D")}, ""},
		{"the longest line", "user_id\n" + strings.Repeat("x", audience.MaxLine) + "\r\ny\n", []audience.Line{line(2, strings.Repeat("x", audience.MaxLine), "", ""), line(3, "y", "", "")}, ""},
		{"a longer line", "user_id\nu\n" + strings.Repeat("x", audience.MaxLine+3), []audience.Line{line(2, "u", "", "")}, "line 3: is longer than 65536 bytes"},
		{"a line without end", "user_id\nu\n" + strings.Repeat("x", 1<<20), []audience.Line{line(2, "u", "", "")}, "line 3: is longer than 65536 bytes"},
		{"a quote that is not closed", "user_id\nu\n\"" + strings.Repeat("x\n", 1<<19), []audience.Line{line(2, "u", "", "")}, "line 3: is longer than 65536 bytes"},
		{"a quote that is not closed, shortly", "user_id\nu\n\"x\ny\n", []audience.Line{line(2, "u", "", "")}, `line 3: not CSV: extraneous or missing "`},
		{"a quote in a field", "user_id\nu\"\n", nil, `line 2: not CSV: bare "`},
		{"an unknown column", "email,country\n", nil, `line 1: the column "country" is none of user_id, email and name`},
		{"a column in another case", "Email\n", nil, `line 1: the column "Email" is none of`},
		{"no header", "\nann@example.com\n", nil, `line 2: the column "ann@example.com" is none of`},
		{"a column twice", "email,name,email\n", nil, "line 1: the column email is there twice"},
		{"names only", "name\nAnn\n", nil, "line 1: there is no column user_id or email"},
		{"too few fields", "email,name\na@b.c\n", nil, "line 2: has 1 fields, and the first line has 2"},
		{"too many fields", "email\na@b.c,Ann\n", nil, "line 2: has 2 fields, and the first line has 1"},
		{"not UTF-8", "email,name\na@b.c,J\xf6rg\n", nil, "line 2: is not UTF-8"},
		{"not UTF-8 in the header", "email,n\xe4me\n", nil, "line 1: is not UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, from := range []io.Reader{strings.NewReader(test.text), iotest.OneByteReader(strings.NewReader(test.text))} {
				got, err := all(audience.CSV(from))
				require.Equal(t, test.want, got)
				requireWrong(t, test.wrong, err)
			}
		})
	}
}

func requireWrong(t *testing.T, want string, err error) {
	t.Helper()
	if want == "" {
		require.NoError(t, err)
		return
	}
	var wrong *audience.LineError
	require.ErrorAs(t, err, &wrong)
	require.True(t, strings.HasPrefix(err.Error(), want), err)
}

func TestWhatReadingCameToIsPassedOn(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for name, lines := range map[string]iter.Seq2[audience.Line, error]{
		"NDJSON":            audience.NDJSON(io.MultiReader(strings.NewReader("{}\n{"), iotest.ErrReader(gone))),
		"CSV":               audience.CSV(io.MultiReader(strings.NewReader("email\na@b.c\nd@"), iotest.ErrReader(gone))),
		"CSV in the header": audience.CSV(iotest.ErrReader(gone)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := all(lines)
			require.ErrorIs(t, err, gone)
		})
	}
}

func TestALineWithoutEndIsNotReadOn(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]func(io.Reader) iter.Seq2[audience.Line, error]{"NDJSON": audience.NDJSON, "CSV": audience.CSV} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const much = 1 << 30
			endless := &io.LimitedReader{R: newlines{}, N: much}
			if name == "NDJSON" {
				endless.R = zeros{}
			}
			_, err := all(format(io.MultiReader(strings.NewReader("\""), endless)))
			requireWrong(t, "line 1: is longer than 65536 bytes", err)
			require.Less(t, much-endless.N, int64(2*audience.MaxLine))
		})
	}
}

type (
	newlines struct{}
	zeros    struct{}
)

func (newlines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// FuzzNDJSON reads any body: what is taken is read the same when it is written
// anew, what is refused names a line that is there.
func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{
		"{\"email\":\"a@b.c\",\"name\":\"A\"}\n{\"user_id\":\"u\"}", `{"email":"a","email":"b"}`, "{}\r\n\r\n[", `{"x":1}`, "{\"name\":\"\xff\"}", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		requireSame(t, audience.NDJSON, text, writeNDJSON)
	})
}

// FuzzCSV does the same for CSV.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"email,name\na@b.c,A\n", "\ufeffuser_id\r\nu\r\n", "name,user_id,email\n\"a\nb\",,\n", "email\n\"", "a,b\n", "email\na,b\n", "email\n\xff\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		requireSame(t, audience.CSV, text, writeCSV)
	})
}
