package xds_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// asCall is the request as the router has labelled it.
func asCall(r policy.Request) stubCall {
	facts := map[string]string{wire.KeyServer: r.Server}
	key := map[policy.Kind]string{policy.Tool: wire.KeyTool, policy.Prompt: wire.KeyPrompt, policy.Resource: wire.KeyResource}[r.Kind]
	if key != "" {
		facts[key], facts[wire.KeyPublicName] = r.Name, r.PublicName
	}
	if r.Hints != "" {
		facts[wire.KeyHints] = r.Hints
	}
	return stubCall{To: "a", Metadata: facts}
}

// ask makes a request over connections that stay, and returns the status.
func ask(t *testing.T, client *http.Client, url, body, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode
}

// What Envoy lets pass and what the same values say of it in our own process, by which lists are made, is the same, whatever the values, the
// caller and the request.
func TestEnvoyAgrees(t *testing.T) {
	const requestsEach, callersEach = 100, 10
	g := policytest.NewGenerator(policytest.Seed(t, "XDS"), issuerName, audience)
	key := newIssuer(t, "k")
	a := upstream(t, "a", saying("done"))
	gw := startWithValues(t, values(&policy.Set{}, jwks(t, key)), a)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	counts := map[int]int{}
	byCondition := 0
	for n := range policytest.Policies(t, "XDS", 100, 10) {
		file, authenticated, err := g.Values()
		require.NoError(t, err)
		set, err := policy.Parse("generated.yaml", file)
		require.NoError(t, err, "%s", file)
		gw.change(t, values(set, jwks(t, key)), a)
		for range callersEach {
			var token string
			var id *policy.Identity
			var claims map[string]any
			if authenticated && g.Chance(95) {
				claims = goodClaims(g.Claims())
				token = key.token(t, claims)
				id = identify(t, set, claims)
			}
			for range requestsEach / callersEach {
				r := g.Request()
				want := set.Decide(id, r)
				got := ask(t, client, gw.url(), asCall(r).body(t), token)
				counts[got]++
				if want.Allowed && conditional(set, want.Rule) {
					byCondition++
				}
				require.Equal(t, status(want, authenticated && id == nil), got, "policy %d:\n%s\nrequest: %+v\nclaims: %s\ndecision: %+v", n, file, r, marshal(t, claims), want)
			}
		}
	}
	t.Logf("decisions by status: %v; allowed by a condition: %d", counts, byCondition)
	total := policytest.Policies(t, "XDS", 100, 10) * requestsEach
	for _, status := range []int{http.StatusOK, http.StatusForbidden} {
		require.Greater(t, counts[status], total/10, "too few of status %d to prove anything", status)
	}
	require.Greater(t, counts[http.StatusUnauthorized], total/100)
	require.Greater(t, byCondition, total/50)
}

// The decision tests that every engine must pass, passed by Envoy.
func TestEnvoyPassesDecisionTests(t *testing.T) {
	files, err := policytest.Load("../../policies/tests")
	require.NoError(t, err)
	key := newIssuer(t, "k")
	a := upstream(t, "a", saying("done"))
	gw := startWithValues(t, values(&policy.Set{}, jwks(t, key)), a)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	outcomes := map[int]policytest.Outcome{
		http.StatusOK: policytest.Allowed, http.StatusForbidden: policytest.Denied,
		http.StatusUnauthorized: policytest.Unauthenticated, http.StatusTooManyRequests: policytest.Limited,
	}
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			gw.change(t, values(&policy.Set{}, jwks(t, key)), a) // so that every budget is new
			gw.change(t, values(f.Set, jwks(t, key)), a)
			for _, c := range f.Cases {
				call := asCall(c.Request)
				call.Metadata[wire.KeyMethod] = c.Method
				var token string
				if c.Claims != nil {
					token = key.token(t, verifiable(f.Set, c.Claims))
				}
				for n := range c.Repeat {
					want := policytest.Allowed
					if n == c.Repeat-1 {
						want = c.Then
					}
					require.Equal(t, want, outcomes[ask(t, client, gw.url(), call.body(t), token)], "%s, time %d", c.Name, n+1)
				}
			}
		})
	}
}

// verifiable adds to claims what a valid token has.
func verifiable(set *policy.Set, claims map[string]any) map[string]any {
	out := goodClaims(nil)
	maps.Copy(out, claims)
	if set.Authentication != nil {
		out["aud"] = set.Authentication.Audiences[0]
	}
	return out
}

func conditional(set *policy.Set, rule string) bool {
	for _, r := range set.ACL {
		if r.Name == rule {
			return r.When != nil
		}
	}
	return false
}

// identify reads claims as our own process does, from the token's JSON.
func identify(t *testing.T, set *policy.Set, claims map[string]any) *policy.Identity {
	t.Helper()
	var read map[string]any
	require.NoError(t, json.Unmarshal(marshal(t, claims), &read))
	return set.Identify(read)
}

// status is what a client sees of a decision.
func status(d policy.Decision, noToken bool) int {
	switch {
	case d.Allowed:
		return http.StatusOK
	case noToken:
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}
