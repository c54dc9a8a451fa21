package template

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"

	"github.com/belfry-notify/belfry/internal/notify"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// plainText makes a mail's text part from its HTML, for a mail that has none
// of its own: links keep their address, lists their marks and numbers, tables
// their rows. It reads the HTML once, tag by tag, without building a tree, so
// that its time is that of its input whatever that is. Text past
// notify.MaxBodyBytes is left out.
//
// Libraries were compared on mails and on 1 MiB of hostile HTML.
// k3a/html2text does not know a tag that has attributes, which in mail is most
// of them; jaytaylor/html2text and its fork inbucket/html2text put spaces
// inside words, need a table writer, refuse HTML deeper than 512 elements (as
// does all that parses a tree by x/net/html) and take seconds for some that is
// not.
func plainText(source string) string {
	p := &plain{}
	tokens := html.NewTokenizer(strings.NewReader(source))
	for p.out.Len() < notify.MaxBodyBytes {
		kind := tokens.Next()
		switch kind {
		case html.ErrorToken: // the end: the tokenizer reads everything
			return p.String()
		case html.TextToken:
			p.text(string(tokens.Text()))
		case html.StartTagToken, html.SelfClosingTagToken:
			name, hasAttributes := tokens.TagName()
			tag := atom.Lookup(name)
			var attributes attributes
			if hasAttributes {
				attributes = readAttributes(tokens)
			}
			p.start(tag, attributes)
		case html.EndTagToken:
			name, _ := tokens.TagName()
			p.end(atom.Lookup(name))
		case html.CommentToken, html.DoctypeToken:
		}
	}
	return p.String()
}

// attributes are those that matter for text.
type attributes struct {
	href, alt string
	hidden    bool
}

func readAttributes(tokens *html.Tokenizer) (a attributes) {
	for more := true; more; {
		var key, value []byte
		key, value, more = tokens.TagAttr()
		switch string(key) {
		case "href":
			a.href = address(string(value))
		case "alt":
			a.alt = string(value)
		case "hidden":
			a.hidden = true
		case "style":
			style := bytes.ToLower(bytes.ReplaceAll(value, []byte(" "), nil))
			a.hidden = a.hidden || bytes.Contains(style, []byte("display:none"))
		}
	}
	return a
}

// address is a link's target, empty if it leads nowhere outside the mail.
func address(href string) string {
	href = strings.Join(strings.Fields(href), "")
	lower := strings.ToLower(href[:min(len(href), 16)])
	if strings.HasPrefix(href, "#") || strings.HasPrefix(lower, "javascript:") {
		return ""
	}
	return href
}

// Limits of what is added to a line.
const (
	maxQuoteMarks = 5
	maxIndents    = 5
	maxGap        = 100 // bytes of space kept in pre, about
)

// plain is the text made so far, and what comes before the next word.
type plain struct {
	out    strings.Builder
	breaks int    // line breaks before the next word: 0, 1, or 2 for an empty line
	gap    string // space before the next word on the same line
	mark   string // a list item's, before its first word

	hidden atom.Atom // the element whose inside is not shown
	depth  int       // of elements of its name in it
	pre    int
	quotes int // open now
	quoted int // on the last line
	lists  []list
	href   string // of the link being read
	from   int    // where its text begins
}

// A list is a ul, or an ol with the number of its last item.
type list struct {
	ordered bool
	number  int
}

func (p *plain) String() string {
	return strings.ToValidUTF8(p.out.String()[:min(p.out.Len(), notify.MaxBodyBytes)], "")
}

