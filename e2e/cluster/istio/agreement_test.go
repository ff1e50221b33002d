package istio_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
)

// expressible leaves out of values what an AuthorizationPolicy has no words for.
func expressible(t *testing.T, values []byte) []byte {
	t.Helper()
	var file struct {
		Policies map[string]any `yaml:"policies"`
	}
	require.NoError(t, yaml.Unmarshal(values, &file))
	if acl, ok := file.Policies["acl"].([]any); ok {
		kept := []any{}
		for _, rule := range acl {
			members := rule.(map[string]any)
			if delete(members, "when"); len(members) > 1 || members["everyone"] != nil {
				kept = append(kept, rule)
			}
		}
		file.Policies["acl"] = kept
	}
	out, err := yaml.Marshal(map[string]any{"policies": file.Policies})
	require.NoError(t, err)
	return out
}

// What Istio's objects let pass, and what the same values say of it in our own process, is the same, whatever the values, the caller and the request.
func (w *world) testAgreement(t *testing.T, issuer *testbed.Issuer) {
	const name = "https://issuer.example.com/realms/mcp"
	g := policytest.NewGenerator(policytest.Seed(t, "ISTIO"), name, "mcp-gateway")
	counts := map[policytest.Outcome]int{}
	var last string
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	for n := range policytest.Policies(t, "ISTIO", 8, 2) {
		file, _, err := g.Values()
		require.NoError(t, err)
		file = expressible(t, file)
		set, err := policy.Parse("generated.yaml", file)
		require.NoError(t, err, "%s", file)
		manifest, refused := renderPolicies(t, string(file), w.keysOf(set, issuer)...)
		require.NoError(t, refused, "%s", file)
		w.put(t, manifest)
		for range 10 {
			var claims map[string]any
			if set.Authentication != nil && g.Chance(95) {
				claims = asDecoded(t, g.Claims())
				claims["iss"] = name
			}
			for range 10 {
				r := g.Request()
				c := policytest.Case{Claims: claims, Method: methodOf(r), Request: r, Repeat: 1, Then: outcome(set, claims, r)}
				counts[c.Then]++
				last = fmt.Sprintf("policy %d:\n%s\nrequest: %+v\nclaims: %v", n, file, r, claims)
				w.decided(t, set, issuer, c)
			}
		}
		if meant(t, manifest) != (inForce{}) {
			w.lift(t)
		}
	}
	t.Logf("outcomes: %v", counts)
}

// outcome is what the values say of a request in our own process.
func outcome(set *policy.Set, claims map[string]any, r policy.Request) policytest.Outcome {
	var id *policy.Identity
	if claims != nil {
		id = set.Identify(claims)
	}
	switch {
	case set.Decide(id, r).Allowed:
		return policytest.Allowed
	case set.Authentication != nil && id == nil:
		return policytest.Unauthenticated
	}
	return policytest.Denied
}

func methodOf(r policy.Request) string {
	return map[policy.Kind]string{policy.None: "tools/list", policy.Tool: "tools/call", policy.Prompt: "prompts/get", policy.Resource: "resources/read"}[r.Kind]
}

// asDecoded gives claims the types that they have after a token was decoded, without those that are left out.
func asDecoded(t *testing.T, claims map[string]any) map[string]any {
	t.Helper()
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}
