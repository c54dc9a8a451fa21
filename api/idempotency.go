package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

// decide finds what was decided when a request came first under this key. If
// that is now, it is as proposed, with the template's version of now. Many may
// ask at once: the insert of the key decides.
func (s *Server) decide(ctx context.Context, key string, r *notificationRequest, proposed *notify.IdempotencyKey) (decided *notify.IdempotencyKey, replayed bool, err error) {
	if proposed.RequestHash, err = hash(r); err != nil {
		return nil, false, err
	}
	proposed.ID = keyID(access.From(ctx).ID, key)
	decided, err = s.Store.Key(ctx, proposed.ID)
	if notify.CodeOf(err) == notify.CodeNotFound {
		if err = s.checkNow(r); err != nil {
			return nil, false, err
		}
		if proposed.Template, err = s.intake.Pin(ctx, r.Template); err != nil {
			return nil, false, err
		}
		err = s.Store.InsertKey(ctx, proposed)
		if err == nil {
			return proposed, false, nil
		}
		if notify.CodeOf(err) == notify.CodeConflict {
			decided, err = s.Store.Key(ctx, proposed.ID)
		}
	}
	if err != nil {
		return nil, false, err
	}
	if decided.RequestHash != proposed.RequestHash {
		return nil, false, &notify.Error{
			Code:   notify.CodeIdempotencyConflict,
			Detail: fmt.Sprintf("notification %s was accepted under this Idempotency-Key with another request", decided.NotificationID),
		}
	}
	// If the answer to our own insert was lost, the driver inserted again and
	// found it taken: then nobody has had an answer under this key yet.
	return decided, decided.NotificationID != proposed.NotificationID, nil
}

// keyID tells the keys of one caller from those of another: a caller's ID has
// exactly one slash, or none.
func keyID(caller, key string) string { return caller + "/" + key }

// hash is that of a request as decoded: the order of keys, white space, escapes,
// time zones and defaults that are spelled out make no difference.
func hash(r *notificationRequest) (string, error) {
	text, err := json.Marshal(r.normal())
	if err != nil {
		return "", err
	}
	canonical := jsontext.Value(text)
	if err := canonical.Format(jsontext.ReorderRawObjects(true), jsontext.CanonicalizeRawFloats(true)); err != nil {
		return "", err
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}
