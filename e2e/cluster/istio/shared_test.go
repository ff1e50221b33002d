package istio_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// askBy makes a request by a version of HTTP, for a host and a path just as they are written. The headers come in pairs; empty ones are left out.
func (w *world) askBy(t *testing.T, version, method, host, path, body string, headers ...string) *testbed.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+host, strings.NewReader(body))
	require.NoError(t, err)
	req.URL.Opaque = path
	if strings.HasPrefix(path, "//") {
		req.URL.Opaque = "//" + host + path // the transport takes the host off again
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	transport := &http.Transport{
		DisableCompression: true, Protocols: &http.Protocols{},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, hostOf(w.base))
		},
	}
	defer transport.CloseIdleConnections()
	transport.Protocols.SetHTTP1(version == "1")
	transport.Protocols.SetUnencryptedHTTP2(version == "2")
	resp, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return &testbed.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(text)}
}

// Applications that share the Gateway get and give what they would without policies, with whatever tokens they use.
func (w *guarded) testGuardedNeighbours(t *testing.T) {
	w.testNeighbours(t)
	for _, headers := range [][]string{
		nil,
		{"Authorization", "Bearer garbage"},
		{"Authorization", "Bearer " + testbed.NewSigningKey(t, "shop").Sign(t, nil, map[string]any{"iss": "https://login.shop.example.com", "sub": "x"})},
		{"Authorization", w.issuer.Token(t, "nobody", map[string]any{"aud": "shop"})},
		{"Authorization", "Basic YTpi"},
	} {
		for _, host := range []string{shopHost, endpointHost} {
			a := w.ask(t, http.MethodPost, "http://"+host+"/shop/cart", "body", headers...)
			require.Equal(t, http.StatusOK, a.Status, "%v: %s", headers, a)
			req, _ := w.shop.got()
			if headers != nil {
				assert.Equal(t, headers[1], req.Header.Get("Authorization"))
			}
		}
	}
	// Where the endpoint's host has neither our paths nor another application's, nothing of ours answers.
	a := w.ask(t, http.MethodGet, "http://"+endpointHost+"/elsewhere", "")
	assert.Equal(t, http.StatusNotFound, a.Status)
	assert.Empty(t, a.Body)
}

// neighboursTokens has an application of the same Gateway believe tokens of the same issuer, of whatever audience.
const neighboursTokens = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: shop, namespace: gateways}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: mcp}]
  jwtRules: [{issuer: "ISSUER", forwardOriginalToken: true}]
`

// A token that is good for a neighbour, of the same issuer even, is not good for the endpoint, and the other way round nothing changes.
func (w *guarded) testNeighboursTokens(t *testing.T) {
	w.kubectl(t, strings.ReplaceAll(neighboursTokens, "ISSUER", w.issuer.URL), "apply", "-f", "-")
	defer func() {
		w.kubectl(t, "", "-n", "gateways", "delete", "requestauthentication", "shop")
		testbed.Await(t, "one issuer again", func() bool { return w.has(t).Tokens == 1 })
	}()
	testbed.Await(t, "both to be in force", func() bool { return w.has(t).Tokens == 2 })
	forShop := w.issuer.Token(t, "ann", map[string]any{"aud": "shop"})
	assert.Equal(t, http.StatusOK, w.ask(t, http.MethodGet, "http://"+shopHost+"/shop", "", "Authorization", forShop).Status)
	assert.Equal(t, http.StatusUnauthorized, w.ask(t, http.MethodGet, "http://"+shopHost+"/shop", "", "Authorization", "Bearer garbage").Status, "the neighbour's own will")
	w.quiet(t, func() {
		a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, "Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Authorization", forShop)
		require.Equal(t, http.StatusUnauthorized, a.Status, a)
		assert.Equal(t, []string{badToken}, a.Header.Values("WWW-Authenticate"))
		a = w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
		assert.Equal(t, []string{missingToken}, a.Header.Values("WWW-Authenticate"))
	})
	ann := w.as(t, "ann", nil)
	assert.Contains(t, ann.Call(t, "plain_hello", "{}").Text(t), "hello")
	assert.Equal(t, http.StatusForbidden, ann.Call(t, "secret_hello", "{}").Status)
}

// neighboursRights opens one path of a neighbour's and nothing else, as its owner means it.
const neighboursRights = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shop, namespace: gateways}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: mcp}]
  action: ALLOW
  rules: [{to: [{operation: {hosts: [shop.example.com], paths: [/shop/open]}}]}]
`

