package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheSampleIssuerIsForThisMachineOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		addr string
		env  map[string]string
		says string
	}{
		"alone":                          {"127.0.0.1:9080", nil, ""},
		"beside a Belfry that trusts it": {"127.0.0.1:9080", map[string]string{"BELFRY_OIDC_ISSUER": "http://127.0.0.1:9080", "BELFRY_HTTP_ADDR": "localhost:8080"}, ""},
		"for others":                     {"0.0.0.0:9080", nil, "on an address of this machine alone"},
		"on all addresses":               {":9080", nil, "on an address of this machine alone"},
		"beside an API for others":       {"127.0.0.1:9080", map[string]string{"BELFRY_HTTP_ADDR": "0.0.0.0:8080"}, "BELFRY_HTTP_ADDR"},
		"beside another issuer":          {"127.0.0.1:9080", map[string]string{"BELFRY_OIDC_ISSUER": "https://login.example.com"}, "BELFRY_OIDC_ISSUER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := idpCommand{OIDC: test.addr}.sampleOnly(func(name string) string { return test.env[name] })
			if test.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.says)
			}
		})
	}
}

// Not parallel: the stack of the tests has an issuer of its own in this variable.
func TestTheSampleIssuerGivesTokensToItsUsers(t *testing.T) {
	t.Setenv("BELFRY_OIDC_ISSUER", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, usersAddr := freeAddress(t), freeAddress(t)
	ran := make(chan error, 1)
	go func() {
		ran <- idpCommand{Addr: usersAddr, Users: "../../dev/users.yaml", OIDC: addr, OIDCAudience: "belfry", OIDCRotate: time.Hour}.Run(ctx)
	}()
	base := "http://" + addr
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func(path string, into any) error {
		response, err := client.Get(base + path)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		return json.NewDecoder(response.Body).Decode(into)
	}
	var document map[string]any
	require.Eventually(t, func() bool { return get("/.well-known/openid-configuration", &document) == nil }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, base, document["issuer"])
	require.Equal(t, base+"/jwks", document["jwks_uri"])
	keys := func() (ids []string) {
		var set struct {
			Keys []map[string]string `json:"keys"`
		}
		require.NoError(t, get("/jwks", &set))
		for _, key := range set.Keys {
			require.NotContains(t, key, "d", "a private key")
			ids = append(ids, key["kid"])
		}
		return ids
	}
	post := func(path string, form url.Values) (int, map[string]any) {
		response, err := client.PostForm(base+path, form)
		require.NoError(t, err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		var answer map[string]any
		if len(text) > 0 {
			require.NoError(t, json.Unmarshal(text, &answer))
		}
		return response.StatusCode, answer
	}
	first := keys()
	require.Len(t, first, 1)
	for range 2 {
		status, _ := post("/rotate", nil)
		require.Equal(t, http.StatusNoContent, status)
	}
	require.Len(t, keys(), 2)
	require.NotContains(t, keys(), first[0], "it is retired")

	status, granted := post("/token", url.Values{"grant_type": {"password"}, "username": {"4518e644-1ff3-4003-a14e-99dfe3fdd7ab"}, "roles": {"editor"}, "expires_in": {"60"}})
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 60, granted["expires_in"])
	for _, wrong := range []url.Values{{"username": {"nobody"}}, {}, {"username": {"4518e644-1ff3-4003-a14e-99dfe3fdd7ab"}, "expires_in": {"forever"}}} {
		status, refused := post("/token", wrong)
		require.Equal(t, http.StatusBadRequest, status)
		require.NotEmpty(t, refused["error_description"])
	}
	cancel()
	require.NoError(t, <-ran)
}
