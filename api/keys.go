package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

// keyView is an API key as callers see it, without its secret.
type keyView struct {
	ID         string         `json:"id" format:"uuid"`
	Name       string         `json:"name"`
	Scopes     []access.Scope `json:"scopes" nullable:"false"`
	CreatedAt  time.Time      `json:"created_at"`
	CreatedBy  string         `json:"created_by"`
	ExpiresAt  *time.Time     `json:"expires_at,omitempty"`
	LastUsedAt *time.Time     `json:"last_used_at,omitempty" doc:"To the minute; absent where it was never used"`
}

func viewKey(k *access.Key, used *time.Time) keyView {
	return keyView{
		ID: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt.UTC(), CreatedBy: k.CreatedBy,
		ExpiresAt: inUTC(k.ExpiresAt), LastUsedAt: inUTC(used),
	}
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}

type createKeyInput struct {
	Body struct {
		Name      string         `json:"name" minLength:"1" maxLength:"64" example:"shop" doc:"For people, to know it by"`
		Scopes    []access.Scope `json:"scopes" minItems:"1" nullable:"false" enum:"send,read,templates,schedules,triggers,inbox,admin"`
		ExpiresAt *time.Time     `json:"expires_at,omitempty" doc:"It does not expire by default"`
	}
}

type createdKey struct {
	Location string `header:"Location"`
	Body     struct {
		keyView
		Key string `json:"key" doc:"The key itself, which is shown now and never again"`
	}
}

func (s *Server) keyRoutes(api huma.API) {
	huma.Register(api, route(http.MethodPost, "/v1/keys", "create-key", "Create an API key", http.StatusCreated), s.createKey)
	huma.Register(api, route(http.MethodGet, "/v1/keys", "list-keys", "List the API keys, the oldest first", http.StatusOK),
		func(ctx context.Context, in *struct{ Page }) (*listingOutput[keyView], error) {
			after, err := in.afterKey()
			if err != nil {
				return nil, s.fail(err)
			}
			found, err := s.Store.APIKeys(ctx, after, in.Limit+1)
			if err != nil {
				return nil, s.fail(err)
			}
			views := make([]keyView, len(found))
			for i := range found {
				views[i] = viewKey(&found[i].Key, found[i].LastUsedAt)
			}
			return cut(views, in.Limit, func(v keyView) any { return v.ID }), nil
		})
	huma.Register(api, route(http.MethodDelete, "/v1/keys/{id}", "delete-key", "Revoke an API key; within 3 s nobody takes it any more", http.StatusNoContent, http.StatusNotFound),
		func(ctx context.Context, in *struct {
			ID string `path:"id" format:"uuid"`
		}) (*struct{}, error) {
			if err := s.Store.DeleteAPIKey(ctx, in.ID); err != nil {
				return nil, s.fail(err)
			}
			s.Access.Forget(in.ID)
			s.log.InfoContext(ctx, "API key revoked", "key", in.ID, "by", access.From(ctx).ID)
			return nil, nil
		})
}

func (s *Server) createKey(ctx context.Context, in *createKeyInput) (*createdKey, error) {
	caller, now := access.From(ctx), s.now()
	if err := mayMake(caller, in.Body.Scopes, in.Body.ExpiresAt); err != nil {
		return nil, s.fail(err)
	}
	expires := in.Body.ExpiresAt
	if expires != nil {
		moment := expires.UTC().Truncate(time.Millisecond)
		expires = &moment
	}
	var fields []notify.FieldError
	if hasControl(in.Body.Name) {
		fields = append(fields, notify.FieldError{Location: "body.name", Message: "must not hold a control character"})
	}
	if repeats(in.Body.Scopes) {
		fields = append(fields, notify.FieldError{Location: "body.scopes", Message: validation.MsgExpectedArrayItemsUnique})
	}
	if expires != nil && !expires.After(now) {
		fields = append(fields, notify.FieldError{Location: "body.expires_at", Message: "must be in the future", Value: expires.Format(time.RFC3339)})
	}
	if fields != nil {
		return nil, s.fail(&notify.Error{Code: notify.CodeInvalid, Fields: fields})
	}
	key, text := access.NewKey(in.Body.Name, in.Body.Scopes, caller.ID, now, expires)
	if err := s.Store.InsertAPIKey(ctx, key); err != nil {
		return nil, s.fail(err)
	}
	s.log.InfoContext(ctx, "API key created", "key", key.ID, "name", key.Name, "scopes", key.Scopes, "by", caller.ID)
	out := &createdKey{Location: "/v1/keys/" + key.ID}
	out.Body.keyView, out.Body.Key = viewKey(key, nil), text
	return out, nil
}

// mayMake says whether a caller may make a key: nobody gives away more than they
// have. A key that expires makes none that outlives it. An end user's token ends
// soon, and the roles that it shows do not: it may.
func mayMake(caller access.Caller, scopes []access.Scope, expires *time.Time) error {
	for _, scope := range scopes {
		if !caller.Serves(scope) {
			return missing(scope)
		}
	}
	if caller.UserID == "" && !caller.Until.IsZero() && (expires == nil || expires.After(caller.Until)) {
		return &notify.Error{Code: notify.CodeForbidden, Detail: "expires_at must not be after the end of your own key, " + caller.Until.UTC().Format(time.RFC3339)}
	}
	return nil
}
