package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, line, lines string }{
		{"plain", "Solaris", "Solaris", "Solaris"},
		{"letters of all kinds", "Солярис 惑星ソラリス 👩‍🚀 é", "Солярис 惑星ソラリス 👩‍🚀 é", "Солярис 惑星ソラリス 👩‍🚀 é"},
		{"escape sequence", "\x1b[2Jgone", `\x1b[2Jgone`, `\x1b[2Jgone`},
		{"bell, backspace, NUL, DEL", "\a\b\x00\x7f", `\a\b\x00\x7f`, `\a\b\x00\x7f`},
		{"C1 control sequence", "\u009b2J", `\u009b2J`, `\u009b2J`},
		{"C1 as a bare byte", "\x9b2J", `\ufffd2J`, `\ufffd2J`},
		{"text turned around", "\u202egpj.exe", `\u202egpj.exe`, `\u202egpj.exe`},
		{"line breaks and tabs", "a\n\tb\r\nc\rd", `a\n\tb\r\nc\rd`, "a\n\tb\nc\\rd"},
		{"line separator", "a\u2028b", `a\u2028b`, `a\u2028b`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.line, printableLine(test.text))
			require.Equal(t, test.lines, printable(test.text))
		})
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b]0;title\a\u009b31m\x9b\u202e\r\n\t")
	f.Fuzz(func(t *testing.T, text string) {
		require.False(t, strings.ContainsFunc(printableLine(text), unicode.IsControl))
		require.True(t, utf8.ValidString(printable(text)))
		require.Equal(t, printable(text), printable(printable(text)))

		encoded, err := json.Marshal(text)
		require.NoError(t, err)
		var before, after string
		require.NoError(t, json.Unmarshal(encoded, &before))
		require.NoError(t, json.Unmarshal([]byte(printableJSON(string(encoded))), &after))
		require.Equal(t, before, after)
	})
}

func TestCellsAreAligned(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a       \\tb  c\nlonger  d\n", aligned([][]string{{"a", "\tb", "c"}, {"longer", "d", ""}}))
}
