package channel

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// maxAddress is RFC 5321's limit of a path, 256 octets with its brackets
// (section 4.5.3.1.3).
const maxAddress = 254

// parseAddress reads a bare address, local@domain, and gives it with its domain
// as it goes over the wire: international labels as A-labels (RFC 5890). A
// local part may have letters outside ASCII (RFC 6531).
func parseAddress(text string) (*mail.Address, error) {
	if hasLineBreak(text) {
		return nil, errors.New("the address contains a line break or NUL")
	}
	address, err := mail.ParseAddress("<" + text + ">")
	if err != nil {
		return nil, fmt.Errorf("not an address of the form local@domain: %w", err)
	}
	return onTheWire(address)
}

// parseMailbox reads an address with or without a display name: `Name
// <local@domain>`.
func parseMailbox(text string) (*mail.Address, error) {
	if hasLineBreak(text) {
		return nil, errors.New("the address contains a line break or NUL")
	}
	address, err := mail.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("not an address of the form Name <local@domain>: %w", err)
	}
	return onTheWire(address)
}

func onTheWire(address *mail.Address) (*mail.Address, error) {
	local, domain := splitAddress(address.Address)
	domain, err := asciiDomain(domain)
	if err != nil {
		return nil, err
	}
	address.Address = local + "@" + domain
	address.Name = displayName(address.Name)
	if len(address.Address) > maxAddress {
		return nil, fmt.Errorf("the address is longer than %d bytes", maxAddress)
	}
	return address, nil
}

// displayName makes a name fit for a header: without control characters, and
// with single spaces, as folding wants it. In a name that has to be encoded a
// backslash becomes a wide one, since net/mail would write it bare into the
// encoded word, where it may not stand (RFC 2047, section 5.3).
func displayName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	if !isASCII(name) {
		name = strings.ReplaceAll(name, `\`, "\uff3c")
	}
	return name
}

// asciiDomain turns a domain's international labels into A-labels. Domains in
// ASCII, and address literals, stay as they are: whether they exist is the mail
// server's business.
func asciiDomain(domain string) (string, error) {
	if domain == "" || strings.ContainsAny(domain, " \t<>@\"\r\n\x00") {
		return "", errors.New("not a domain name")
	}
	if isASCII(domain) {
		return domain, nil
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("not an international domain name: %w", err)
	}
	return ascii, nil
}

func splitAddress(address string) (local, domain string) {
	at := strings.LastIndexByte(address, '@')
	return address[:at], address[at+1:]
}

// path is the address in angle brackets, quoted where needed, as MAIL and RCPT
// take it.
func path(address *mail.Address) string {
	return (&mail.Address{Address: address.Address}).String()
}

func hasLineBreak(s string) bool { return strings.ContainsAny(s, "\r\n\x00") }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
