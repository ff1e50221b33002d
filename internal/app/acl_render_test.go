package app

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestACLRender(t *testing.T) {
	file := write(t, "policies.yaml", `policies:
  rateLimitService: {address: "limits:8081"}
  rateLimits: [{name: slow, tools: ["slow_*"], per: tool, limit: 10, window: 60s}]
`)
	stdout, stderr, err := run(t, "acl", "render", "--engine", "ratelimit", "--policies", file)
	require.NoError(t, err)
	assert.Empty(t, stderr)
	assert.Equal(t, `domain: mcp-gateway
descriptors:
  - key: limit
    value: slow
    descriptors:
      - key: server
        descriptors:
          - key: tool
            rate_limit:
              unit: minute
              requests_per_unit: 10
`, stdout)
	stdout, _, err = run(t, "acl", "check", file)
	require.NoError(t, err)
	assert.Contains(t, stdout, "is valid: no authentication, no acl, 1 rate limit counted by limits:8081\n")
}

func TestACLRenderRefuses(t *testing.T) {
	local := write(t, "local.yaml", "policies: {rateLimits: [{limit: 1, window: 5m}]}")
	odd := write(t, "odd.yaml", "policies:\n  rateLimitService: {address: 'limits:8081'}\n  rateLimits: [{limit: 1, window: 5m}, {limit: 1, window: 90s}]\n")
	for name, tt := range map[string]struct {
		args []string
		want string
		code int
	}{
		"no engine":      {[]string{"--policies", local}, `--engine "": want "ratelimit"`, 2},
		"another engine": {[]string{"--engine", "limitador", "--policies", local}, `--engine "limitador": want "ratelimit"`, 2},
		"no file":        {[]string{"--engine", "ratelimit"}, "name the file of policy values with --policies", 2},
		"no service":     {[]string{"--engine", "ratelimit", "--policies", local}, `cannot be rendered for ratelimit: the values have no policies.rateLimitService`, 1},
		"other windows": {
			[]string{"--engine", "ratelimit", "--policies", odd},
			odd + `:3:35: policies.rateLimits[0].window: "5m" is nothing that a rate limit service counts in: with policies.rateLimitService it must be 1s, 1m, 1h or 24h` + "\n" +
				odd + `:3:59: policies.rateLimits[1].window: "1m30s" is nothing`, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, _, err := run(t, append([]string{"acl", "render"}, tt.args...)...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, tt.code, ExitCode(err))
			assert.Empty(t, stdout)
		})
	}
}