func (p *plain) start(tag atom.Atom, a attributes) {
	if p.hidden != 0 {
		if tag == p.hidden {
			p.depth++
		}
		return
	}
	if a.hidden && !isVoid(tag) || isUnseen(tag) {
		p.hidden, p.depth = tag, 1
		return
	}
	p.breakLines(p.breaksAround(tag))
	switch tag {
	case atom.A:
		p.endLink()
		p.href, p.from = a.href, p.out.Len()
	case atom.Blockquote:
		p.quotes++
	case atom.Br:
		p.breaks, p.gap = min(p.breaks+1, 2), ""
	case atom.Hr:
		p.text("----------")
		p.breakLines(1)
	case atom.Img:
		p.text(a.alt)
	case atom.Li:
		p.mark = "- "
		if n := len(p.lists); n > 0 && p.lists[n-1].ordered {
			p.lists[n-1].number++
			p.mark = strconv.Itoa(p.lists[n-1].number) + ". "
		}
	case atom.Ol, atom.Ul:
		p.lists = append(p.lists, list{ordered: tag == atom.Ol})
	case atom.Pre:
		p.pre++
	case atom.Td, atom.Th:
		p.gap = "  "
	}
}

func (p *plain) end(tag atom.Atom) {
	if p.hidden != 0 {
		if tag == p.hidden {
			if p.depth--; p.depth == 0 {
				p.hidden = 0
			}
		}
		return
	}
	switch tag {
	case atom.A:
		p.endLink()
	case atom.Blockquote:
		p.quotes = max(p.quotes-1, 0)
	case atom.Ol, atom.Ul:
		p.lists = p.lists[:max(len(p.lists)-1, 0)]
		p.mark = ""
	case atom.Pre:
		p.pre = max(p.pre-1, 0)
	}
	p.breakLines(p.breaksAround(tag))
}

// endLink writes a link's address behind its text, unless that is the text.
func (p *plain) endLink() {
	href, shown := p.href, strings.TrimSpace(p.out.String()[min(p.from, p.out.Len()):])
	p.href = ""
	switch {
	case href == "" || shown == href || "mailto:"+shown == href || "tel:"+shown == href:
	case shown == "":
		p.text(href)
	default:
		p.out.WriteString(" <" + href + ">")
	}
}

func (p *plain) breakLines(n int) {
	if n > 0 {
		p.breaks, p.gap = max(p.breaks, n), ""
	}
}

// text adds text, its space collapsed as a browser does outside of pre.
func (p *plain) text(s string) {
	if p.hidden != 0 {
		return
	}
	for s != "" {
		space := len(s) - len(strings.TrimLeftFunc(s, unicode.IsSpace))
		if space > 0 {
			p.space(s[:space])
			s = s[space:]
			continue
		}
		end := strings.IndexFunc(s, unicode.IsSpace)
		if end < 0 {
			end = len(s)
		}
		p.word(s[:end])
		s = s[end:]
	}
}

func (p *plain) space(s string) {
	switch n := strings.Count(s, "\n"); {
	case p.pre > 0 && n > 0:
		p.breaks, p.gap = min(p.breaks+n, 2), s[strings.LastIndex(s, "\n")+1:]
	case p.pre > 0 && len(p.gap) < maxGap:
		p.gap += s
	case p.gap == "":
		p.gap = " "
	}
}

func (p *plain) word(word string) {
	atStart := p.out.Len() == 0
	if !atStart {
		for i := range p.breaks {
			p.out.WriteByte('\n')
			if i+1 < p.breaks { // an empty line; marked only between two of the quote
				p.out.WriteString(strings.TrimRight(quoteMarks(min(p.quotes, p.quoted)), " "))
			}
		}
	}
	if atStart || p.breaks > 0 {
		p.out.WriteString(quoteMarks(p.quotes))
		p.quoted = p.quotes
		indent := min(len(p.lists), maxIndents)
		if p.mark != "" {
			indent--
		}
		p.out.WriteString(strings.Repeat("  ", max(indent, 0)) + p.mark)
		p.mark = ""
		if p.pre == 0 {
			p.gap = ""
		}
	}
	p.out.WriteString(p.gap + word)
	p.breaks, p.gap = 0, ""
}

func quoteMarks(n int) string { return strings.Repeat("> ", min(n, maxQuoteMarks)) }
