package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRateLimitService(t *testing.T) {
	parse := func(service string) *RateLimitService {
		set, err := Parse("p.yaml", []byte("policies: {rateLimitService: "+service+"}"))
		require.NoError(t, err)
		return set.RateLimitService
	}
	assert.Equal(t, &RateLimitService{Address: "limits:8081", Domain: "mcp-gateway", Timeout: 50 * time.Millisecond}, parse("{address: 'limits:8081'}"))
	assert.Equal(t, &RateLimitService{Address: "[::1]:1", Domain: "team.a", Timeout: 5 * time.Second, FailClosed: true},
		parse("{address: '[::1]:1', domain: team.a, timeout: 5s, failClosed: true}"))
	set, err := Parse("p.yaml", []byte("policies: {}"))
	require.NoError(t, err)
	assert.Nil(t, set.RateLimitService)
}

// Schema and parser agree on addresses.
func TestAddressesOfRateLimitService(t *testing.T) {
	s := schema(t)
	for address, good := range map[string]bool{
		"limits:8081": true, "limits.example.com:1": true, "10.0.0.1:65535": true, "[2001:db8::1]:8081": true, "a_b:080": true,
		"": false, "limits": false, "limits:": false, ":8081": false, "limits:0": false, "limits:65536": false, "limits:http": false, "http://limits:8081": false,
		"a b:1": false, "user@limits:1": false, "::1:8081": false, "[limits]:1": false, "unix:/run/limits.sock": false, "limits:-1": false, "größe:1": false,
	} {
		file := []byte(`policies: {rateLimitService: {address: "` + address + `"}}`)
		_, err := Parse("p.yaml", file)
		assert.Equal(t, good, err == nil, "%q: %v", address, err)
		assert.Equal(t, good, accepts(t, s, file), "%q", address)
	}
}

// A window is never shortened or stretched to what a service counts in, whichever of the two keys comes first.
func TestWindowsOfRateLimitService(t *testing.T) {
	const service, limits = "  rateLimitService: {address: 'limits:1'}\n", "  rateLimits: [{limit: 1, window: 5m}]\n"
	for _, file := range []string{service + limits, limits + service} {
		_, err := Parse("p.yaml", []byte("policies:\n"+file))
		require.ErrorContains(t, err, `policies.rateLimits[0].window: "5m" is nothing that a rate limit service counts in: with policies.rateLimitService it must be 1s, 1m, 1h or 24h`)
	}
	_, err := Parse("p.yaml", []byte("policies:\n"+limits))
	require.NoError(t, err, "Envoy itself counts in any window")
}
