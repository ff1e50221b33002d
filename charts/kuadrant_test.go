package charts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/internal/authn"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	kuadrantName = "mcp-gateway-policies"
	testIssuer   = "https://issuer.example.com/realms/mcp"
	testAudience = "mcp-gateway"
)

// kuadrant is what the chart makes of policy values, as Kuadrant's parts would run it.
type kuadrant struct {
	set       *policy.Set
	authorino *authorino // nil without an AuthPolicy
	limitador *limitador // nil without a RateLimitPolicy
	grants    *authn.GrantVerifier
	issuer    *ecdsa.PrivateKey
}

// renderPolicies renders the chart with policy values as they stand in a file for --policies.
func renderPolicies(t testing.TB, values []byte, args ...string) string {
	t.Helper()
	return render(t, release, namespace, append([]string{"--values", valuesFile(t, string(values)), "--set", "policies.enabled=true,policies.engine=kuadrant"}, args...)...)
}

// newKuadrant fails if the broker would be given other values than those that are enforced.
func newKuadrant(t testing.TB, values []byte) *kuadrant {
	t.Helper()
	manifest := renderPolicies(t, values)
	k := &kuadrant{}
	broker := object(t, manifest, "ConfigMap", kuadrantName)
	text, _, err := unstructured.NestedString(broker.Object, "data", "policies.yaml")
	require.NoError(t, err)
	k.set, err = policy.Parse("policies.yaml", []byte(text))
	require.NoError(t, err, text)
	k.issuer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var secrets []*unstructured.Unstructured
	for _, o := range objects(t, manifest) {
		if o.GetKind() == "Secret" && o.GetNamespace() == "kuadrant-system" {
			secrets = append(secrets, o)
		}
	}
	for _, o := range objects(t, manifest) {
		switch o.GetKind() {
		case "AuthPolicy":
			k.authorino = newAuthorino(t, o, secrets...)
			k.authorino.keys["issuer"] = &k.issuer.PublicKey
		case "RateLimitPolicy":
			k.limitador = newLimitador(t, o, k.set)
		}
	}
	if public, found, _ := unstructured.NestedString(broker.Object, "data", "authorizer.pem"); found {
		k.grants = grantsBy(t, public)
	}
	return k
}

// grantsBy is what the broker makes of a public key.
func grantsBy(t testing.TB, public string) *authn.GrantVerifier {
	t.Helper()
	v, err := authn.NewGrantVerifier(authn.GrantOptions{PublicKeyPEM: []byte(public), Issuer: "mcp-gateway"})
	require.NoError(t, err)
	return v
}

func secretText(t testing.TB, secret *unstructured.Unstructured, key string) []byte {
	t.Helper()
	text, _, err := unstructured.NestedString(secret.Object, "data", key)
	require.NoError(t, err)
	out, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	return out
}

// token is one of the issuer's, made valid.
func (k *kuadrant) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": testIssuer, "aud": testAudience, "sub": "u-1", "exp": time.Now().Add(time.Hour).Unix()}
	if k.set.Authentication != nil {
		all["aud"] = k.set.Authentication.Audiences[0]
	}
	maps.Copy(all, claims)
	text, err := signed("issuer", k.issuer, all)
	require.NoError(t, err)
	return text
}

// asHeaders is a request as the router has labelled it.
func asHeaders(r policy.Request, method, token string) map[string]string {
	h := map[string]string{wire.HeaderMethod: method, wire.HeaderServer: headerValue(r.Server)}
	if key := map[policy.Kind]string{policy.Tool: wire.HeaderTool, policy.Prompt: wire.HeaderPrompt, policy.Resource: wire.HeaderResource}[r.Kind]; key != "" {
		h[key], h[wire.HeaderPublicName] = headerValue(r.Name), headerValue(r.PublicName)
	}
	if r.Hints != "" {
		h[wire.HeaderHints] = r.Hints
	}
	if token != "" {
		h["authorization"], h[wire.HeaderToken] = "Bearer "+token, token
	}
	return h
}

// headerValue encodes a name as MCP 2026-07-28 has it ("Value Encoding").
func headerValue(s string) string {
	plain := strings.TrimSpace(s) == s && !strings.HasPrefix(s, "=?base64?") && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
	if plain {
		return s
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// do makes a request once.
func (k *kuadrant) do(t testing.TB, r policy.Request, method, token string) policytest.Outcome {
	t.Helper()
	return k.decide(t, asHeaders(r, method, token))
}

// decide is what becomes of a request with the router's labels.
func (k *kuadrant) decide(t testing.TB, headers map[string]string) policytest.Outcome {
	t.Helper()
	var auth map[string]any
	if k.authorino != nil {
		a, err := k.authorino.check(headers)
		require.NoError(t, err)
		switch a.status {
		case 401:
			return policytest.Unauthenticated
		case 403:
			return policytest.Denied
		}
		auth = a.auth
	}
	if k.limitador != nil && !k.limitador.pass(t, headers, auth) {
		return policytest.Limited
	}
	return policytest.Allowed
}

// granted is what the broker shows a caller.
func (k *kuadrant) granted(t testing.TB, token string) *authn.Grants {
	t.Helper()
	headers := asHeaders(policy.Request{Server: wire.BrokerServer}, "tools/list", token)
	headers[wire.HeaderCluster] = wire.BrokerCluster
	a, err := k.authorino.check(headers)
	require.NoError(t, err)
	if a.status != 200 {
		return nil
	}
	grants, err := k.grants.Parse(a.headers[wire.HeaderAuthorized])
	require.NoError(t, err)
	return grants
}

// The decision tests that every engine must pass, passed by what Kuadrant is given.
func TestKuadrantPassesDecisionTests(t *testing.T) {
	files, err := policytest.Load("../policies/tests")
	require.NoError(t, err)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			k := newKuadrant(t, withoutClockSkew(t, f.Values))
			for _, c := range f.Cases {
				var token string
				if c.Claims != nil {
					token = k.token(t, c.Claims)
				}
				for n := range c.Repeat {
					want := policytest.Allowed
					if n == c.Repeat-1 {
						want = c.Then
					}
					require.Equal(t, want, k.do(t, c.Request, c.Method, token), "%s, time %d", c.Name, n+1)
				}
				if k.grants != nil && c.Then != policytest.Unauthenticated {
					assert.Equal(t, c.Then != policytest.Denied, k.granted(t, token).Allows(c.Request), "%s: what is shown", c.Name)
				}
			}
		})
	}
}

