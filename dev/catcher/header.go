package catcher

import (
	"bytes"
	"mime"
	"strings"

	"golang.org/x/net/html/charset"
)

// A header is what the list shows of a mail's header.
type header struct {
	subject   string // decoded
	messageID string // without angle brackets
}

// words decodes RFC 2047 encoded words in any charset a browser knows.
var words = mime.WordDecoder{CharsetReader: charset.NewReaderLabel}

// scanHeader reads the two fields without parsing the rest of the mail: it
// runs for every mail, thousands of times a second.
func scanHeader(raw []byte) (h header) {
	for len(raw) > 0 {
		line := raw
		if end := bytes.IndexByte(raw, '\n'); end >= 0 {
			line, raw = raw[:end+1], raw[end+1:]
		} else {
			raw = nil
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return h // the body begins
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			continue
		}
		switch {
		case h.subject == "" && bytes.EqualFold(name, []byte("Subject")):
			h.subject = decode(unfold(value, raw))
		case h.messageID == "" && bytes.EqualFold(name, []byte("Message-ID")):
			h.messageID = strings.Trim(unfold(value, raw), "<>")
		}
	}
	return h
}

// unfold is a field's value with the lines that continue it (RFC 5322,
// section 2.2.3), taken from what follows it.
func unfold(value, rest []byte) string {
	var b strings.Builder
	b.Write(bytes.TrimRight(value, "\r\n"))
	for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		b.Write(bytes.TrimRight(line, "\r"))
		rest = after
	}
	return strings.TrimSpace(b.String())
}

// decode is a field's value for reading; as it is where it is malformed.
func decode(value string) string {
	if !strings.Contains(value, "=?") {
		return strings.ToValidUTF8(value, "\uFFFD")
	}
	decoded, err := words.DecodeHeader(value)
	if err != nil {
		return strings.ToValidUTF8(value, "\uFFFD")
	}
	return decoded
}
