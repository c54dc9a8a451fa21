package template

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A content is what there is to say over one channel: Liquid source, or what it
// renders to.
type content interface {
	notify.Email | notify.InboxContent
}

// A parsed content is made of its parts.
type parsed[C content] struct {
	parts  []*partOf[C]        // those the source has
	faults []notify.FieldError // located such as "email.html"
}

// A partOf is a part of content of one kind.
type partOf[C content] struct {
	part
	of func(*C) *string
}

// A part is one parsed part of a content.
type part struct {
	name    string
	nodes   []node
	limit   int  // bytes it may be long when rendered
	size    int  // bytes of its source
	escape  bool // it is HTML
	oneLine bool
	fixed   bool // where it has no Liquid, it is finished when it is parsed, to find what is wrong
	finish  func(rendered string) (string, error)
}

// text renders the part.
func (p *part) text(r *run) (string, error) {
	rendered, err := r.render(p)
	if err != nil {
		return "", err
	}
	return p.finished(rendered)
}

func (p *part) finished(rendered string) (string, error) {
	rendered, err := p.finish(rendered)
	if err == nil && len(rendered) > p.limit { // U+FFFD is longer than what it replaces
		err = tooLong(p.limit)
	}
	return rendered, err
}

// A kind of content is of a channel, and has these parts.
type kind[C content] struct {
	channel notify.Channel
	parts   []partOf[C]
}

var mails = kind[notify.Email]{notify.ChannelEmail, []partOf[notify.Email]{
	{part{name: "subject", limit: notify.MaxSubjectBytes, finish: header, oneLine: true},
		func(m *notify.Email) *string { return &m.Subject }},
	{part{name: "html", limit: notify.MaxBodyBytes, finish: body, escape: true},
		func(m *notify.Email) *string { return &m.HTML }},
	{part{name: "text", limit: notify.MaxBodyBytes, finish: body},
		func(m *notify.Email) *string { return &m.Text }},
	{part{name: "from", limit: maxAddressBytes, finish: mailbox, oneLine: true, fixed: true},
		func(m *notify.Email) *string { return &m.From }},
	{part{name: "reply_to", limit: maxAddressBytes, finish: mailbox, oneLine: true, fixed: true},
		func(m *notify.Email) *string { return &m.ReplyTo }},
}}

var items = kind[notify.InboxContent]{notify.ChannelInbox, []partOf[notify.InboxContent]{
	{part{name: "title", limit: notify.MaxSubjectBytes, finish: header, oneLine: true},
		func(i *notify.InboxContent) *string { return &i.Title }},
	{part{name: "body", limit: notify.MaxItemBytes, finish: body},
		func(i *notify.InboxContent) *string { return &i.Body }},
	{part{name: "url", limit: notify.MaxURLBytes, finish: link, oneLine: true, fixed: true},
		func(i *notify.InboxContent) *string { return &i.URL }},
}}

// at is the location of a part's faults.
func (k kind[C]) at(name string) string { return string(k.channel) + "." + name }

func (k kind[C]) parse(source C) *parsed[C] {
	c := &parsed[C]{}
	for _, p := range k.parts {
		text := *p.of(&source)
		if text == "" {
			continue
		}
		nodes, err := parse(text)
		if err == nil && p.oneLine {
			err = checkHeader(nodes)
		}
		if err == nil && p.fixed && !slices.ContainsFunc(nodes, isLiquid) {
			_, err = p.finished(text)
		}
		if err != nil {
			c.faults = append(c.faults, notify.FieldError{Location: k.at(p.name), Message: err.Error()})
			continue
		}
		p.nodes, p.size = nodes, len(text)
		c.parts = append(c.parts, &p)
	}
	return c
}

// isLiquid says whether a node may render to something else than it is.
func isLiquid(n node) bool {
	_, fixed := n.(literal)
	return !fixed
}

// render renders all parts, or says what is wrong with each.
func (k kind[C]) render(c *parsed[C], r *run) (rendered C, err error) {
	var none C
	var faults []notify.FieldError
	for _, p := range c.parts {
		text, err := p.text(r)
		if err != nil && r.ctx.Err() != nil && errors.Is(err, r.ctx.Err()) {
			return none, fmt.Errorf("render %s: %w", k.channel, err)
		}
		if err != nil {
			faults = append(faults, notify.FieldError{Location: k.at(p.name), Message: err.Error()})
			if r.fatal != nil {
				break
			}
			continue
		}
		*p.of(&rendered) = text
	}
	if len(faults) > 0 {
		return none, invalid(faults)
	}
	return rendered, nil
}

var errHeader = errors.New("contains a line break or NUL")

// header refuses what would begin another header (RFC 5322, section 2.2).
func header(rendered string) (string, error) {
	if strings.ContainsAny(rendered, "\r\n\x00") {
		return "", errHeader
	}
	return strings.ToValidUTF8(rendered, "\uFFFD"), nil
}

// checkHeader finds line breaks that every rendering would have.
func checkHeader(nodes []node) error {
	for _, n := range nodes {
		if l, ok := n.(literal); ok && strings.ContainsAny(string(l), "\r\n\x00") {
			return errHeader
		}
	}
	return nil
}

var errMailbox = errors.New("not a mail address")

// mailbox refuses what is not one address with or without a name (RFC 5322,
// section 3.4). Nothing but space stands for none.
func mailbox(rendered string) (string, error) {
	rendered, err := header(strings.Trim(rendered, " \t"))
	if err != nil || rendered == "" {
		return "", err
	}
	if _, err := netmail.ParseAddress(rendered); err != nil {
		return "", errMailbox
	}
	return rendered, nil
}

// body replaces what no text may hold, NUL and bytes that are not UTF-8, by
// U+FFFD as a browser does (HTML standard, 13.2.3.5).
func body(rendered string) (string, error) {
	if !utf8.ValidString(rendered) { // a quick look at what is mostly ASCII
		rendered = strings.ToValidUTF8(rendered, "\uFFFD")
	}
	return strings.ReplaceAll(rendered, "\x00", "\uFFFD"), nil
}

var errLink = errors.New("neither an http or https URL nor a path that begins with /")

// link refuses what a client must not follow: another scheme than http and
// https (javascript: above all), and what names another host without one, as
// //host and, to browsers, /\host do (WHATWG URL standard, 4.4). Nothing but
// space stands for none.
func link(rendered string) (string, error) {
	rendered, err := header(strings.Trim(rendered, " \t"))
	if err != nil || rendered == "" {
		return "", err
	}
	if strings.ContainsFunc(rendered, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", errLink
	}
	u, err := url.Parse(rendered)
	switch {
	case err != nil:
		return "", errLink
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(rendered, "/") && !strings.HasPrefix(rendered, "//"):
		return rendered, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "":
		return rendered, nil
	default:
		return "", errLink
	}
}
