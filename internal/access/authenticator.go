package access

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-notify/belfry/internal/notify"
)

// A Config says who is let in. The zero value lets in anyone.
type Config struct {
	Keys bool        // who has an API key
	OIDC *OIDCConfig // who has a token of this issuer; nil: no tokens
}

// Nobody says whether nobody is asked who they are.
func (c Config) Nobody() bool { return !c.Keys && c.OIDC == nil }

// A KeyStore keeps API keys.
type KeyStore interface {
	// APIKey reads a key; notify.CodeNotFound when there is none.
	APIKey(ctx context.Context, id string) (*Key, error)
	// APIKeyUsed records when a key was used last.
	APIKeyUsed(ctx context.Context, id string, at time.Time) error
}

// An Authenticator finds out who calls. It is safe for concurrent use. The zero
// value lets in anyone.
type Authenticator struct {
	keys   *keyring
	tokens *tokens
}

// ErrNoBearer is why a request is refused that has no bearer at all.
var ErrNoBearer = errors.New("no bearer")

// New makes one. Keys is asked where the configuration lets in API keys. It
// asks nobody yet: an issuer that is away keeps nothing from starting.
func New(cfg Config, keys KeyStore, log *slog.Logger, now func() time.Time) (a *Authenticator, err error) {
	a = &Authenticator{}
	if cfg.Keys {
		if a.keys, err = newKeyring(keys, log, now); err != nil {
			return nil, err
		}
	}
	if cfg.OIDC != nil {
		a.tokens, err = newTokens(*cfg.OIDC, log, now)
	}
	return a, err
}

// Authenticate says who calls with a bearer, which is an API key or a token. The
// error is notify.CodeUnauthorized where that is nobody Belfry lets in, and
// notify.CodeUnavailable where it cannot be found out now.
func (a *Authenticator) Authenticate(ctx context.Context, bearer string) (Caller, error) {
	switch {
	case a.keys == nil && a.tokens == nil:
		return Anyone, nil
	case bearer == "":
		return Caller{}, unauthorized("the request needs an API key or a token, as Authorization: Bearer", ErrNoBearer)
	case isKey(bearer):
		if a.keys == nil {
			return Caller{}, unauthorized("API keys are not let in here", nil)
		}
		return a.keys.caller(ctx, bearer)
	case a.tokens == nil:
		return Caller{}, unauthorized("this is no API key, and tokens are not let in here", nil)
	}
	return a.tokens.caller(ctx, bearer)
}

// Forget has the next request with a key look it up again, where this process
// has it revoked. Other processes learn it within keyTTL.
func (a *Authenticator) Forget(keyID string) {
	if a.keys != nil {
		a.keys.known.Remove(keyID)
	}
}

// Issuer says whether the keys of the tokens' issuer are known; nil where there
// is no issuer.
func (a *Authenticator) Issuer() func(context.Context) error {
	if a.tokens == nil {
		return nil
	}
	return a.tokens.issuer.ready
}

// Run keeps the issuer's keys fresh and records when API keys are used, until
// ctx ends. Without it an Authenticator works too, but reads the issuer's keys
// only when it meets one that it does not know.
func (a *Authenticator) Run(ctx context.Context) error {
	run, ctx := errgroup.WithContext(ctx)
	if a.keys != nil {
		run.Go(func() error { a.keys.record(ctx); return nil })
	}
	if a.tokens != nil {
		run.Go(func() error { a.tokens.issuer.keepFresh(ctx); return nil })
	}
	return run.Wait()
}

func unauthorized(detail string, why error) error {
	return &notify.Error{Code: notify.CodeUnauthorized, Detail: detail, Err: why}
}
