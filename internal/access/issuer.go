package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/belfry-notify/belfry/internal/notify"
)

const (
	// keysFresh is how often the issuer's keys are read: for so long a key that
	// it has retired may still be taken.
	keysFresh = time.Minute
	// keysStale is for how long they are used while the issuer is away.
	keysStale = time.Hour
	// readPause lies between two reads, whatever unknown keys are asked for.
	readPause = time.Second
	// failPause is how long an issuer that was away is not asked again.
	failPause = 5 * time.Second
	// readTimeout bounds one read.
	readTimeout = 3 * time.Second
	// maxKeySet is how long the list of its keys may be, in bytes.
	maxKeySet = 1 << 20
)

// issuerKeys are the public keys of an issuer as last read. They are read
// regularly, and when a token names one that is not among them: so a new key
// is known at once, and a retired one is gone soon.
type issuerKeys struct {
	cfg   OIDCConfig
	log   *slog.Logger
	now   func() time.Time
	reads singleflight.Group

	mu   sync.Mutex
	good keyRead // the last read that succeeded
	last keyRead // the last one
}

// A keyRead is what came of one look at the issuer.
type keyRead struct {
	began time.Time
	keys  []jose.JSONWebKey
	err   error
}

func newIssuerKeys(cfg OIDCConfig, log *slog.Logger, now func() time.Time) *issuerKeys {
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultClient
	}
	return &issuerKeys{cfg: cfg, log: log, now: now}
}

// find gives the keys with the id, all of them where it is empty. It reads them
// anew where none is known; what it has not found then was not there when the
// caller asked.
func (k *issuerKeys) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	asked := k.now()
	if found := k.known().withID(id); len(found) > 0 {
		return found, nil
	}
	for {
		read, err := k.read(ctx)
		if err != nil {
			return nil, err
		}
		if found := read.withID(id); len(found) > 0 || !read.began.Before(asked) {
			return found, nil
		}
	}
}

// known is the last read that succeeded, empty where that is too long ago.
func (k *issuerKeys) known() keyRead {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Sub(k.good.began) > keysStale {
		return keyRead{}
	}
	return k.good
}

func (r keyRead) withID(id string) (found []jose.JSONWebKey) {
	for _, key := range r.keys {
		if id == "" || key.KeyID == id {
			found = append(found, key)
		}
	}
	return found
}

// read waits for a look at the issuer, which all who want one share.
func (k *issuerKeys) read(ctx context.Context) (keyRead, error) {
	k.mu.Lock()
	last := k.last
	k.mu.Unlock()
	if last.err != nil && k.now().Sub(last.began) < failPause {
		return keyRead{}, last.err
	}
	done := k.reads.DoChan("", func() (any, error) { return k.look(context.WithoutCancel(ctx)), nil })
	select {
	case result := <-done:
		read, _ := result.Val.(keyRead)
		return read, read.err
	case <-ctx.Done():
		return keyRead{}, issuerAway(ctx.Err())
	}
}

// look reads the keys, not sooner than readPause after it last did.
func (k *issuerKeys) look(ctx context.Context) keyRead {
	k.mu.Lock()
	pause := readPause - k.now().Sub(k.last.began)
	k.mu.Unlock()
	if pause > 0 {
		time.Sleep(pause)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	read := keyRead{began: k.now()}
	keys, err := readKeys(ctx, k.cfg)
	if err != nil {
		read.err = issuerAway(err)
	} else {
		read.keys = keys
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil && (k.last.err == nil || k.last.began.IsZero()):
		k.log.WarnContext(ctx, "the OIDC issuer is away", "issuer", k.cfg.Issuer, "error", err)
	case err == nil && k.last.err != nil:
		k.log.InfoContext(ctx, "the OIDC issuer is back", "issuer", k.cfg.Issuer)
	}
	k.last = read
	if err == nil {
		k.good = read
	}
	return read
}

// keepFresh reads the keys regularly.
func (k *issuerKeys) keepFresh(ctx context.Context) {
	for {
		pause := keysFresh
		if _, err := k.read(ctx); err != nil {
			pause = failPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ready says whether the issuer's keys are known, and could be read last time.
func (k *issuerKeys) ready(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last.began.IsZero() {
		return errors.New("its keys were not read yet")
	}
	return k.last.err
}

// readKeys finds out where the issuer's keys are, and reads them. What cannot
// verify a token is left out.
func readKeys(ctx context.Context, cfg OIDCConfig) (keys []jose.JSONWebKey, err error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, cfg.HTTP), cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discover: %w", err)
	}
	var document struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, fmt.Errorf("read the discovery document: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, document.JWKS, nil)
	if err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	request.Header.Set("Cache-Control", "no-cache")
	response, err := cfg.HTTP.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read its keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read its keys: %s answers %s", document.JWKS, response.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxKeySet)).Decode(&set); err != nil {
		return nil, fmt.Errorf("read its keys: %w", err)
	}
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func issuerAway(err error) error {
	return &notify.Error{Code: notify.CodeUnavailable, Detail: "the OIDC issuer is away", Err: err}
}

// A signatureCheck verifies the signature of one token. That its keys could not
// be read is not the token's fault, and kept apart.
type signatureCheck struct {
	keys        *issuerKeys
	unavailable error
}

// VerifySignature gives what was signed by one of the issuer's keys.
func (s *signatureCheck) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	var algorithms []jose.SignatureAlgorithm
	for _, name := range s.keys.cfg.Algorithms {
		algorithms = append(algorithms, jose.SignatureAlgorithm(name))
	}
	signed, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, err
	}
	header := signed.Signatures[0].Header
	keys, err := s.keys.find(ctx, header.KeyID)
	if err != nil {
		s.unavailable = err
		return nil, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := signed.Verify(&key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer has signed the token")
}
