package istio_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// inexpressible are the decision tests whose values an AuthorizationPolicy cannot express, and what the chart says of them.
func inexpressible() map[string]string {
	return map[string]string{
		"conditions":              "policies.acl[0].when: an AuthorizationPolicy evaluates no expressions",
		"example-admin":           `policies.authentication.clockSkew: "10s" is not what Istio does`,
		"example-read-only-agent": "policies.acl[1].when: an AuthorizationPolicy evaluates no expressions",
	}
}

const metadataURL = "http://" + endpointHost + "/.well-known/oauth-protected-resource/mcp"

// What Istio's objects decide is what the broker decides by the same values: every decision test, with the real istiod and the real Envoy. The router
// is a stub, since the tests call what no server has.
func TestDecisions(t *testing.T) {
	files, err := policytest.Load("../../../policies/tests")
	require.NoError(t, err)
	w := newMesh(t)
	w.startStubs(t)
	w.wire(t, "--public-url", "http://"+endpointHost)
	w.awaitWired(t)
	issuer := testbed.NewIssuer(t)
	for i := range files {
		f := &files[i]
		t.Run(f.Name, func(t *testing.T) {
			manifest, refused := renderPolicies(t, string(f.Values), w.keysOf(f.Set, issuer)...)
			if want := inexpressible()[f.Name]; want != "" {
				require.ErrorContains(t, refused, want)
				return
			}
			require.NoError(t, refused)
			begin := time.Now()
			w.put(t, manifest)
			t.Logf("in force after %v", time.Since(begin).Round(time.Millisecond))
			defer w.lift(t)
			for _, c := range f.Cases {
				t.Run(c.Name, func(t *testing.T) { w.decided(t, f.Set, issuer, c) })
			}
		})
	}
	t.Run("whatever is asked", func(t *testing.T) { w.testAgreement(t, issuer) })
}

// keysOf says where the keys are, since the issuers of the tests are nowhere.
func (w *world) keysOf(set *policy.Set, issuer *testbed.Issuer) []string {
	if set.Authentication == nil {
		return nil
	}
	return []string{"--set", "policies.authentication.jwksURI=" + issuer.URL + "/keys"}
}

// decided makes the request of a case as often as it says, and looks at the last answer.
func (w *world) decided(t *testing.T, set *policy.Set, issuer *testbed.Issuer, c policytest.Case) {
	t.Helper()
	var headers []string
	if c.Claims != nil {
		claims := map[string]any{"aud": "mcp-gateway", "exp": time.Now().Add(time.Hour).Unix()}
		if set.Authentication != nil {
			claims["aud"] = set.Authentication.Audiences[len(set.Authentication.Audiences)-1]
		}
		maps.Copy(claims, c.Claims)
		headers = []string{"Authorization", "Bearer " + issuer.Key().Sign(t, nil, claims)}
	}
	body, err := json.Marshal(said{ID: 1, Facts: facts(c.Method, c.Request)})
	require.NoError(t, err)
	var a *testbed.Answer
	for n := range c.Repeat {
		a = w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", string(body), append(headers, "Content-Type", "application/json")...)
		if n < c.Repeat-1 {
			require.Equal(t, http.StatusOK, a.Status, "request %d: %s", n, a)
		}
	}
	checkOutcome(t, c.Then, c.Claims != nil && set.Authentication != nil, a)
}

// facts are what the router says of a request.
func facts(method string, r policy.Request) map[string]string {
	out := map[string]string{wire.KeyMethod: method, wire.KeyServer: r.Server}
	if r.Kind == policy.None {
		if r.Server == "" {
			out[wire.KeyServer] = wire.BrokerServer
		}
		return out
	}
	key := map[policy.Kind]string{policy.Tool: wire.KeyTool, policy.Prompt: wire.KeyPrompt, policy.Resource: wire.KeyResource}[r.Kind]
	out[key], out[wire.KeyPublicName] = r.Name, r.PublicName
	if r.Hints != "" {
		out[wire.KeyHints] = r.Hints
	}
	return out
}

func checkOutcome(t *testing.T, want policytest.Outcome, withToken bool, a *testbed.Answer) {
	t.Helper()
	const parameters = `resource_metadata="` + metadataURL + `", scope="basic"`
	refusal := func(status int, message, challenge string) {
		require.Equal(t, status, a.Status, a)
		assert.JSONEq(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":%d,"message":%q}}`, status, message), a.Body)
		if challenge == "" {
			assert.Empty(t, a.Header.Values("WWW-Authenticate"))
			return
		}
		assert.Equal(t, []string{challenge}, a.Header.Values("WWW-Authenticate"))
	}
	switch want {
	case policytest.Allowed:
		require.Equal(t, http.StatusOK, a.Status, a)
		assert.Equal(t, "done", a.Body)
	case policytest.Denied:
		challenge := ""
		if withToken {
			challenge = `Bearer error="insufficient_scope", scope="basic", resource_metadata="` + metadataURL + `"`
		}
		refusal(http.StatusForbidden, "this request is not allowed", challenge)
	case policytest.Unauthenticated:
		if withToken {
			refusal(http.StatusUnauthorized, "the access token is not accepted", `Bearer error="invalid_token", `+parameters)
		} else {
			refusal(http.StatusUnauthorized, "authentication is needed", "Bearer "+parameters)
		}
	case policytest.Limited:
		refusal(http.StatusTooManyRequests, "too many requests", "")
		seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
		require.NoError(t, err)
		assert.Positive(t, seconds)
	}
}
