// Package access says who calls Belfry, and what they may do.
package access

import (
	"context"
	"slices"
	"time"
)

// A Scope is a part of what Belfry can do, which a caller may have the right to.
type Scope string

// The scopes. Admin stands for all of them.
const (
	ScopeSend      Scope = "send"
	ScopeRead      Scope = "read"
	ScopeTemplates Scope = "templates"
	ScopeSchedules Scope = "schedules"
	ScopeTriggers  Scope = "triggers"
	ScopeInbox     Scope = "inbox"
	ScopeAdmin     Scope = "admin"
)

// Scopes are all of them, in the order in which they are listed.
func Scopes() []Scope {
	return []Scope{ScopeSend, ScopeRead, ScopeTemplates, ScopeSchedules, ScopeTriggers, ScopeInbox, ScopeAdmin}
}

// A Caller is who makes a request.
type Caller struct {
	ID     string    // "key/<id>", "user/<sub>" with the sub escaped as in a path, or "anyone" where nobody is asked who they are
	UserID string    // of an end user, who has their own data only: the token's sub; empty: a service
	Scopes []Scope   // what they may do; an end user with their own data only, but for Service
	Until  time.Time // when that ends; zero: it does not

	// Service is those of an end user's scopes that the configuration gives them
	// by their roles: with these they act as a service does, for everybody.
	Service []Scope
}

// Anyone is the caller where nobody is asked who they are.
var Anyone = Caller{ID: "anyone", Scopes: []Scope{ScopeAdmin}}

// May says whether the caller has the right to a scope, be it with their own
// data only.
func (c Caller) May(scope Scope) bool { return grants(c.Scopes, scope) }

// Serves says whether the caller has the right to a scope with everybody's
// data.
func (c Caller) Serves(scope Scope) bool {
	if c.UserID == "" {
		return grants(c.Scopes, scope)
	}
	return grants(c.Service, scope)
}

// MayFor says whether the caller has the right to a scope with the data of a
// user.
func (c Caller) MayFor(scope Scope, userID string) bool {
	return c.Serves(scope) || c.UserID != "" && c.UserID == userID && c.May(scope)
}

func grants(granted []Scope, scope Scope) bool {
	return slices.Contains(granted, scope) || slices.Contains(granted, ScopeAdmin)
}

// Acts says whether the caller may act for a user: every service may, and the
// user.
func (c Caller) Acts(userID string) bool { return c.UserID == "" || c.UserID == userID }

type callerKey struct{}

// With is a context of what a caller asked for.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From is who asked for what is done in ctx; a caller who may do nothing where
// that is not known.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
