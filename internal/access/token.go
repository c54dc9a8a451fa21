package access

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
)

// An OIDCConfig says whose tokens are let in, and what their roles mean.
type OIDCConfig struct {
	Issuer     string // as in the tokens, and where its discovery document is
	Audience   string // that tokens must be for
	Algorithms []string
	RolesClaim string             // a claim, or the way to one within others, with dots: realm_access.roles
	Roles      map[string][]Scope // what a role, or a scope of the issuer's, gives the right to

	HTTP *http.Client // to reach the issuer; nil: as the system has it
}

// Algorithms are those that a token may be signed with. All of them are
// asymmetric.
func Algorithms() []string {
	return []string{
		oidc.RS256, oidc.ES256, oidc.PS256, oidc.EdDSA, oidc.RS384, oidc.RS512, oidc.ES384, oidc.ES512, oidc.PS384, oidc.PS512,
	}
}

// maxSubject is how many characters a user id may have.
const maxSubject = 256

// tokens know callers by their OIDC tokens.
type tokens struct {
	cfg    OIDCConfig
	issuer *issuerKeys
	now    func() time.Time
}

func newTokens(cfg OIDCConfig, log *slog.Logger, now func() time.Time) (*tokens, error) {
	if cfg.Issuer == "" || cfg.Audience == "" || len(cfg.Algorithms) == 0 {
		return nil, errors.New("tokens need an issuer, an audience and algorithms")
	}
	return &tokens{cfg: cfg, issuer: newIssuerKeys(cfg, log, now), now: now}, nil
}

// caller is who has the token: the user that its sub names. What they may do
// besides reading their own data follows from their roles.
func (t *tokens) caller(ctx context.Context, raw string) (Caller, error) {
	signature := &signatureCheck{keys: t.issuer}
	verifier := oidc.NewVerifier(t.cfg.Issuer, signature, &oidc.Config{
		ClientID: t.cfg.Audience, SupportedSigningAlgs: t.cfg.Algorithms, Now: t.now,
	})
	token, err := verifier.Verify(ctx, raw)
	if signature.unavailable != nil {
		return Caller{}, signature.unavailable
	}
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired {
		return Caller{}, unauthorized("the token has expired", err)
	}
	if err != nil {
		return Caller{}, unauthorized("the token is not valid here", err)
	}
	if token.Subject == "" || utf8.RuneCountInString(token.Subject) > maxSubject {
		return Caller{}, unauthorized("the token names no user", nil)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return Caller{}, unauthorized("the claims of the token cannot be read", err)
	}
	return t.user(token, claims), nil
}

func (t *tokens) user(token *oidc.IDToken, claims map[string]any) Caller {
	c := Caller{ID: "user/" + url.PathEscape(token.Subject), UserID: token.Subject, Until: token.Expiry.UTC()}
	for _, role := range rolesIn(claims, t.cfg.RolesClaim) {
		for _, scope := range t.cfg.Roles[role] {
			if !slices.Contains(c.Service, scope) {
				c.Service = append(c.Service, scope)
			}
		}
	}
	c.Scopes = slices.Clone(c.Service)
	for _, own := range []Scope{ScopeRead, ScopeInbox} { // every user's, with their own data
		if !slices.Contains(c.Scopes, own) {
			c.Scopes = append(c.Scopes, own)
		}
	}
	return c
}

// rolesIn are the roles in a claim: a list of texts, or one text with spaces
// between them, as OAuth writes scopes.
func rolesIn(claims map[string]any, claim string) []string {
	value, found := claims[claim]
	for !found {
		first, rest, more := strings.Cut(claim, ".")
		within, _ := claims[first].(map[string]any)
		if !more || within == nil {
			return nil
		}
		claims, claim = within, rest
		value, found = claims[claim]
	}
	var roles []string
	switch v := value.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		for _, role := range v {
			if text, ok := role.(string); ok {
				roles = append(roles, text)
			}
		}
	}
	return roles
}
