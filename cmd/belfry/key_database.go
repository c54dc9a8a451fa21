package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/config"
	"github.com/belfry-notify/belfry/internal/store"
)

// A keyDatabase keeps keys in MongoDB, without a server between: whoever may
// write there needs no key.
type keyDatabase struct{ store *store.Store }

// operator is who creates keys so.
const operator = "operator"

func openKeyDatabase(lookup func(string) (string, bool)) (keyBook, error) {
	uri, err := config.LoadMongo(lookup)
	if err != nil {
		return nil, err
	}
	opened, err := store.Open(uri)
	if err != nil {
		return nil, fmt.Errorf("BELFRY_MONGO_URI: %w", err)
	}
	return keyDatabase{opened}, nil
}

func (k keyDatabase) create(ctx context.Context, order keyOrder) (made shown[keyView], text string, err error) {
	key, text := access.NewKey(order.Name, order.Scopes, operator, now(), order.ExpiresAt)
	if err := k.store.InsertAPIKey(ctx, key); err != nil {
		return made, "", err
	}
	made, err = showKey(key, nil)
	return made, text, err
}

func (k keyDatabase) list(ctx context.Context) ([]shown[keyView], error) {
	const page = 200
	all := []shown[keyView]{}
	for after := ""; ; {
		found, err := k.store.APIKeys(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, listed := range found {
			view, err := showKey(&listed.Key, listed.LastUsedAt)
			if err != nil {
				return nil, err
			}
			all = append(all, view)
			after = listed.ID
		}
		if len(found) < page {
			return all, nil
		}
	}
}

func (k keyDatabase) revoke(ctx context.Context, id string) error {
	return k.store.DeleteAPIKey(ctx, id)
}

func (k keyDatabase) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return k.store.Close(ctx)
}

// showKey shows a key as a server does.
func showKey(key *access.Key, used *time.Time) (view shown[keyView], err error) {
	view.is = keyView{
		ID: key.ID, Name: key.Name, CreatedAt: key.CreatedAt.UTC(), CreatedBy: key.CreatedBy,
		ExpiresAt: key.ExpiresAt, LastUsedAt: used,
	}
	for _, scope := range key.Scopes {
		view.is.Scopes = append(view.is.Scopes, string(scope))
	}
	view.text, err = json.Marshal(view.is)
	return view, err
}
