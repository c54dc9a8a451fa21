package main

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belfry-notify/belfry/internal/issuer"
)

// A codec server lets in people who may read, by the tokens of their single
// sign-on, as Temporal's UI passes them on.
func TestACodecServerLetsInWhoMayRead(t *testing.T) {
	served := httptest.NewUnstartedServer(nil)
	signOn, err := issuer.New("http://"+served.Listener.Addr().String(), time.Now)
	require.NoError(t, err)
	served.Config.Handler = signOn.Handler(issuer.Config{Known: func(string) bool { return true }, Audience: "belfry"})
	served.Start()
	defer served.Close()

	addr := freeAddress(t)
	for name, value := range map[string]string{
		"BELFRY_PAYLOAD_KEYS": "a:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 32))),
		"BELFRY_CODEC_ADDR":   addr, "BELFRY_CODEC_TOKEN": "of-the-command-line",
		"BELFRY_AUTH": "keys,oidc", "BELFRY_OIDC_ISSUER": signOn.URL(), "BELFRY_OIDC_AUDIENCE": "belfry", "BELFRY_OIDC_ROLES": "reader=read,sender=send",
	} {
		t.Setenv(name, value)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- codecCommand{}.Run(ctx) }()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(bearer string) int {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/decode", strings.NewReader(`{"payloads":[]}`))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := client.Do(request)
		if err != nil {
			return 0
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
	token := func(claims issuer.Claims) string {
		text, err := signOn.Token(claims)
		require.NoError(t, err)
		return text
	}
	require.Eventually(t, func() bool { return ask("of-the-command-line") == http.StatusOK }, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, ask(token(issuer.Claims{"sub": "ann", "aud": "belfry", "roles": []string{"reader"}})))
	for name, bearer := range map[string]string{
		"nothing":         "",
		"another word":    "of-somebody",
		"no role":         token(issuer.Claims{"sub": "ann", "aud": "belfry"}),
		"another role":    token(issuer.Claims{"sub": "ann", "aud": "belfry", "roles": []string{"sender"}}),
		"for another one": token(issuer.Claims{"sub": "ann", "aud": "shop", "roles": []string{"reader"}}),
	} {
		require.Equal(t, http.StatusUnauthorized, ask(bearer), name)
	}
}
