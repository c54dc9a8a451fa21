package config

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/belfry-notify/belfry/internal/access"
)

// auth reads who is let in by an API that listens at the address. Where nothing
// is said, that is anyone on this machine; elsewhere it must be said.
func (l *loader) auth(httpAddr string) access.Config {
	none := access.Config{}
	anywhere := l.boolean("AUTH_NONE_ANYWHERE")
	ways := l.text("AUTH", "")
	if ways == "" || ways == "none" {
		switch {
		case l.err != nil, Loopback(httpAddr), ways == "none" && anywhere:
		case ways == "":
			l.fail("AUTH", "is needed where BELFRY_HTTP_ADDR is not an address of this machine alone: keys, oidc or keys,oidc")
		default:
			l.fail("AUTH", "none lets anyone do everything, and BELFRY_HTTP_ADDR is not an address of this machine alone: use keys or oidc, or set BELFRY_AUTH_NONE_ANYWHERE=true")
		}
		return none
	}
	if strings.Contains(ways, "none") {
		l.fail("AUTH", "none goes alone")
		return none
	}
	chosen := l.order("AUTH", "keys", "oidc")
	c := access.Config{Keys: slices.Contains(chosen, "keys")}
	if slices.Contains(chosen, "oidc") {
		c.OIDC = l.oidc()
	}
	return c
}

// Loopback says whether an address to listen at is reached from this machine
// alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// oidc reads whose tokens are let in.
func (l *loader) oidc() *access.OIDCConfig {
	c := &access.OIDCConfig{
		Issuer:     l.text("OIDC_ISSUER", ""),
		Audience:   l.text("OIDC_AUDIENCE", ""),
		Algorithms: l.algorithms("OIDC_ALGORITHMS"),
		RolesClaim: l.text("OIDC_ROLES_CLAIM", "roles"),
		Roles:      l.roles("OIDC_ROLES"),
		HTTP:       trusting(l.certificates("OIDC_CA_FILE")),
	}
	if !isIssuer(c.Issuer) {
		l.fail("OIDC_ISSUER", "where BELFRY_AUTH names oidc it needs the issuer as its tokens name it, such as https://login.example.com/realms/main (http on this machine only)")
	}
	if c.Audience == "" {
		l.fail("OIDC_AUDIENCE", "is needed where BELFRY_AUTH names oidc: whom tokens must be for, such as belfry")
	}
	return c
}

// isIssuer says whether a text can name an issuer whose keys can be trusted to
// be its own: they come over TLS, or from this machine.
func isIssuer(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopbackHost(u.Hostname())
}

func (l *loader) algorithms(name string) []string {
	var chosen []string
	for algorithm := range strings.SplitSeq(l.text(name, "RS256,ES256"), ",") {
		algorithm = strings.TrimSpace(algorithm)
		if !slices.Contains(access.Algorithms(), algorithm) {
			l.fail(name, "not a list of some of %s", strings.Join(access.Algorithms(), ", "))
		}
		chosen = append(chosen, algorithm)
	}
	return chosen
}

// roles reads what roles give the right to: "editor=templates+read,operator=admin".
func (l *loader) roles(name string) map[string][]access.Scope {
	text := l.text(name, "")
	if text == "" {
		return nil
	}
	roles := map[string][]access.Scope{}
	for entry := range strings.SplitSeq(text, ",") {
		at := strings.LastIndex(entry, "=")
		if at < 1 {
			l.fail(name, "not a list of roles and their scopes such as editor=templates+read,operator=admin")
			return nil
		}
		role := strings.TrimSpace(entry[:at])
		for scope := range strings.SplitSeq(entry[at+1:], "+") {
			scope := access.Scope(strings.TrimSpace(scope))
			if !slices.Contains(access.Scopes(), scope) {
				l.fail(name, "%q is no scope: there are %s", scope, scopeList())
				return nil
			}
			roles[role] = append(roles[role], scope)
		}
	}
	return roles
}

func scopeList() string {
	var names []string
	for _, scope := range access.Scopes() {
		names = append(names, string(scope))
	}
	return strings.Join(names, ", ")
}

// trusting is a client that trusts the certificates in a file, nil where there
// is none. What is wrong with the file was said before.
func trusting(file string) *http.Client {
	if file == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if pem, err := os.ReadFile(file); err == nil {
		pool.AppendCertsFromPEM(pem)
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
		ForceAttemptHTTP2: true,
	}}
}

// LoadMongo reads which MongoDB to use, as Load does.
func LoadMongo(lookup func(string) (string, bool)) (string, error) {
	l := loader{lookup: lookup}
	return l.mongoURI(), l.err
}

func (l *loader) mongoURI() string { return l.mongo("MONGO_URI", "mongodb://127.0.0.1:27017/belfry") }
