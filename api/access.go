package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/belfry-notify/belfry/internal/access"
	"github.com/belfry-notify/belfry/internal/notify"
)

// An Authenticator finds out who calls.
type Authenticator interface {
	// Authenticate says whose a bearer is, "" where the request has none.
	Authenticate(ctx context.Context, bearer string) (access.Caller, error)
	// Forget has an API key looked up anew, now that it is revoked.
	Forget(keyID string)
}

// bearerScheme is the name of the security scheme in the API's description.
const bearerScheme = "bearer"

// self stands beside scopes: end users may do it too, with their own data. A
// path that has a user_id names whose data these are. A handler without one in
// its path asks the caller (access.Caller.MayFor).
const self access.Scope = "self"

// needs is who may call each operation: whoever has one of its scopes. An
// operation that is not here is open to nobody.
var needs = map[string][]access.Scope{
	"send-notification":       {access.ScopeSend},
	"get-notification":        {access.ScopeRead},
	"list-notifications":      {access.ScopeRead},
	"list-deliveries":         {access.ScopeRead},
	"cancel-notification":     {access.ScopeSend},
	"reschedule-notification": {access.ScopeSend},
	"pause-notification":      {access.ScopeSend},
	"resume-notification":     {access.ScopeSend},

	"get-delivery":            {access.ScopeRead},
	"search-deliveries":       {access.ScopeRead},
	"retry-delivery":          {access.ScopeSend},
	"list-user-notifications": {access.ScopeRead, self},

	"create-audience": {access.ScopeSend},
	"get-audience":    {access.ScopeRead},
	"delete-audience": {access.ScopeSend},

	"list-templates":   {access.ScopeRead, access.ScopeTemplates},
	"get-template":     {access.ScopeRead, access.ScopeTemplates},
	"preview-template": {access.ScopeRead, access.ScopeTemplates},
	"create-template":  {access.ScopeTemplates},
	"update-template":  {access.ScopeTemplates},
	"delete-template":  {access.ScopeTemplates},

	"list-schedules":    {access.ScopeRead, access.ScopeSchedules},
	"get-schedule":      {access.ScopeRead, access.ScopeSchedules},
	"create-schedule":   {access.ScopeSchedules},
	"update-schedule":   {access.ScopeSchedules},
	"delete-schedule":   {access.ScopeSchedules},
	"pause-schedule":    {access.ScopeSchedules},
	"unpause-schedule":  {access.ScopeSchedules},
	"trigger-schedule":  {access.ScopeSchedules},
	"backfill-schedule": {access.ScopeSchedules},

	"list-triggers":  {access.ScopeRead, access.ScopeTriggers},
	"get-trigger":    {access.ScopeRead, access.ScopeTriggers},
	"test-trigger":   {access.ScopeRead, access.ScopeTriggers},
	"create-trigger": {access.ScopeTriggers},
	"update-trigger": {access.ScopeTriggers},
	"delete-trigger": {access.ScopeTriggers},

	"list-inbox":   {access.ScopeInbox, self},
	"read-item":    {access.ScopeInbox, self},
	"unread-item":  {access.ScopeInbox, self},
	"archive-item": {access.ScopeInbox, self},
	"read-inbox":   {access.ScopeInbox, self},

	"open-stream":          {}, // finds out itself who connects: the first frame may say it
	"create-stream-ticket": {access.ScopeInbox, self},

	"create-key": {access.ScopeAdmin},
	"list-keys":  {access.ScopeAdmin},
	"delete-key": {access.ScopeAdmin},

	"sendgrid-webhook": {}, // open: its requests are signed
}

// security is needs as OpenAPI has it: alternatives, each with the scope that it
// wants. It is nil for an operation that does not state what it needs.
func security(operationID string) []map[string][]string {
	scopes, stated := needs[operationID]
	if !stated {
		return nil
	}
	alternatives := []map[string][]string{}
	for _, scope := range scopes {
		alternatives = append(alternatives, map[string][]string{bearerScheme: {string(scope)}})
	}
	return alternatives
}

