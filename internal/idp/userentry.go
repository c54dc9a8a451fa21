package idp

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	_ "time/tzdata" // time zones are checked on machines without the database too
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/belfry-notify/belfry/internal/idp/idppb"
	"github.com/belfry-notify/belfry/internal/notify"
)

// maxEmailLength is the longest address mail can go to, in bytes: a path of 256
// less its angle brackets (RFC 5321, section 4.5.3.1.3).
const maxEmailLength = 254

// A userEntry is one user in a users file. All but the id may be missing.
type userEntry struct {
	ID, Email, Name, Locale, TimeZone, Phone string
}

// set fills the field of that name in the file.
func (e *userEntry) set(name, value string) error {
	var field *string
	switch name {
	case "id":
		field = &e.ID
	case "email":
		field = &e.Email
	case "name":
		field = &e.Name
	case "locale":
		field = &e.Locale
	case "time_zone":
		field = &e.TimeZone
	case "phone":
		field = &e.Phone
	default:
		return fmt.Errorf("%q: there is no such field", name)
	}
	if *field != "" {
		return fmt.Errorf("%s: is there twice", name)
	}
	*field = value
	return nil
}

// info checks the entry and makes the answer about its user.
func (e *userEntry) info() (*idppb.Info, error) {
	for _, field := range []struct {
		name, value string
		check       func(string) error
	}{
		{"id", e.ID, checkID},
		{"email", e.Email, checkEmail},
		{"name", e.Name, checkName},
		{"locale", e.Locale, checkLocale},
		{"time_zone", e.TimeZone, checkTimeZone},
		{"phone", e.Phone, checkPhone},
	} {
		err := checkText(field.value)
		if err == nil && (field.value != "" || field.name == "id") {
			err = field.check(field.value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.name, err)
		}
	}
	return &idppb.Info{
		Id:       e.ID,
		Email:    e.Email,
		Name:     optional(e.Name),
		Locale:   optional(e.Locale),
		TimeZone: optional(e.TimeZone),
		Phone:    optional(e.Phone),
	}, nil
}

// optional leaves an empty field out of the answer.
func optional(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func checkText(value string) error {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return errors.New("has a control character or is no UTF-8")
	}
	return nil
}

func checkID(value string) error {
	if value == "" {
		return errors.New("is missing")
	}
	return checkLength(value, MaxUserIDLength)
}

func checkName(value string) error { return checkLength(value, notify.MaxNameLength) }

func checkLength(value string, limit int) error {
	if n := utf8.RuneCountInString(value); n > limit {
		return fmt.Errorf("has %d characters, the limit is %d", n, limit)
	}
	return nil
}

// checkEmail wants a bare address, without a name or angle brackets.
func checkEmail(value string) error {
	address, err := mail.ParseAddress(value)
	if err != nil || address.Address != value || len(value) > maxEmailLength {
		return errors.New("is not an address such as ana@example.org")
	}
	return nil
}

func checkLocale(value string) error {
	if _, err := language.Parse(value); err != nil || strings.Contains(value, "_") {
		return fmt.Errorf("%q is not a BCP 47 language tag such as pt-BR", value)
	}
	return nil
}

func checkTimeZone(value string) error {
	if _, err := time.LoadLocation(value); err != nil || value == "Local" {
		return fmt.Errorf("%q is not an IANA time zone such as Europe/Lisbon", value)
	}
	return nil
}

// checkPhone wants a plus sign and up to 15 digits (ITU-T E.164, section 6.1).
func checkPhone(value string) error {
	digits, plus := strings.CutPrefix(value, "+")
	foreign := strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if !plus || foreign || len(digits) < 2 || len(digits) > 15 || digits[0] == '0' {
		return errors.New("is not an E.164 number such as +351210000000")
	}
	return nil
}
