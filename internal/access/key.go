package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A Key is an API key as it is stored: without its secret.
type Key struct {
	ID         string     `json:"id" bson:"_id"`
	Name       string     `json:"name"`
	Scopes     []Scope    `json:"scopes"`
	SecretHash string     `json:"secret_hash"` // SHA-256, hex
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"` // a Caller's ID
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
}

// keyPrefix begins the text of every API key, so that people and scanners for
// secrets know one when they see it.
const keyPrefix = "belfry_"

const (
	secretBytes  = 32
	secretLength = 52 // of it in base32
)

// secretEncoding has letters and digits only, so that a double click selects
// all of a secret.
var secretEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewKey makes a key and its text, belfry_<id>_<secret>, which is shown once:
// nobody can tell it later.
func NewKey(name string, scopes []Scope, createdBy string, now time.Time, expires *time.Time) (*Key, string) {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // it cannot fail: see crypto/rand
	id, secret := uuid.Must(uuid.NewV7()).String(), secretEncoding.EncodeToString(random[:])
	return &Key{
		ID: id, Name: name, Scopes: scopes, SecretHash: hashOf(secret),
		CreatedAt: now, CreatedBy: createdBy, ExpiresAt: expires,
	}, keyPrefix + id + "_" + secret
}

// isKey says whether a bearer is meant to be an API key.
func isKey(bearer string) bool { return strings.HasPrefix(bearer, keyPrefix) }

// splitKey gives the id and the secret of a key's text.
func splitKey(text string) (id, secret string, ok bool) {
	id, secret, ok = strings.Cut(strings.TrimPrefix(text, keyPrefix), "_")
	parsed, err := uuid.Parse(id)
	return id, secret, ok && err == nil && parsed.String() == id && len(secret) == secretLength
}

// opens says whether a secret is the key's.
func (k *Key) opens(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(hashOf(secret)), []byte(k.SecretHash)) == 1
}

// caller is who makes a request with the key.
func (k *Key) caller() Caller {
	c := Caller{ID: "key/" + k.ID, Scopes: k.Scopes}
	if k.ExpiresAt != nil {
		c.Until = *k.ExpiresAt
	}
	return c
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
