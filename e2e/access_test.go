package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/notify"
)

// An oidcIssuer is belfry idp --oidc, with the sample users.
type oidcIssuer struct {
	t   *testing.T
	url string
}

// token is one for a user.
func (i *oidcIssuer) token(user string) string {
	i.t.Helper()
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	eventually(i.t, func() bool {
		response, err := http.PostForm(i.url+"/token", url.Values{"grant_type": {"password"}, "username": {user}})
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(&granted) == nil
	}, patience, 50*time.Millisecond, "a token for %s", user)
	return granted.AccessToken
}

func (i *oidcIssuer) rotate() {
	i.t.Helper()
	response, err := http.Post(i.url+"/rotate", "", nil)
	require.NoError(i.t, err)
	require.NoError(i.t, response.Body.Close())
	require.Equal(i.t, http.StatusNoContent, response.StatusCode)
}

// keys runs belfry key against the database of b, as an operator does.
func (b *belfry) keys(args ...string) string {
	b.t.Helper()
	command := exec.CommandContext(b.t.Context(), binary, append([]string{"key"}, args...)...)
	command.Env = append(os.Environ(), "BELFRY_MONGO_URI="+b.variables["BELFRY_MONGO_URI"], "BELFRY_SERVER=", "BELFRY_KEY=")
	out, err := command.Output()
	require.NoError(b.t, err)
	return strings.TrimSpace(string(out))
}

func bearing(bearer string) http.Header { return http.Header{"Authorization": {"Bearer " + bearer}} }

func TestOnlyThoseWhoMayGetIn(t *testing.T) {
	t.Parallel()
	// The API starts before its issuer is there.
	issuerAddr := freeAddr(t)
	i := &oidcIssuer{t: t, url: "http://" + issuerAddr}
	b := newBelfry(t).with("BELFRY_AUTH", "keys,oidc").with("BELFRY_OIDC_ISSUER", i.url).with("BELFRY_OIDC_AUDIENCE", "belfry")
	b.run("all")
	b.eventually("ready", func() bool { return b.status(http.MethodGet, "/readyz", nil) == http.StatusOK })
	var away struct{ Code string }
	b.doWith(bearing(madeUpToken), http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusServiceUnavailable, nil, &away)
	require.Equal(t, "unavailable", away.Code)
	b.do(http.MethodPost, "/v1/templates", http.StatusUnauthorized, welcome, nil)

	first := b.keys("create", "--name", "first", "--scope", "admin")
	b.doWith(bearing(first), http.MethodPost, "/v1/templates", http.StatusCreated, welcome, nil)
	cli := func(key string, args ...string) (string, int) {
		command := exec.CommandContext(t.Context(), binary, args...)
		command.Env = append(os.Environ(), "BELFRY_SERVER="+b.url, "BELFRY_KEY="+key)
		out, err := command.Output()
		if err != nil {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
		}
		return strings.TrimSpace(string(out)), command.ProcessState.ExitCode()
	}
	shop, code := cli(first, "key", "create", "--name", "shop", "--scope", "send,read", "--expires", "1h")
	require.Zero(t, code)
	out, code := cli(shop, "send", "--template", "welcome", "--to", ann, "--data", solaris, "--wait")
	require.Zero(t, code, out)
	_, code = cli(shop, "template", "list")
	require.Zero(t, code, "whoever reads may read templates")
	_, code = cli(shop, "key", "list")
	require.Equal(t, 1, code)

	start(t, map[string]string{"BELFRY_OIDC_ISSUER": i.url}, "idp", "--addr", freeAddr(t), "--users", "../dev/users.yaml", "--oidc", issuerAddr)
	token := i.token(ann)
	b.eventually("the issuer is found", func() bool {
		response, _, err := b.request(http.MethodGet, "/v1/users/"+ann+"/notifications", bearing(token), nil)
		return err == nil && response.StatusCode == http.StatusOK
	})
	var own list[delivery]
	b.doWith(bearing(token), http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusOK, nil, &own)
	require.Len(t, own.Items, 1)
	require.Equal(t, notify.StateSent, own.Items[0].State)
	var refused struct{ Code string }
	b.doWith(bearing(token), http.MethodGet, "/v1/users/"+bruno+"/notifications", http.StatusForbidden, nil, &refused)
	require.Equal(t, "forbidden", refused.Code)
	b.doWith(bearing(token), http.MethodPost, "/v1/notifications", http.StatusForbidden, map[string]any{"template": "welcome", "to": to("u%d", newDomain(), 1)}, &refused)
	require.Equal(t, "scope_missing", refused.Code)

	// The issuer's keys rotate: tokens of the one before hold, and in the end
	// do not.
	i.rotate()
	second := i.token(ann)
	for _, held := range []string{token, second} {
		b.doWith(bearing(held), http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusOK, nil, nil)
	}
	i.rotate()
	b.doWith(bearing(i.token(ann)), http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusOK, nil, nil)
	response := b.doWith(bearing(token), http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusUnauthorized, nil, &refused)
	require.Contains(t, response.Header.Get("WWW-Authenticate"), "invalid_token")
	b.doWith(bearing(second), http.MethodGet, "/v1/users/"+ann+"/notifications", http.StatusOK, nil, nil)

	// A key that is revoked behind the API's back is refused soon.
	id := strings.Split(shop, "_")[1]
	require.Contains(t, b.keys("list"), id)
	b.eventually("its use is recorded", func() bool {
		var listed struct {
			Items []struct {
				ID         string
				LastUsedAt *time.Time `json:"last_used_at"`
			}
		}
		b.doWith(bearing(first), http.MethodGet, "/v1/keys", http.StatusOK, nil, &listed)
		for _, k := range listed.Items {
			if k.ID == id {
				return k.LastUsedAt != nil
			}
		}
		return false
	})
	b.keys("revoke", id)
	revoked := time.Now()
	b.eventually("the key is refused", func() bool {
		response, _, err := b.request(http.MethodGet, "/v1/notifications", bearing(shop), nil)
		return err == nil && response.StatusCode == http.StatusUnauthorized
	})
	require.Less(t, time.Since(revoked), 3*time.Second+busy)
}

