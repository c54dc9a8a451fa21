package template

import (
	"html"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// onText is a filter of text without arguments.
func onText(f func(string) any) filter {
	return filter{0, 0, func(_ *run, in any, _ []any) (any, error) { return f(toText(in)), nil }}
}

func join(a, b string) (any, error) {
	if len(a)+len(b) > maxValueBytes {
		return nil, errValue
	}
	return a + b, nil
}

// capitalize changes the first letter only, so that names keep their form.
func capitalize(s string) any {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(first)) + s[size:]
}

// escape makes markup, so that it is not escaped again in an HTML part.
func escape(s string) any { return markup(html.EscapeString(s)) }

func escapeOnce(s string) any { return markup(html.EscapeString(html.UnescapeString(s))) }

// newlineToBr makes markup; in an HTML part the text is escaped before.
func newlineToBr(r *run, in any, _ []any) (any, error) {
	text := toText(in)
	if _, ok := in.(markup); !ok && r.escape {
		text = html.EscapeString(text)
	}
	return markup(lineBreaks.Replace(text)), nil
}

var (
	lineBreaks = strings.NewReplacer("\r\n", "<br />\n", "\n", "<br />\n")
	newlines   = strings.NewReplacer("\r\n", "", "\n", "")
)

// replacing is replace, and remove where there is one argument.
func replacing(n int) func(*run, any, []any) (any, error) {
	return func(_ *run, in any, args []any) (any, error) {
		text, old, replacement := toText(in), toText(args[0]), ""
		if len(args) > 1 {
			replacement = toText(args[1])
		}
		count := strings.Count(text, old)
		if n >= 0 {
			count = min(count, n)
		}
		if len(text)+count*(len(replacement)-len(old)) > maxValueBytes {
			return nil, errValue
		}
		return strings.Replace(text, old, replacement, n), nil
	}
}

func lstrip(s string) any { return strings.TrimLeftFunc(s, unicode.IsSpace) }

func rstrip(s string) any { return strings.TrimRightFunc(s, unicode.IsSpace) }

// stripHTML takes out tags, comments, scripts and styles. It is for showing
// text, not for making foreign HTML safe.
func stripHTML(s string) any {
	var out strings.Builder
	unclosed := map[string]bool{} // ends that do not come any more, not to be looked for again
	for {
		before, rest, found := strings.Cut(s, "<")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		end := endOf(rest)
		i := -1
		if !unclosed[end] {
			i = indexFold(rest, end)
			unclosed[end] = i < 0
		}
		if i < 0 {
			end = ">"
			i = strings.Index(rest, end)
		}
		if i < 0 {
			out.WriteString("<" + rest)
			return out.String()
		}
		s = rest[i+len(end):]
	}
}

// endOf is what ends the tag, comment, script or style that rest begins.
func endOf(rest string) string {
	switch {
	case strings.HasPrefix(rest, "!--"):
		return "-->"
	case hasFoldedPrefix(rest, "script"):
		return "</script>"
	case hasFoldedPrefix(rest, "style"):
		return "</style>"
	}
	return ">"
}

func hasFoldedPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// indexFold is where an end mark begins, in either case.
func indexFold(s, end string) int {
	for from := 0; ; from++ {
		i := strings.IndexByte(s[from:], end[0])
		if i < 0 {
			return -1
		}
		if from += i; hasFoldedPrefix(s[from:], end) {
			return from
		}
	}
}

// truncate keeps a number of characters, the ellipsis among them.
func truncate(_ *run, in any, args []any) (any, error) {
	text, length, ellipsis, err := truncation(in, args, 50)
	if err != nil || utf8.RuneCountInString(text) <= length {
		return text, err
	}
	keep := max(length-utf8.RuneCountInString(ellipsis), 0)
	for i := range text {
		if keep == 0 {
			return text[:i] + ellipsis, nil
		}
		keep--
	}
	return text, nil
}

// truncateWords keeps a number of words.
func truncateWords(_ *run, in any, args []any) (any, error) {
	text, length, ellipsis, err := truncation(in, args, 15)
	words := strings.Fields(text)
	if err != nil || len(words) <= length {
		return text, err
	}
	return strings.Join(words[:length], " ") + ellipsis, nil
}

func truncation(in any, args []any, length int) (string, int, string, error) {
	text, ellipsis := toText(in), "..."
	if len(args) > 0 {
		n, err := wholeNumber(args[0])
		if err != nil {
			return text, 0, "", err
		}
		length = max(n, 0)
	}
	if len(args) > 1 {
		ellipsis = toText(args[1])
	}
	return text, length, ellipsis, nil
}

func urlEncode(s string) any { return url.QueryEscape(s) }

func urlDecode(_ *run, in any, _ []any) (any, error) { return url.QueryUnescape(toText(in)) }

func split(_ *run, in any, args []any) (any, error) {
	text, separator := toText(in), toText(args[0])
	if len(text)+strings.Count(text, separator)*elementBytes > maxValueBytes {
		return nil, errValue
	}
	parts := strings.Split(text, separator)
	if separator == " " { // any space, as in Ruby
		parts = strings.Fields(text)
	}
	for len(parts) > 0 && parts[len(parts)-1] == "" { // as in Ruby
		parts = parts[:len(parts)-1]
	}
	items := make([]any, len(parts))
	for i, part := range parts {
		items[i] = part
	}
	return items, nil
}

// slice is a part of text or of a list: from an index, from the end if it is
// negative, 1 long or as told.
func slice(r *run, in any, args []any) (any, error) {
	start, err := wholeNumber(args[0])
	length := 1
	if err == nil && len(args) > 1 {
		length, err = wholeNumber(args[1])
	}
	if err != nil {
		return nil, err
	}
	if items, ok := in.([]any); ok {
		from, to := window(len(items), start, length)
		return items[from:to], nil
	}
	runes := []rune(toText(in))
	from, to := window(len(runes), start, length)
	return string(runes[from:to]), nil
}

func window(n, start, length int) (from, to int) {
	if start < 0 {
		start += n
	}
	from = min(max(start, 0), n)
	return from, from + min(max(length, 0), n-from)
}
