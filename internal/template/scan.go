package template

import "strings"

type tokenKind int

const (
	textToken   tokenKind = iota
	outputToken           // {{ body }}
	tagToken              // {% name body %}
)

// A token is a piece of a template's source.
type token struct {
	kind tokenKind
	line int    // where it begins, from 1
	name string // of a tag
	body string // the text, the output's expression, or the tag's arguments
}

// scanner cuts a source into tokens. The library's own scanner is not used: it
// takes {{ that is not closed, or not closed on the same line, for text, so
// that raw Liquid would be mailed.
type scanner struct {
	source string
	pos    int
	line   int  // of pos
	trim   bool // the last tag ended with -, so space after it goes
	tags   int
	tokens []token
}

func scan(source string) ([]token, error) {
	s := &scanner{source: source, line: 1}
	for s.pos < len(source) {
		open := s.pos + indexOpen(source[s.pos:])
		rest := source[open:]
		s.text(source[s.pos:open], strings.HasPrefix(rest, "{{-") || strings.HasPrefix(rest, "{%-"))
		s.move(open)
		if rest == "" {
			break
		}
		if err := s.markup(); err != nil {
			return nil, err
		}
	}
	return s.tokens, nil
}

// indexOpen is where the next {{ or {% begins, or the length of s.
func indexOpen(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '{')
		if i < 0 || from+i+1 >= len(s) {
			return len(s)
		}
		from += i
		if s[from+1] == '{' || s[from+1] == '%' {
			return from
		}
		from++
	}
}

// move counts the lines up to pos.
func (s *scanner) move(pos int) {
	s.line += strings.Count(s.source[s.pos:pos], "\n")
	s.pos = pos
}

func (s *scanner) text(text string, trimRight bool) {
	if s.trim {
		text = strings.TrimLeft(text, " \t\r\n\f\v")
	}
	if trimRight {
		text = strings.TrimRight(text, " \t\r\n\f\v")
	}
	s.trim = false
	if text != "" {
		s.tokens = append(s.tokens, token{kind: textToken, line: s.line, body: text})
	}
}

// markup takes the output or tag at pos.
func (s *scanner) markup() error {
	if s.tags++; s.tags > maxTags {
		return faultf(s.line, "more than %d tags and outputs", maxTags)
	}
	open, closing := s.source[s.pos:s.pos+2], "}}"
	if open == "{%" {
		closing = "%}"
	}
	inner, _, closed := strings.Cut(s.source[s.pos+2:], closing)
	if !closed {
		return faultf(s.line, "%s is not closed with %s", open, closing)
	}
	end := s.pos + 2 + len(inner) + 2
	body, _ := strings.CutPrefix(inner, "-")
	body, s.trim = strings.CutSuffix(body, "-")
	t := token{kind: outputToken, line: s.line, body: strings.TrimSpace(body)}
	s.move(end)
	if open == "{{" {
		s.tokens = append(s.tokens, t)
		return nil
	}
	return s.tag(t)
}

// tag takes the tag whose inside is t.body and that ends at pos.
func (s *scanner) tag(t token) error {
	if strings.HasPrefix(t.body, "#") { // an inline comment
		return nil
	}
	t.kind = tagToken
	t.name, t.body = cutName(t.body)
	switch t.name {
	case "":
		return faultf(t.line, "a tag without a name")
	case "raw", "comment":
		return s.verbatim(t)
	}
	s.tokens = append(s.tokens, t)
	return nil
}

// verbatim takes everything up to the tag that ends t. Liquid inside is not
// looked at.
func (s *scanner) verbatim(t token) error {
	for from := s.pos; ; {
		closing := strings.Index(s.source[from:], "%}")
		if closing < 0 {
			return faultf(t.line, "%q is not closed with %q", t.name, "end"+t.name)
		}
		closing += from
		open := strings.LastIndex(s.source[from:closing], "{%")
		if open < 0 {
			from = closing + 2
			continue
		}
		open += from
		body, _ := strings.CutPrefix(s.source[open+2:closing], "-")
		body, trim := strings.CutSuffix(body, "-")
		if strings.TrimSpace(body) != "end"+t.name {
			from = closing + 2
			continue
		}
		if t.name == "raw" && open > s.pos {
			s.tokens = append(s.tokens, token{kind: textToken, line: s.line, body: s.source[s.pos:open]})
		}
		s.move(closing + 2)
		s.trim = trim
		return nil
	}
}

// cutName parts a tag's name from its arguments.
func cutName(s string) (name, rest string) {
	end := strings.IndexFunc(s, func(c rune) bool {
		return c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimSpace(s[end:])
}