// bruno is another one of the sample users.
const bruno = "7d0a4c1e-5b8f-4a53-9c1d-2f6f0a1b3c4d"

// madeUpToken is well-formed, and nobody has signed it:
// {"alg":"RS256","kid":"x"}.{"sub":"x"}.
const madeUpToken = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJ4In0.AAAA"

func TestAnAPIForOthersNeedsToBeToldWhoMayGetIn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		variables map[string]string
		says      string
	}{
		"nothing said":     {map[string]string{"BELFRY_AUTH": ""}, "BELFRY_AUTH: is needed"},
		"none":             {map[string]string{"BELFRY_AUTH": "none"}, "BELFRY_AUTH: none lets anyone"},
		"oidc, no issuer":  {map[string]string{"BELFRY_AUTH": "oidc", "BELFRY_OIDC_ISSUER": ""}, "BELFRY_OIDC_ISSUER: "},
		"a wrong password": {map[string]string{"BELFRY_AUTH": "password-" + uuid.NewString()}, "BELFRY_AUTH: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.variables["BELFRY_HTTP_ADDR"] = "0.0.0.0:0"
			p := start(t, test.variables, "api")
			require.Equal(t, 1, p.wait())
			require.Contains(t, p.log.String(), "belfry: "+test.says)
			require.Len(t, strings.Split(strings.TrimSpace(p.log.String()), "\n"), 1)
		})
	}
	alone := start(t, map[string]string{"BELFRY_AUTH": "", "BELFRY_HTTP_ADDR": freeAddr(t)}, "api")
	eventually(t, func() bool { return strings.Contains(alone.log.String(), "BELFRY_AUTH is none") }, patience, 50*time.Millisecond)
}
