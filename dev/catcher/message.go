package catcher

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"

	"golang.org/x/net/html/charset"
)

// maxParts bounds how many parts of a mail are looked at, nested ones included.
const maxParts = 1000

// A message is a mail taken apart for reading.
type message struct {
	Headers map[string][]string // decoded, by canonical name such as Message-Id
	HTML    string
	Text    string
}

// parse takes a mail apart. It never fails: what cannot be read is shown as it
// came, since a malformed mail is what somebody is here to look at.
func parse(raw []byte) message {
	m := message{Headers: map[string][]string{}}
	parsed, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		m.Text = strings.ToValidUTF8(string(raw), "\uFFFD")
		return m
	}
	for name, values := range parsed.Header {
		for _, value := range values {
			m.Headers[name] = append(m.Headers[name], decode(value))
		}
	}
	parts := maxParts
	m.add(textproto.MIMEHeader(parsed.Header), parsed.Body, &parts)
	return m
}

// add takes the first HTML part and the first text part out of a body.
func (m *message) add(header textproto.MIMEHeader, body io.Reader, parts *int) {
	if *parts--; *parts < 0 {
		return
	}
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		kind, params = "text/plain", nil // RFC 2045, section 5.2
	}
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" {
		reader := multipart.NewReader(body, params["boundary"])
		for {
			part, err := reader.NextRawPart()
			if err != nil {
				return
			}
			m.add(part.Header, part, parts)
		}
	}
	if disposition, _, _ := mime.ParseMediaType(header.Get("Content-Disposition")); disposition == "attachment" {
		return
	}
	switch {
	case kind == "text/html" && m.HTML == "":
		m.HTML = text(header, params["charset"], body)
	case kind == "text/plain" && m.Text == "":
		m.Text = text(header, params["charset"], body)
	}
}

// text decodes a text part, as far as it can be.
func text(header textproto.MIMEHeader, label string, body io.Reader) string {
	switch strings.ToLower(strings.TrimSpace(header.Get("Content-Transfer-Encoding"))) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	decoded, _ := io.ReadAll(body) // a part that breaks off is shown up to there
	if label != "" && !strings.EqualFold(label, "utf-8") && !strings.EqualFold(label, "us-ascii") {
		if reader, err := charset.NewReaderLabel(label, bytes.NewReader(decoded)); err == nil {
			if converted, err := io.ReadAll(reader); err == nil {
				decoded = converted
			}
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(decoded), "\uFFFD"), "\r\n", "\n")
}
