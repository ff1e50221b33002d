package app

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/controller"
)

// Refused clients are told where to log in, by whoever writes the EnvoyFilters.
func TestIstioConfigChallenges(t *testing.T) {
	t.Setenv("OAUTH_SCOPES_SUPPORTED", "openid,mcp")
	stdout, _, err := run(t, "istio-config", "--gateway", "gateways/public", "--host", "a.com", "--public-url", "https://mcp.example.com")
	require.NoError(t, err)
	assert.Contains(t, stdout, `value: Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="openid mcp"`)
	assert.Contains(t, stdout, `policy[public-mcp-authentication]`)

	stdout, _, err = run(t, "istio-config", "--gateway", "gateways/public", "--host", "a.com")
	require.NoError(t, err)
	assert.NotContains(t, stdout, "resource_metadata")
	assert.Contains(t, stdout, `policy[public-mcp-authentication]`, "401 all the same: clients look for the metadata at the host that they called")

	_, _, err = run(t, "istio-config", "--gateway", "gateways/public", "--host", "a.com", "--public-url", "mcp.example.com")
	require.ErrorContains(t, err, "--public-url")
}

func TestControllerChallenges(t *testing.T) {
	s := &settings{publicURL: "https://mcp.example.com", publicGiven: true, kube: kubeSettings{gateways: []string{"a/b"}}}
	o := &controller.Istio{}
	require.NoError(t, s.controllerChallenge(o))
	assert.Equal(t, "https://mcp.example.com/.well-known/oauth-protected-resource/mcp", o.ResourceMetadata)
	assert.Equal(t, []string{"basic"}, o.Scopes)

	s.kube.gateways = []string{"a/b", "c/d=e"}
	require.ErrorContains(t, s.controllerChallenge(o), "--public-url is the URL of one Gateway, and --gateway names 2")

	s.publicGiven, o = false, &controller.Istio{}
	require.NoError(t, s.controllerChallenge(o))
	assert.Empty(t, o.ResourceMetadata)
}
