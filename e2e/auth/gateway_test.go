package auth_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// gateway is a gateway with policies on whose tokens a realm issues.
type gateway struct {
	*testbed.Gateway

	realm *realm
	// policies is the path of its policy file.
	policies string
}

// shippedPolicies are those of the example, for a realm of the tests.
func shippedPolicies(t *testing.T, r *realm) string {
	t.Helper()
	file, err := os.ReadFile(policiesFile)
	require.NoError(t, err)
	out := strings.Replace(string(file), "http://127.0.0.1:8889/realms/mcp", r.issuer, 1)
	require.Contains(t, out, r.issuer)
	return out
}

// policiesOf are policies that trust a realm, without tolerance for clocks, with an access list as YAML.
func policiesOf(r *realm, acl string) string {
	return "policies:\n  authentication: {issuer: \"" + r.issuer + "\", audiences: [mcp-gateway], clockSkew: 0s}\n  acl:\n" + acl
}

// startGateway starts a gateway and waits for all of its servers' tools.
func startGateway(t *testing.T, r *realm, policies string, servers ...config.ServerSpec) *gateway {
	t.Helper()
	g := &gateway{realm: r, policies: filepath.Join(t.TempDir(), "policies.yaml")}
	require.NoError(t, os.WriteFile(g.policies, []byte(policies), 0o600))
	g.Gateway = testbed.StartGateway(t, testbed.Options{
		Servers: servers,
		Flags:   []string{"--policies", g.policies},
		Env: []string{
			"OAUTH_RESOURCE_NAME=The tools", "OAUTH_AUTHORIZATION_SERVERS=" + r.issuer, "OAUTH_SCOPES_SUPPORTED=basic,groups,roles,mcp-gateway",
		},
	})
	testbed.Await(t, "tools of every server", func() bool {
		offer := map[string]bool{}
		for _, tool := range g.Status(t).Tools {
			offer[tool.Server] = true
		}
		return len(offer) == len(servers)
	})
	return g
}

// startExample starts a gateway as `make oauth-example-setup` does.
func startExample(t *testing.T, r *realm) *gateway {
	t.Helper()
	return startGateway(t, r, shippedPolicies(t, r),
		testbed.ServerSpec("weather", testbed.Example(t, "weather").URL), testbed.ServerSpec("time", testbed.Example(t, "time").URL))
}

// bearer are the headers that send a token.
func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// caller is a client that sends one token with everything.
type caller struct {
	*testbed.Client

	token string
}

// connect opens a session with a token.
func (g *gateway) connect(t *testing.T, token string) *caller {
	t.Helper()
	c := &caller{Client: testbed.NewClient(t, g.Endpoint)}
	c.become(token)
	c.Initialize(t, "{}")
	return c
}

// become has the client send another token from now on.
func (c *caller) become(token string) {
	c.token = token
	c.HTTP = &http.Client{Transport: withToken{http.DefaultTransport, token}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// as is a client of the same session with another token.
func (c *caller) as(token string) *caller {
	other := &caller{Client: c.At(c.Endpoint)}
	other.become(token)
	return other
}

// withToken adds a token to requests that have no Authorization of their own.
type withToken struct {
	http.RoundTripper

	token string
}

func (w withToken) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Authorization") == "" && w.token != "" {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	return w.RoundTripper.RoundTrip(req)
}
