package access

import (
	"context"
	"log/slog"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/belfry-notify/belfry/internal/notify"
)

const (
	// keyTTL is for how long a key, or that there is none, is remembered: so
	// long a revoked key may still be let in by another process.
	keyTTL = 2 * time.Second
	// maxKnownKeys bounds how many are remembered.
	maxKnownKeys = 4096
	// lookupTimeout bounds one look-up, which all who ask meanwhile share.
	lookupTimeout = 3 * time.Second
	// maxLookups bounds how many are under way: where the store is slow, whoever
	// comes with other keys is not to pile up.
	maxLookups = 128
	// useInterval is how often at most a process records that a key was used.
	useInterval = time.Minute
	// maxUses bounds how many records wait to be written.
	maxUses = 256
)

// A keyring knows callers by their API keys.
type keyring struct {
	store   KeyStore
	log     *slog.Logger
	now     func() time.Time
	known   *lru.Cache[string, knownKey]
	lookups singleflight.Group
	looking chan struct{}                 // one for each look-up under way
	used    *lru.Cache[string, time.Time] // when a use was last noted
	uses    chan use
}

// A knownKey is what a look-up found; the key is nil where there was none.
type knownKey struct {
	key *Key
	at  time.Time // when it was asked for
}

type use struct {
	id string
	at time.Time
}

func newKeyring(store KeyStore, log *slog.Logger, now func() time.Time) (*keyring, error) {
	known, err := lru.New[string, knownKey](maxKnownKeys)
	if err != nil {
		return nil, err
	}
	used, err := lru.New[string, time.Time](maxKnownKeys)
	return &keyring{store: store, log: log, now: now, known: known, looking: make(chan struct{}, maxLookups), used: used, uses: make(chan use, maxUses)}, err
}

// caller is who has the key. Whether there is a key of that id, or its secret is
// another one, is not told.
func (r *keyring) caller(ctx context.Context, text string) (Caller, error) {
	id, secret, ok := splitKey(text)
	if !ok {
		return Caller{}, unauthorized("the API key is not whole", nil)
	}
	key, err := r.find(ctx, id)
	if err != nil {
		return Caller{}, err
	}
	if key == nil || !key.opens(secret) {
		return Caller{}, unauthorized("there is no such API key, or it was revoked", nil)
	}
	now := r.now()
	if key.ExpiresAt != nil && !now.Before(*key.ExpiresAt) {
		return Caller{}, unauthorized("the API key has expired", nil)
	}
	r.note(id, now)
	return key.caller(), nil
}

// find gives the key with the id, nil where there is none.
func (r *keyring) find(ctx context.Context, id string) (*Key, error) {
	asked := r.now()
	if k, seen := r.known.Get(id); seen && asked.Sub(k.at) < keyTTL {
		return k.key, nil
	}
	done := r.lookups.DoChan(id, func() (any, error) {
		select {
		case r.looking <- struct{}{}:
			defer func() { <-r.looking }()
		default:
			return nil, &notify.Error{Code: notify.CodeUnavailable, Detail: "as many API keys are looked up as may be at a time"}
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		began := r.now()
		key, err := r.store.APIKey(ctx, id)
		if err != nil && notify.CodeOf(err) != notify.CodeNotFound {
			return nil, err
		}
		r.known.Add(id, knownKey{key, began})
		return key, nil
	})
	select {
	case found := <-done:
		key, _ := found.Val.(*Key)
		return key, found.Err
	case <-ctx.Done():
		return nil, &notify.Error{Code: notify.CodeUnavailable, Detail: "look up an API key", Err: ctx.Err()}
	}
}

// note has a use recorded soon, unless one was not long ago. It never waits.
func (r *keyring) note(id string, now time.Time) {
	if last, seen := r.used.Get(id); seen && now.Sub(last) < useInterval {
		return
	}
	select {
	case r.uses <- use{id, now}:
		r.used.Add(id, now)
	default: // too many wait: the next use of the key will do
	}
}

// record writes down the uses that are noted.
func (r *keyring) record(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-r.uses:
			if err := r.store.APIKeyUsed(ctx, u.id, u.at); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "use of an API key not recorded", "key", u.id, "error", err)
			}
		}
	}
}