// withoutClockSkew leaves out what the chart refuses, as it says itself.
func withoutClockSkew(t testing.TB, values []byte) []byte {
	t.Helper()
	var file map[string]any
	require.NoError(t, yaml.Unmarshal(values, &file))
	if a, found, _ := unstructured.NestedMap(file, "policies", "authentication"); found {
		delete(a, "clockSkew")
		require.NoError(t, unstructured.SetNestedMap(file, a, "policies", "authentication"))
	}
	out, err := yaml.Marshal(file)
	require.NoError(t, err)
	return out
}

// What Kuadrant lets pass, what the broker shows by Authorino's word, and what the same values say of it in our own process are the same, whatever the
// values, the caller and the request.
func TestKuadrantAgrees(t *testing.T) {
	g := policytest.NewGenerator(policytest.Seed(t, "CHARTS"), testIssuer, testAudience)
	counts := map[policytest.Outcome]int{}
	for n := range policytest.Policies(t, "CHARTS", 30, 5) {
		file, authenticated, err := g.Values()
		require.NoError(t, err)
		k := newKuadrant(t, file)
		for range 10 {
			token, id := "", (*policy.Identity)(nil)
			if authenticated && g.Chance(95) {
				claims := asJSON(t, g.Claims())
				token = k.token(t, claims)
				id = k.set.Identify(claims)
			}
			grants := (*authn.Grants)(nil)
			if k.grants != nil {
				grants = k.granted(t, token)
			}
			for range 10 {
				r := g.Request()
				decision := k.set.Decide(id, r)
				want := policytest.Denied
				switch {
				case decision.Allowed:
					want = policytest.Allowed
				case authenticated && id == nil:
					want = policytest.Unauthenticated
				}
				got := k.do(t, r, "tools/call", token)
				counts[got]++
				require.Equal(t, want, got, "policy %d:\n%s\nrequest: %+v\nidentity: %+v", n, file, r, id)
				if k.grants != nil {
					require.Equal(t, decision.Allowed, grants.Allows(r), "policy %d shows:\n%s\nrequest: %+v\nidentity: %+v", n, file, r, id)
				}
			}
		}
	}
	t.Logf("outcomes: %v", counts)
	total := policytest.Policies(t, "CHARTS", 30, 5) * 100
	for _, outcome := range []policytest.Outcome{policytest.Allowed, policytest.Denied} {
		require.Greater(t, counts[outcome], total/20, "too few %s to prove anything", outcome)
	}
}

// asJSON gives claims the types that they have after a token was decoded, without those that are left out.
func asJSON(t testing.TB, claims map[string]any) map[string]any {
	t.Helper()
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// Names that are no plain ASCII are encoded in headers. A glob finds their beginnings and ends all the same, and never what only the encoding looks like.
func TestKuadrantFindsEncodedNames(t *testing.T) {
	g := policytest.NewGenerator(policytest.Seed(t, "CHARTS"), testIssuer, testAudience)
	word := func(most int) string {
		letters := []rune(`ab=?+/"\ ß€😀YQ64`)
		out := ""
		for range 1 + g.IntN(most) {
			out += string(letters[g.IntN(len(letters))])
		}
		return out
	}
	names := []string{"=?base64?", "=?base64?YQ==?=", "?=", " a", "a ", "größe"}
	for range 150 {
		names = append(names, word(7))
	}
	globs := []string{"=*", "=?*", "=?base64?*", "=?base64?Y*", "=?base64?YQ==?=", "*=", "*?=", "*==?=", " *", "* ", "größe", "*"}
	for range 40 {
		globs = append(globs, word(4)+"*", "*"+word(4), word(2))
	}
	acl := make([]any, len(globs))
	for i, glob := range globs {
		acl[i] = map[string]any{"users": []any{"u" + strconv.Itoa(i)}, "allow": []any{map[string]any{"tool": glob}}}
	}
	file, err := yaml.Marshal(map[string]any{"policies": map[string]any{
		"authentication": map[string]any{"issuer": testIssuer, "audiences": []any{testAudience}}, "acl": acl,
	}})
	require.NoError(t, err)
	k := newKuadrant(t, file)
	matched := 0
	for i, glob := range globs {
		caller := k.token(t, map[string]any{"preferred_username": "u" + strconv.Itoa(i)})
		for range 12 {
			name := names[g.IntN(len(names))]
			if cut := strings.Trim(glob, "*"); g.Chance(50) { // so that it often matches, at every place of the three in base64
				name = map[bool]string{true: cut + word(4), false: word(4) + cut}[strings.HasSuffix(glob, "*")]
			}
			want := policytest.Denied
			if policy.Glob(glob).Match(name) {
				want, matched = policytest.Allowed, matched+1
			}
			got := k.do(t, policy.Request{Kind: policy.Tool, Server: "s", Name: name, PublicName: name}, "tools/call", caller)
			require.Equal(t, want, got, "%q matches %q, in the header %q", glob, name, headerValue(name))
		}
	}
	require.Greater(t, matched, len(globs))
}
