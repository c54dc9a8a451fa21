package stack

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// The idp is an issuer too, but not where it would refuse to be one.
func TestTheIssuerOfTheStack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		given []string
		is    bool
	}{
		"nothing given":                  {nil, true},
		"another port for the API":       {[]string{envHTTP + "=localhost:1"}, true},
		"an API for others":              {[]string{envHTTP + "=0.0.0.0:8080"}, false},
		"an API on all addresses":        {[]string{envHTTP + "=:8080"}, false},
		"another issuer":                 {[]string{envIssuer + "=https://login.example.com"}, false},
		"another idp":                    {[]string{envIDP + "=idp.example:50051"}, false},
		"another issuer, which is empty": {[]string{envIssuer + "="}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := testConfig(t)
			config.Environ = append(config.Environ, test.given...)
			s := &Stack{config: config}
			require.Equal(t, test.is, s.isIssuer())
			env := s.offers()
			require.Equal(t, "none", env.get(envAuth))
			require.Equal(t, test.is, env.get(envAudience) == "belfry")
			if test.is {
				require.Equal(t, "http://"+address(config.Ports.OIDC), env.get(envIssuer))
			}
		})
	}
}

func TestATakenPortOfTheIssuerIsNamed(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	listener, err := net.Listen("tcp", address(config.Ports.OIDC))
	require.NoError(t, err)
	defer listener.Close()
	require.ErrorContains(t, Engines(t.Context(), config, watchTest), "(OIDC issuer) is taken: stop what listens there, or choose another one with --oidc-port or BELFRY_DEV_OIDC_PORT")
}
