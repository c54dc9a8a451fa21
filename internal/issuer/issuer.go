// Package issuer is a local OIDC issuer, for the local stack and for tests: it
// has a discovery document, signing keys that rotate, and tokens for the sample
// users, which it gives to whoever asks. Nothing else may ever trust it.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// rsaBits is the size of RSA keys (RFC 7518, section 3.3: 2048 or more).
const rsaBits = 2048

// Claims are what a token says.
type Claims map[string]any

// An Issuer signs tokens. It is safe for concurrent use.
type Issuer struct {
	url string
	now func() time.Time

	mu   sync.Mutex
	keys []jose.JSONWebKey // private; the first one signs
	made int
}

// New makes an issuer whose tokens name it by its address.
func New(url string, now func() time.Time) (*Issuer, error) {
	i := &Issuer{url: url, now: now}
	return i, i.Rotate()
}

// URL is what its tokens name as their issuer.
func (i *Issuer) URL() string { return i.url }

// Rotate has the issuer sign with a new key, of the other kind each time (RS256,
// ES256). The key before is still published, so that its tokens hold, and the
// one before that no longer: it is retired.
func (i *Issuer) Rotate() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := jose.JSONWebKey{KeyID: uuid.NewString(), Use: "sig", Algorithm: string(jose.RS256)}
	var err error
	if i.made%2 == 0 {
		key.Key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	} else {
		key.Algorithm = string(jose.ES256)
		key.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	i.made++
	i.keys = append([]jose.JSONWebKey{key}, i.keys[:min(1, len(i.keys))]...)
	return nil
}

// published are the public keys that verify its tokens.
func (i *Issuer) published() jose.JSONWebKeySet {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, key := range i.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	return set
}

// Token signs claims, on top of those that every token of the issuer has: iss,
// iat, nbf and exp, an hour later. A claim that is nil is left out.
func (i *Issuer) Token(claims Claims) (string, error) {
	i.mu.Lock()
	key := i.keys[0]
	i.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	now := i.now()
	all := Claims{"iss": i.url, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lifetime).Unix()}
	for name, value := range claims {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return jwt.Signed(signer).Claims(map[string]any(all)).Serialize()
}