// bearerSecurity describes the scheme.
func bearerSecurity() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{bearerScheme: {
		Type: "http", Scheme: "bearer",
		Description: "An API key (belfry key create), or a token of the OIDC issuer. " +
			"Each operation says which scopes give the right to it: one of them is enough, and admin stands for all. " +
			"self is an end user's token, for that user's own data.",
	}}
}

// authorize lets a request pass whose caller has the right to its operation, and
// has its context know the caller. It reads nothing of the body.
func (s *Server) authorize(ctx huma.Context, next func(huma.Context)) {
	alternatives := ctx.Operation().Security
	if alternatives != nil && len(alternatives) == 0 {
		next(ctx)
		return
	}
	r, w := humachi.Unwrap(ctx)
	caller, err := s.authenticate(r)
	if err == nil {
		err = allow(caller, scopesOf(alternatives), ctx.Param("user_id"))
	}
	if err != nil {
		s.log.DebugContext(ctx.Context(), "request refused", "operation", ctx.Operation().OperationID, "caller", caller.ID, "client", clientOf(ctx.Context()), "error", err)
		if !s.overLimit(access.With(ctx.Context(), caller), w, r) { // whoever guesses keys has a rate too
			writeProblem(w, s.fail(err))
		}
		return
	}
	next(huma.WithContext(ctx, access.With(ctx.Context(), caller)))
}

// authenticate finds out who sent a request.
func (s *Server) authenticate(r *http.Request) (access.Caller, error) {
	bearer, err := bearerOf(r)
	if err != nil {
		return access.Caller{}, err
	}
	return s.Access.Authenticate(r.Context(), bearer)
}

// bearerOf is the API key or token in a request's header, "" where there is
// none (RFC 6750, section 2.1).
func bearerOf(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, bearer, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", &notify.Error{Code: notify.CodeUnauthorized, Detail: "the Authorization header must be one, and of the form Bearer <API key or token>"}
	}
	return strings.TrimSpace(bearer), nil
}

func scopesOf(alternatives []map[string][]string) []access.Scope {
	var scopes []access.Scope
	for _, alternative := range alternatives {
		for _, scope := range alternative[bearerScheme] {
			scopes = append(scopes, access.Scope(scope))
		}
	}
	return scopes
}

// allow says whether the caller may do what one of the scopes gives the right
// to, with the data of the user, "" where the path names none.
func allow(caller access.Caller, scopes []access.Scope, userID string) error {
	for _, scope := range scopes {
		if scope == self && caller.UserID != "" && (userID == "" || userID == caller.UserID) {
			return nil
		}
		if scope != self && caller.Serves(scope) {
			return nil
		}
	}
	if caller.UserID != "" && slices.Contains(scopes, self) {
		return &notify.Error{Code: notify.CodeForbidden, Detail: "these are the data of another user"}
	}
	return missing(scopes...)
}

// missing is the error of a caller who has none of the scopes.
func missing(scopes ...access.Scope) error {
	var names []string
	for _, scope := range scopes {
		if scope != self {
			names = append(names, string(scope))
		}
	}
	return &notify.Error{Code: notify.CodeScopeMissing, Detail: fmt.Sprintf("this needs the scope %s", strings.Join(names, " or "))}
}

// challenge is how a refusal says what it wants (RFC 6750, section 3). A request
// without a bearer is told no more than that it needs one.
func challenge(refusal *notify.Error) string {
	const realm = `Bearer realm="belfry"`
	switch {
	case errors.Is(refusal, access.ErrNoBearer):
		return realm
	case refusal.Code == notify.CodeUnauthorized:
		return fmt.Sprintf(`%s, error="invalid_token", error_description=%q`, realm, refusal.Detail)
	}
	return fmt.Sprintf(`%s, error="insufficient_scope", error_description=%q`, realm, refusal.Detail)
}
