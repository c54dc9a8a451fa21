package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// keyBytes is how long a key is: AES-256.
const keyBytes = 32

// keyID is how a key may be named.
var keyID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Keys are those that payloads are encrypted with: the first one encrypts, all
// of them decrypt. The zero value encrypts nothing.
type Keys struct {
	first string
	byID  map[string]cipher.AEAD
}

// String says which keys there are, and nothing of them.
func (k Keys) String() string { return fmt.Sprintf("%d keys", len(k.byID)) }

// GoString is the same for %#v.
func (k Keys) GoString() string { return k.String() }

// Encrypt says whether there is a key to encrypt with.
func (k Keys) Encrypt() bool { return k.first != "" }

// ParseKeys reads "id1:key1,id0:key0", each key 32 bytes in base64. No text of
// a key is ever in an error.
func ParseKeys(text string) (Keys, error) {
	keys := Keys{byID: map[string]cipher.AEAD{}}
	for i, entry := range strings.Split(text, ",") {
		id, encoded, found := strings.Cut(strings.TrimSpace(entry), ":")
		if !found || !keyID.MatchString(id) {
			return Keys{}, fmt.Errorf("entry %d is not id:key, the id of up to 64 letters, digits, dots, dashes and underscores", i+1)
		}
		if _, twice := keys.byID[id]; twice {
			return Keys{}, fmt.Errorf("entry %d has the id of one before it", i+1)
		}
		aead, err := newAEAD(encoded)
		if err != nil {
			return Keys{}, fmt.Errorf("entry %d: %w", i+1, err)
		}
		keys.byID[id] = aead
		if keys.first == "" {
			keys.first = id
		}
	}
	return keys, nil
}

func newAEAD(encoded string) (cipher.AEAD, error) {
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != keyBytes {
		return nil, errors.New("the key is not 32 bytes in base64, as `openssl rand -base64 32` makes it")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