// Where a neighbour says what of it may pass, that is what passes, if the values say that it does.
func (w *guarded) testNeighboursPolicies(t *testing.T) {
	w.kubectl(t, neighboursRights, "apply", "-f", "-")
	manifest, refused := renderPolicies(t, w.values(firstRules), "--set", "policies.istio.othersPass=false")
	require.NoError(t, refused)
	want := meant(t, manifest)
	want.Allowing++ // the neighbour's
	w.kubectl(t, manifest, "apply", "-f", "-")
	testbed.Await(t, "both to be in force", func() bool { return w.has(t) == want })
	assert.Equal(t, http.StatusOK, w.ask(t, http.MethodGet, "http://"+shopHost+"/shop/open", "").Status)
	a := w.ask(t, http.MethodGet, "http://"+shopHost+"/shop/closed", "")
	assert.Equal(t, http.StatusForbidden, a.Status)
	assert.Equal(t, "RBAC: access denied", a.Body, "what Envoy says of others is Envoy's")
	ann := w.as(t, "ann", nil)
	assert.Contains(t, ann.Call(t, "plain_hello", "{}").Text(t), "hello")
	assert.Equal(t, http.StatusForbidden, ann.Call(t, "secret_hello", "{}").Status)
	w.kubectl(t, "", "-n", "gateways", "delete", "authorizationpolicy", "shop")
	w.enforce(t, w.values(firstRules))
}

// A policy that is accepted and not in force is found out by a call that must not pass, as the guide tells people to make.
func (w *guarded) testNotInForce(t *testing.T) {
	nobody := w.as(t, "nobody", nil)
	require.Equal(t, http.StatusForbidden, nobody.Call(t, "plain_hello", "{}").Status)

	// A filter of somebody else's that Envoy does not take keeps it at the policies that it has.
	w.apply(t, "broken.yaml")
	testbed.Await(t, "Envoy to refuse the listener", func() bool {
		_, refused := w.filters(t)
		return refused != ""
	})
	manifest, refused := renderPolicies(t, w.values(`[{everyone: true, allow: [plain_hello]}]`))
	require.NoError(t, refused)
	w.kubectl(t, manifest, "apply", "-f", "-")
	testbed.Await(t, "the broker to have the new values", func() bool { return len(nobody.ToolNames(t)) == 1 })
	assert.Equal(t, http.StatusForbidden, nobody.Call(t, "plain_hello", "{}").Status, "shown, and not to be had")
	w.kubectl(t, "", "-n", "gateways", "delete", "envoyfilter", "broken")
	testbed.Await(t, "Envoy to take the listener again", func() bool { return nobody.Call(t, "plain_hello", "{}").Status == http.StatusOK })
	w.enforce(t, w.values(firstRules))

	// Somebody else's policy for all opens tools: of calls that Envoy makes itself only this tells.
	w.kubectl(t, strings.ReplaceAll(strings.ReplaceAll(neighboursRights, "name: shop", "name: all"), "{to: [{operation: {hosts: [shop.example.com], paths: [/shop/open]}}]}", "{}"), "apply", "-f", "-")
	testbed.Await(t, "the forbidden call to pass", func() bool { return nobody.Call(t, "plain_hello", "{}").Status == http.StatusOK })
	assert.Equal(t, http.StatusForbidden, nobody.Call(t, "secret_hello", "{}").Status, "what the broker carries, it judges itself")
	a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
	assert.Equal(t, http.StatusUnauthorized, a.Status, "what denies is not opened by what allows")
	w.kubectl(t, "", "-n", "gateways", "delete", "authorizationpolicy", "all")
	testbed.Await(t, "the forbidden call to be refused", func() bool { return nobody.Call(t, "plain_hello", "{}").Status == http.StatusForbidden })

	// Without the RequestAuthentication no token is good.
	w.kubectl(t, "", "-n", "gateways", "delete", "requestauthentication", "mcp-mcp-authentication")
	testbed.Await(t, "no token to be good", func() bool { return w.has(t).Tokens == 0 })
	assert.Equal(t, http.StatusUnauthorized, nobody.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).Status)
}
