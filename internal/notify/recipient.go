package notify

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"
)

// Lengths of a recipient's fields in characters.
const (
	maxUserID = 256
	maxEmail  = 320
)

// Faults says what is wrong with a recipient, but for its length: each with the
// field as its location, which is empty for what is wrong with the whole.
func (r Recipient) Faults() []FieldError {
	var faults []FieldError
	add := func(field, message string, value any) {
		faults = append(faults, FieldError{Location: field, Message: message, Value: value})
	}
	if (r.UserID == "") == (r.Email == "") {
		add("", "needs exactly one of user_id and email", nil)
	}
	if hasControl(r.UserID) {
		add("user_id", "must not hold control characters", nil)
	}
	if r.Email != "" {
		if err := checkAddress(r.Email); err != nil {
			add("email", err.Error(), r.Email)
		}
	}
	if hasControl(r.Name) {
		add("name", "must not hold control characters", nil)
	}
	if r.Name != "" && r.UserID != "" {
		add("name", "goes with email; a user's name comes from the idp", nil)
	}
	return faults
}

// Fault is the first thing that is wrong with a recipient, its lengths
// included; nil where it is right.
func (r Recipient) Fault() *FieldError {
	for _, field := range []struct {
		name, value string
		most        int
	}{{"user_id", r.UserID, maxUserID}, {"email", r.Email, maxEmail}, {"name", r.Name, MaxNameLength}} {
		if utf8.RuneCountInString(field.value) > field.most {
			return &FieldError{Location: field.name, Message: fmt.Sprintf("is longer than %d characters", field.most)}
		}
	}
	if faults := r.Faults(); faults != nil {
		return &faults[0]
	}
	return nil
}

// Key is the same for recipients who are told once if both are named.
func (r Recipient) Key() Recipient {
	return Recipient{UserID: r.UserID, Email: strings.ToLower(r.Email)}
}

// checkAddress says why a text is not a bare mail address (RFC 5322,
// addr-spec; lengths of RFC 5321, section 4.5.3.1).
func checkAddress(address string) error {
	if hasControl(address) {
		return errors.New("must not hold control characters")
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil {
		return errors.New("not a mail address")
	}
	if parsed.Address != address {
		return errors.New("not a bare mail address: a name goes into the field name")
	}
	at := strings.LastIndexByte(address, '@')
	if at > 64 {
		return errors.New("the part before the @ is over 64 bytes long")
	}
	if domain := address[at+1:]; len(domain) > 255 || strings.HasPrefix(domain, ".") || strings.HasSuffix(domain, ".") {
		return errors.New("the part after the @ is not a domain")
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
