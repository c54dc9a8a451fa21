package issuer

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestItServesThisMachineOnly(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	require.ErrorContains(t, Serve(t.Context(), listener, Config{Log: slog.New(slog.DiscardHandler), Now: time.Now}), "on this machine only")
	_, err = listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestItsKeysRotateByThemselves(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, listener, Config{Log: slog.New(slog.DiscardHandler), Now: time.Now, Rotate: time.Millisecond})
	}()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	require.Eventually(t, func() bool {
		response, err := client.Get("http://" + listener.Addr().String() + "/jwks")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		var set jose.JSONWebKeySet
		return json.NewDecoder(response.Body).Decode(&set) == nil && len(set.Keys) == 2
	}, 20*time.Second, 10*time.Millisecond, "the first key and another one")
	stop()
	require.NoError(t, <-served)
}

func TestTheKeyBeforeIsPublishedAndTheOneBeforeThatIsNot(t *testing.T) {
	t.Parallel()
	i, err := New("http://127.0.0.1:1", time.Now)
	require.NoError(t, err)
	var tokens []string
	for range 3 {
		token, err := i.Token(Claims{"sub": "ann", "nbf": nil})
		require.NoError(t, err)
		tokens = append(tokens, token)
		if len(tokens) < 3 {
			require.NoError(t, i.Rotate())
		}
	}
	set := i.published()
	for n, token := range tokens {
		parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
		require.NoError(t, err)
		require.Equal(t, []string{"RS256", "ES256", "RS256"}[n], parsed.Headers[0].Algorithm)
		var claims Claims
		err = parsed.Claims(set, &claims)
		if n == 0 {
			require.Error(t, err, "retired")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "ann", claims["sub"])
		require.NotContains(t, claims, "nbf")
	}
	for _, key := range set.Keys {
		require.True(t, key.IsPublic())
	}
}
