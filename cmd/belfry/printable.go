package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What others wrote, such as a mail's subject or a server's words, could move
// the cursor, hide text or give a terminal orders. Such characters are printed
// as Go writes them, \x1b for example.

// printable makes a text of many lines safe to print: line breaks and tabs
// stay.
func printable(text string) string {
	return escape(strings.ReplaceAll(text, "\r\n", "\n"), "\n\t", quoteRune)
}

// printableLine makes a text safe to print within a line.
func printableLine(text string) string { return escape(text, "", quoteRune) }

// printableJSON makes JSON safe to print and leaves its meaning as it is: only
// strings can hold hidden characters, and there an escape means the same.
func printableJSON(text string) string {
	return escape(text, "\n", func(r rune) string { return fmt.Sprintf(`\u%04x`, r) })
}

// escape writes hidden characters but those to keep, and bytes that are no
// UTF-8, with quote.
func escape(text, keep string, quote func(rune) string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && size == 1 || isHidden(r) && !strings.ContainsRune(keep, r) {
			b.WriteString(quote(r))
		} else {
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}

// isHidden says whether a character is a control character (C0, DEL or C1) or
// changes the direction or the lines of what follows it.
func isHidden(r rune) bool {
	return unicode.IsControl(r) ||
		r == '\u2028' || r == '\u2029' || // line and paragraph separators
		r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' // embeddings, overrides, isolates
}

func quoteRune(r rune) string { return strings.Trim(strconv.QuoteRuneToASCII(r), "'") }
