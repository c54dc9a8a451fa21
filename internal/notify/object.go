package notify

import (
	"bytes"
	"encoding/json"
)

// An Object is the text of a JSON object that Belfry passes on without looking
// inside, so that numbers keep all their digits and keys may hold any
// character. Empty stands for {}.
type Object string

// MarshalJSON writes the object as it is.
func (o Object) MarshalJSON() ([]byte, error) {
	if o == "" {
		return []byte("{}"), nil
	}
	return []byte(o), nil
}

// UnmarshalJSON keeps the object's text without insignificant space.
func (o *Object) UnmarshalJSON(text []byte) error {
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return err
	}
	if s := compact.String(); s != "{}" && s != "null" {
		*o = Object(s)
	} else {
		*o = ""
	}
	return nil
}
