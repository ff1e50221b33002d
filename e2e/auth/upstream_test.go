package auth_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// gatewaySecret is the secret of the gateway's own client, which each Keycloak makes for itself (Invariant 4).
func (r *realm) gatewaySecret(t *testing.T) string {
	t.Helper()
	var secret struct{ Value string }
	r.admin(t, http.MethodGet, "/clients/"+r.find(t, "/clients", "mcp-gateway")+"/client-secret", nil, &secret)
	require.NotEmpty(t, secret.Value, "the realm file has no secret")
	return secret.Value
}

// tokensOf are the claims of the tokens that came with a client's tool calls.
func tokensOf(t *testing.T, u *testbed.Upstream, client string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, call := range u.Calls(client, testbed.RPC("tools/call")) {
		token, ok := strings.CutPrefix(call.Header.Get("Authorization"), "Bearer ")
		require.True(t, ok, "%v", call.Header)
		out = append(out, claimsOf(t, token))
	}
	return out
}

// TestTokenExchange: the gateway's own client gets, for a caller's token, one that a single server takes (RFC 8693).
func TestTokenExchange(t *testing.T) {
	t.Parallel()
	r := sharedRealm(t)
	subject := r.token(t, "mcp")
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"mcp-gateway"}, "client_secret": {r.gatewaySecret(t)},
		"subject_token": {subject}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "audience": {"weather-server"},
	}
	exchanged := claimsOf(t, r.grant(t, form))
	assert.Equal(t, "weather-server", exchanged["aud"], "of this server and no other")
	assert.Equal(t, claimsOf(t, subject)["sub"], exchanged["sub"])
	form.Set("audience", "mcp-inspector")
	status, body := postForm(t, r.tokenEndpoint(), form)
	assert.Equal(t, http.StatusBadRequest, status, body)
}

// TestCredentialsOfServers: a server gets a token of each caller that is good for this server alone, or one of the gateway,
// and never the one that the caller sent (Invariant 6).
func TestCredentialsOfServers(t *testing.T) {
	t.Parallel()
	r := sharedRealm(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(r.gatewaySecret(t)), 0o600))
	var servers []config.ServerSpec
	upstreams := map[string]*testbed.Upstream{}
	for name, credential := range map[string]config.CredentialSpec{
		"exchange": {TokenExchange: &config.TokenExchangeSpec{Issuer: r.issuer, ClientID: "mcp-gateway", ClientSecret: config.SecretSpec{File: secret}, Audience: "weather-server"}},
		"own":      {ClientCredentials: &config.ClientCredentialsSpec{Issuer: r.issuer, ClientID: "mcp-gateway", ClientSecret: config.SecretSpec{File: secret}}},
	} {
		upstreams[name] = testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		spec := testbed.ServerSpec(name, upstreams[name].URL)
		spec.Credential = &credential
		servers = append(servers, spec)
	}
	g := startGateway(t, r, policiesOf(r, `    - {groups: [developers, admins], allow: [{server: "*"}]}`+"\n"), servers...)
	for _, user := range []string{"mcp", "mcp-admin"} {
		token := r.token(t, user)
		c := &caller{Client: testbed.NewClient(t, g.Endpoint)}
		c.become(token)
		c.Name = user
		c.Initialize(t, "{}")
		for range 3 {
			c.Call(t, "exchange_tool", "{}").Result(t)
			c.Call(t, "own_tool", "{}").Result(t)
		}
		sub := claimsOf(t, token)["sub"]
		exchanged := tokensOf(t, upstreams["exchange"], user)
		require.Len(t, exchanged, 3)
		for _, claims := range exchanged {
			assert.Equal(t, sub, claims["sub"], "the server is told who calls")
			assert.Equal(t, "weather-server", claims["aud"])
			assert.Equal(t, exchanged[0]["jti"], claims["jti"], "one exchange serves several calls")
		}
		own := tokensOf(t, upstreams["own"], user)
		require.Len(t, own, 3)
		for _, claims := range own {
			assert.NotEqual(t, sub, claims["sub"])
			assert.Equal(t, "mcp-gateway", claims["azp"])
		}
	}
}
