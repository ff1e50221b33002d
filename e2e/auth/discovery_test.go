package auth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// challenge is what a WWW-Authenticate header of the Bearer scheme says.
func challenge(t *testing.T, a *testbed.Answer) map[string]string {
	t.Helper()
	values := a.Header.Values("Www-Authenticate")
	require.Len(t, values, 1, "one challenge: %v", a)
	rest, ok := strings.CutPrefix(values[0], "Bearer ")
	require.True(t, ok, values[0])
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`([a-z_]+)="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// unauthorized checks that an answer is the one for those without a good token (Invariants 5 and 7), and returns its challenge.
func unauthorized(t *testing.T, g *gateway, a *testbed.Answer, id string) map[string]string {
	t.Helper()
	require.Equal(t, http.StatusUnauthorized, a.Status, "%v", a)
	e := a.Error(t)
	assert.Equal(t, http.StatusUnauthorized, e.Code)
	assert.Equal(t, id, e.ID, "the error has the request's own id")
	c := challenge(t, a)
	assert.True(t, strings.HasPrefix(c["resource_metadata"], g.Base+"/.well-known/oauth-protected-resource"), "%v", c)
	assert.Equal(t, "basic groups roles mcp-gateway", c["scope"])
	return c
}

// getJSON reads a document from outside of the protected endpoint.
func getJSON(t *testing.T, from string, into any) {
	t.Helper()
	a := testbed.Get(t, from)
	require.Equal(t, http.StatusOK, a.Status, "%s: %v", from, a)
	require.NoError(t, json.Unmarshal([]byte(a.Body), into), a.Body)
}

// firstMessage is what a client begins with.
const firstMessage = `{"jsonrpc":"2.0","id":"first","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`

// discover walks from a challenge to the authorization server, as RFC 9728 and the MCP authorization specification say.
func discover(t *testing.T, g *gateway) (authorizationServer, map[string]string) {
	t.Helper()
	first := testbed.NewClient(t, g.Endpoint).Post(t, firstMessage)
	told := unauthorized(t, g, first, `"first"`)
	var resource struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
		BearerMethods        []string `json:"bearer_methods_supported"`
		Scopes               []string `json:"scopes_supported"`
	}
	getJSON(t, told["resource_metadata"], &resource)
	assert.Equal(t, g.Endpoint, resource.Resource, "RFC 9728, section 3.3: a client refuses any other")
	require.Equal(t, []string{g.realm.issuer}, resource.AuthorizationServers)
	assert.Equal(t, []string{"header"}, resource.BearerMethods)
	assert.Equal(t, told["scope"], strings.Join(resource.Scopes, " "))

	issuer, err := url.Parse(resource.AuthorizationServers[0])
	require.NoError(t, err)
	var server authorizationServer
	getJSON(t, issuer.Scheme+"://"+issuer.Host+"/.well-known/oauth-authorization-server"+issuer.Path, &server)
	assert.Equal(t, resource.AuthorizationServers[0], server.Issuer, "RFC 8414, section 3.3")
	assert.Contains(t, server.CodeChallengeMethodsSupported, "S256", "an MCP client goes no further without it")
	return server, told
}

// register is RFC 7591's registration of a public client on this machine.
func register(t *testing.T, server authorizationServer, redirect, scope string) (status int, client string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"client_name": "A client of the tests", "client_uri": "https://github.com/modelcontextprotocol/inspector", "redirect_uris": []string{redirect}, "scope": scope,
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
	})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.RegistrationEndpoint, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		ClientID string `json:"client_id"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return resp.StatusCode, answer.ClientID
}

// TestDiscoveryChain: a client that knows nothing but the endpoint's URL finds its way to a token, with nothing but what
// the specifications tell it, and then sees exactly what its user may use.
func TestDiscoveryChain(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	server, told := discover(t, g)
	for user, tools := range map[string][]string{"mcp": ofMCP(), "mcp-admin": everything(), "guest": nil} {
		flow := codeFlow{server: server, redirect: fmt.Sprintf("http://127.0.0.1:%d/callback", testbed.FreePort(t)), scope: told["scope"], resource: g.Endpoint}
		var status int
		status, flow.client = register(t, server, flow.redirect, flow.scope)
		require.Equal(t, http.StatusCreated, status)
		token := g.realm.grant(t, flow.exchange(flow.login(t, user, user)))
		claims := claimsOf(t, token)
		assert.Equal(t, g.realm.issuer, claims["iss"])
		assert.Contains(t, claims["aud"], "mcp-gateway")
		assert.Equal(t, user, claims["preferred_username"])
		assert.NotEmpty(t, claims["sub"])
		assert.InDelta(t, 300, claims["exp"].(float64)-claims["iat"].(float64), 1, "access tokens live five minutes")
		assert.Equal(t, tools, g.connect(t, token).ToolNames(t), user)
	}
}

// TestRealmIsStrict: what the example's realm lets anonymous clients register, and how they must log in.
func TestRealmIsStrict(t *testing.T) {
	t.Parallel()
	r := sharedRealm(t)
	var server authorizationServer
	getJSON(t, r.base+"/.well-known/oauth-authorization-server/realms/"+r.name, &server)
	status, _ := register(t, server, "https://evil.example.com/callback", "basic")
	assert.Equal(t, http.StatusForbidden, status, "a redirect must stay on this machine")
	status, _ = register(t, server, "http://127.0.0.1:1/callback", "weather-server")
	assert.Equal(t, http.StatusForbidden, status, "nobody registers for another audience")

	flow := codeFlow{server: server, redirect: "http://127.0.0.1:1/callback", scope: "basic"}
	status, flow.client = register(t, server, flow.redirect, flow.scope)
	require.Equal(t, http.StatusCreated, status)
	for name, change := range map[string]func(url.Values){
		"no PKCE":    func(q url.Values) { q.Del("code_challenge"); q.Del("code_challenge_method") },
		"plain PKCE": func(q url.Values) { q.Set("code_challenge_method", "plain") },
	} {
		_, location, page := flow.page(t, browser(t), change)
		if assert.NotNil(t, location, "%s: %s", name, page) {
			assert.Equal(t, "invalid_request", location.Query().Get("error"), name)
		}
	}
	stolen := flow.exchange(flow.login(t, "mcp", "mcp"))
	stolen.Set("code_verifier", strings.Repeat("x", 64))
	status, body := postForm(t, r.tokenEndpoint(), stolen)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, body, "invalid_grant")
}
