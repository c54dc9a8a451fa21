package template

import (
	"errors"
	netmail "net/mail"
	"strings"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A mail is a parsed notify.Email.
type mail struct {
	parts   []*part // those the source has
	hasText bool
	faults  []notify.FieldError // located such as "email.html"
}

// A part is one parsed part of a mail.
type part struct {
	name   string
	nodes  []node
	limit  int  // bytes it may be long when rendered
	size   int  // bytes of its source
	escape bool // it is HTML
	finish func(rendered string) (string, error)
	of     func(*notify.Email) *string
}

// text renders the part.
func (p *part) text(r *run) (string, error) {
	rendered, err := r.render(p)
	if err != nil {
		return "", err
	}
	if rendered, err = p.finish(rendered); err == nil && len(rendered) > p.limit { // U+FFFD is longer than what it replaces
		err = tooLong(p.limit)
	}
	return rendered, err
}

// kinds are the parts a mail can have.
var kinds = []part{
	{name: "subject", limit: notify.MaxSubjectBytes, finish: header,
		of: func(m *notify.Email) *string { return &m.Subject }},
	{name: "html", limit: notify.MaxBodyBytes, finish: body, escape: true,
		of: func(m *notify.Email) *string { return &m.HTML }},
	{name: "text", limit: notify.MaxBodyBytes, finish: body,
		of: func(m *notify.Email) *string { return &m.Text }},
	{name: "from", limit: maxAddressBytes, finish: mailbox,
		of: func(m *notify.Email) *string { return &m.From }},
	{name: "reply_to", limit: maxAddressBytes, finish: mailbox,
		of: func(m *notify.Email) *string { return &m.ReplyTo }},
}

func parseMail(source notify.Email) *mail {
	m := &mail{hasText: source.Text != ""}
	for _, kind := range kinds {
		p := kind
		text := *p.of(&source)
		if text == "" {
			continue
		}
		nodes, err := parse(text)
		if err == nil && !isBody(p.name) {
			err = checkHeader(nodes)
		}
		if err != nil {
			m.faults = append(m.faults, notify.FieldError{Location: "email." + p.name, Message: err.Error()})
			continue
		}
		p.nodes, p.size = nodes, len(text)
		m.parts = append(m.parts, &p)
	}
	return m
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

// body replaces what no mail may hold, NUL and bytes that are not UTF-8, by
// U+FFFD as a browser does (HTML standard, 13.2.3.5).
func body(rendered string) (string, error) {
	valid := strings.ToValidUTF8(rendered, "\uFFFD")
	return strings.ReplaceAll(valid, "\x00", "\uFFFD"), nil
}

func isBody(name string) bool { return name == "html" || name == "text" }
