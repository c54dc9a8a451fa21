package channel

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"sync"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A letter is a message ready for the wire.
type letter struct {
	sender, recipient string // in angle brackets
	utf8              bool   // needs SMTPUTF8
	content           []byte // dot-stuffed, with the final dot
	dot               int    // index of the final dot in content
	size              int    // octets before dot-stuffing (RFC 1870)
	room              *bytes.Buffer
}

// rooms are buffers that letters are written into, used again and again.
var rooms = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxRoom is how large a room may be that is kept.
const maxRoom = 64 << 10

// free gives back the letter's room, when the letter is not needed any more.
func (l *letter) free() {
	if l.room.Cap() <= maxRoom {
		l.room.Reset()
		rooms.Put(l.room)
	}
	l.room, l.content = nil, nil
}

// A contentError is why a message cannot be sent at all.
type contentError struct {
	reason notify.Reason
	field  string
	err    error
}

func (e *contentError) Error() string { return e.field + ": " + e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

// unsendable is the outcome of a message that compose refused.
func unsendable(err error) notify.Outcome {
	o := notify.Outcome{
		Kind:   notify.OutcomePermanent,
		Reason: notify.ReasonBadContent,
		Detail: capDetail(err.Error()),
	}
	var e *contentError
	if errors.As(err, &e) {
		o.Reason = e.reason
	}
	return o
}

// compose makes the letter of a message: the same message, the same bytes. Its
// errors are contentErrors.
func (s *SMTP) compose(m notify.Message) (*letter, error) {
	parties, err := s.parties(m)
	if err != nil {
		return nil, err
	}
	if hasLineBreak(m.Email.Subject) {
		return nil, &contentError{notify.ReasonBadContent, "subject", errors.New("contains a line break or NUL")}
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary(boundary(m.DeliveryID)))
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834, section 5
	msg.SetMessageIDWithValue(m.DeliveryID + "@" + s.config.MessageIDDomain)
	msg.SetDateWithValue(m.Date.UTC())
	msg.SetGenHeader(gomail.HeaderSubject, encodeSubject(m.Email.Subject))
	msg.FromMailAddress(parties.from)
	msg.ToMailAddress(parties.to)
	if parties.replyTo != nil {
		msg.ReplyToMailAddress(parties.replyTo)
	}
	setBody(msg, m)

	room := rooms.Get().(*bytes.Buffer)
	room.Grow(1024 + len(m.Email.Text) + len(m.Email.HTML) + (len(m.Email.Text)+len(m.Email.HTML))/8)
	if _, err := msg.WriteTo(room); err != nil {
		return nil, &contentError{notify.ReasonBadContent, "message", err}
	}
	l := &letter{
		room:      room,
		sender:    path(parties.sender),
		recipient: path(parties.to),
		utf8:      parties.beyondASCII(),
	}
	l.finish(room.Bytes())
	return l, nil
}

func boundary(deliveryID string) string { return "=_" + deliveryID }

// setBody makes text and HTML alternatives, text first (RFC 2046, section
// 5.1.4), or one part if there is one only.
//
// The boundary begins with "=_", which no quoted-printable line can contain, so
// no content can fake it (RFC 2045, section 6.7). It has to stand in quotes
// then, which go-mail does not write: hence a Content-Type of our own.
func setBody(msg *gomail.Msg, m notify.Message) {
	switch {
	case m.Email.Text == "":
		msg.SetBodyString(gomail.TypeTextHTML, m.Email.HTML)
	case m.Email.HTML == "":
		msg.SetBodyString(gomail.TypeTextPlain, m.Email.Text)
	default:
		msg.SetGenHeader(gomail.HeaderContentType,
			fmt.Sprintf(`multipart/alternative; boundary="%s"`, boundary(m.DeliveryID)))
		msg.SetBodyString(gomail.TypeTextPlain, m.Email.Text)
		msg.AddAlternativeString(gomail.TypeTextHTML, m.Email.HTML)
	}
}

// finish takes the message as rendered, in CRLF lines, and adds what the DATA
// command wants: a second dot before each line that begins with one, and the
// final dot (RFC 5321, sections 4.5.2 and 4.1.1.4).
func (l *letter) finish(content []byte) {
	if !bytes.HasSuffix(content, []byte("\r\n")) {
		content = append(content, "\r\n"...)
	}
	l.size = len(content)
	if bytes.Contains(content, []byte("\r\n.")) {
		content = bytes.ReplaceAll(content, []byte("\r\n."), []byte("\r\n.."))
	}
	l.dot = len(content)
	content = append(content, ".\r\n"...)
	l.content = content
}

// parties are the addresses of a message.
type parties struct {
	from, to, sender *mail.Address
	replyTo          *mail.Address // nil when there is none
}

// parties checks the addresses of a message. The envelope sender is the
// configured one, else the address the message is from.
func (s *SMTP) parties(m notify.Message) (*parties, error) {
	p := &parties{from: s.from, sender: s.sender}
	var err error
	if hasLineBreak(m.Name) {
		return nil, &contentError{notify.ReasonBadAddress, "name", errors.New("contains a line break or NUL")}
	}
	if p.to, err = parseAddress(m.Address); err != nil {
		return nil, &contentError{notify.ReasonBadAddress, "address", err}
	}
	p.to.Name = displayName(m.Name)
	if m.Email.From != "" {
		if p.from, err = parseMailbox(m.Email.From); err != nil {
			return nil, &contentError{notify.ReasonBadContent, "from", err}
		}
	}
	if m.Email.ReplyTo != "" {
		if p.replyTo, err = parseMailbox(m.Email.ReplyTo); err != nil {
			return nil, &contentError{notify.ReasonBadContent, "reply_to", err}
		}
	}
	if p.sender == nil {
		p.sender = p.from
	}
	return p, nil
}

func (p *parties) beyondASCII() bool {
	return !isASCII(p.to.Address) || !isASCII(p.from.Address) || !isASCII(p.sender.Address) ||
		p.replyTo != nil && !isASCII(p.replyTo.Address)
}

// maxWord is the longest word that a header line may safely hold unencoded: a
// line has 998 octets at most (RFC 5322, section 2.1.1).
const maxWord = 900

// encodeSubject encodes what neither go-mail nor folding would bring through as
// it is: text that looks like an encoded word, spaces at an edge or in a row,
// and words longer than a line. go-mail does the rest.
func encodeSubject(subject string) string {
	long := false
	for word := range strings.SplitSeq(subject, " ") {
		long = long || len(word) > maxWord
	}
	if !long && !strings.Contains(subject, "=?") && !strings.Contains(subject, "  ") &&
		strings.TrimSpace(subject) == subject {
		return subject
	}
	return encodedWords(subject)
}

// encodedWords writes text as encoded words (RFC 2047) of whole characters.
func encodedWords(text string) string {
	const room = 45 // bytes in an encoded word of 75 characters
	var words []string
	for text != "" {
		n := min(room, len(text))
		for n < len(text) && n > room-utf8.UTFMax && !utf8.RuneStart(text[n]) {
			n--
		}
		words = append(words, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(text[:n]))+"?=")
		text = text[n:]
	}
	return strings.Join(words, " ")
}
