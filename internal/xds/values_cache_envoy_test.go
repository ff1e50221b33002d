package xds_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// A token that was verified once is worth no more for it: it ends with its time, its key, its audience and its issuer (Invariant 5).
func TestValuesRememberTokens(t *testing.T) {
	a := upstream(t, "a", saying("done"))
	key, other := newIssuer(t, "k"), newIssuer(t, "other")
	set := func(issuer, audience string) *policy.Set {
		s, err := policy.Parse("values.yaml", []byte("policies: {authentication: {issuer: '"+issuer+"', audiences: ["+audience+"], clockSkew: 0s}}"))
		require.NoError(t, err)
		return s
	}
	good := set(issuerName, audience)
	g := startWithValues(t, values(good, jwks(t, key, other)), a)
	call := func(token string) int {
		return send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t), "authorization", "Bearer "+token).status
	}
	until := time.Now().Add(3 * time.Second)
	short, long := key.token(t, goodClaims(map[string]any{"exp": until.Unix()})), key.token(t, goodClaims(nil))
	for range 3 {
		require.Equal(t, http.StatusOK, call(short))
		require.Equal(t, http.StatusOK, call(long))
	}
	hits := regexp.MustCompile(`jwt_cache_hit: [1-9]`)
	require.Regexp(t, hits, g.envoy.get(t, "/stats?filter=jwt_cache_hit"), "what this test is about happens at all")
	require.Equal(t, http.StatusUnauthorized, call(tampered(t, long, goodClaims(map[string]any{"sub": "u-2"}))))

	for name, v := range map[string]struct {
		set  *policy.Set
		keys []byte
	}{
		"another key":      {good, jwks(t, other)},
		"no key":           {good, nil},
		"another audience": {set(issuerName, "elsewhere"), jwks(t, key)},
		"another issuer":   {set("https://elsewhere.example.com", audience), jwks(t, key)},
	} {
		g.change(t, values(v.set, v.keys), a)
		require.NotEqual(t, http.StatusOK, call(long), name)
		g.change(t, values(good, jwks(t, key)), a)
		require.Equal(t, http.StatusOK, call(long), name)
		require.Equal(t, http.StatusOK, call(long), name)
	}
	require.Eventually(t, func() bool { return call(short) == http.StatusUnauthorized }, patience, 50*time.Millisecond)
	require.Less(t, time.Since(until), 10*time.Second, "not only after the minute that Envoy tolerates by itself")
	require.Equal(t, http.StatusOK, call(long))
}
