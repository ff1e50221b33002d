package xds_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func TestRateLimitService(t *testing.T) {
	set := parseValues(t, `
  rateLimitService: {address: "limits:8081", domain: team-a}
  rateLimits:
    - {name: slow, tools: ["slow_*"], servers: [weather], per: user, limit: 10, window: 1m}
    - {per: [tool, user], limit: 4294967295, window: 1s}
    - {per: server, limit: 7, window: 60m}
    - {limit: 1000, window: 24h}
`)
	got, err := xds.RateLimitService(set)
	require.NoError(t, err)
	require.Equal(t, `domain: team-a
descriptors:
  - key: limit
    value: slow
    descriptors:
      - key: issuer
        descriptors:
          - key: subject
            rate_limit:
              unit: minute
              requests_per_unit: 10
  - key: limit
    value: limit-1
    descriptors:
      - key: issuer
        descriptors:
          - key: subject
            descriptors:
              - key: server
                descriptors:
                  - key: tool
                    rate_limit:
                      unit: second
                      requests_per_unit: 4294967295
  - key: limit
    value: limit-2
    descriptors:
      - key: server
        rate_limit:
          unit: hour
          requests_per_unit: 7
  - key: limit
    value: limit-3
    rate_limit:
      unit: day
      requests_per_unit: 1000
`, string(got))
}

// What the service cannot express is refused whole, never dropped (Invariant 8).
func TestRateLimitServiceRefuses(t *testing.T) {
	_, err := xds.RateLimitService(&policy.Set{RateLimits: []policy.RateLimit{{Name: "a", Limit: 1, Window: time.Minute}}})
	require.EqualError(t, err, "the values have no policies.rateLimitService: each Envoy counts for itself, and a service would never be asked")

	_, err = xds.RateLimitService(&policy.Set{RateLimitService: &policy.RateLimitService{Address: "limits:1", Domain: "d"}, RateLimits: []policy.RateLimit{
		{Name: "a", Limit: 1, Window: 5 * time.Minute}, {Name: "b", Limit: 1, Window: time.Minute}, {Name: "c", Limit: 1, Window: 90 * time.Second},
	}})
	require.EqualError(t, err, `rate limit "a": the service has no unit for the window 5m0s: it must be 1s, 1m, 1h or 24h`+"\n"+
		`rate limit "c": the service has no unit for the window 1m30s: it must be 1s, 1m, 1h or 24h`)

	got, err := xds.RateLimitService(&policy.Set{RateLimitService: &policy.RateLimitService{Address: "limits:1", Domain: "d"}})
	require.NoError(t, err)
	require.Equal(t, "domain: d\ndescriptors: []\n", string(got))
}
