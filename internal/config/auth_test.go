package config

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/access"
)

func TestWithoutAWordAboutItAnyoneIsLetInOnThisMachineOnly(t *testing.T) {
	t.Parallel()
	for addr, alone := range map[string]bool{
		"127.0.0.1:8080": true, "127.1.2.3:1": true, "localhost:8080": true, "[::1]:8080": true, "": true,
		"0.0.0.0:8080": false, ":8080": false, "[::]:8080": false, "192.0.2.1:80": false, "localhost.example.com:80": false,
	} {
		given := variables{"HTTP_ADDR": addr}
		got, err := Load(given.lookup)
		if alone {
			require.NoError(t, err, addr)
			require.True(t, got.Auth.Nobody(), addr)
		} else {
			requireNamed(t, "AUTH", err)
		}
		given["AUTH"] = "none"
		if _, err = Load(given.lookup); !alone {
			requireNamed(t, "AUTH", err)
			require.ErrorContains(t, err, "BELFRY_AUTH_NONE_ANYWHERE")
			given["AUTH_NONE_ANYWHERE"] = "true"
			_, err = Load(given.lookup)
		}
		require.NoError(t, err, addr)
		given["AUTH"] = ""
		if _, err = Load(given.lookup); !alone {
			requireNamed(t, "AUTH", err) // it must be said in full
		}
	}
}

func TestTokensOfAnIssuer(t *testing.T) {
	t.Parallel()
	good := variables{"AUTH": "keys, oidc", "HTTP_ADDR": ":80", "OIDC_ISSUER": "https://login.example.com/realms/main", "OIDC_AUDIENCE": "belfry"}
	got, err := Load(good.lookup)
	require.NoError(t, err)
	require.Equal(t, access.Config{Keys: true, OIDC: &access.OIDCConfig{
		Issuer: "https://login.example.com/realms/main", Audience: "belfry", Algorithms: []string{"RS256", "ES256"}, RolesClaim: "roles",
	}}, got.Auth)

	full := maps.Clone(good)
	maps.Copy(full, variables{
		"AUTH": "oidc", "OIDC_ISSUER": "http://127.0.0.1:9080", "OIDC_ALGORITHMS": "ES256, EdDSA", "OIDC_ROLES_CLAIM": "realm_access.roles",
		"OIDC_ROLES": "editor=templates+read, https://x.example/a=b=admin", "OIDC_CA_FILE": file(t, certificatePEM),
	})
	got, err = Load(full.lookup)
	require.NoError(t, err)
	require.False(t, got.Auth.Keys)
	require.NotNil(t, got.Auth.OIDC.HTTP)
	require.Equal(t, []string{"ES256", "EdDSA"}, got.Auth.OIDC.Algorithms)
	require.Equal(t, "realm_access.roles", got.Auth.OIDC.RolesClaim)
	require.Equal(t, map[string][]access.Scope{
		"editor": {access.ScopeTemplates, access.ScopeRead}, "https://x.example/a=b": {access.ScopeAdmin},
	}, got.Auth.OIDC.Roles)

	for name, values := range map[string][]string{
		"OIDC_ISSUER":     {"", "login.example.com", "http://login.example.com", "https://", "ftp://x", "https://u:hunter2@x", "https://x?k=hunter2", "https://x/#hunter2"},
		"OIDC_AUDIENCE":   {""},
		"OIDC_ALGORITHMS": {"none", "HS256", "RS256,", "RS256,none"},
		"OIDC_ROLES":      {"editor", "=read", "editor=", "editor=write", "editor=read,", "editor=self"},
		"OIDC_CA_FILE":    {t.TempDir() + "/none", file(t, "no certificate")},
	} {
		for _, value := range values {
			wrong := maps.Clone(good)
			wrong[name] = value
			_, err := Load(wrong.lookup)
			requireNamed(t, name, err)
		}
	}
	ignored := variables{"OIDC_ISSUER": "wrong", "OIDC_ROLES": "wrong"}
	_, err = Load(ignored.lookup)
	require.NoError(t, err, "without oidc nobody looks at them")
}

func TestTheDatabaseAlone(t *testing.T) {
	t.Parallel()
	uri, err := LoadMongo(variables{"MONGO_URI": "mongodb://x/y", "SMTP_URL": "wrong", "HTTP_ADDR": "0.0.0.0:1"}.lookup)
	require.NoError(t, err)
	require.Equal(t, "mongodb://x/y", uri)
	_, err = LoadMongo(variables{"MONGO_URI": "http://hunter2"}.lookup)
	requireNamed(t, "MONGO_URI", err)
}
