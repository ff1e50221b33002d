package xds_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// generator makes policies, callers and requests out of few words, so that they often have to do with each other.
type generator struct{ *rand.Rand }

func (g generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g generator) some(of ...string) []any {
	out := []any{}
	for range 1 + g.IntN(2) {
		out = append(out, g.one(of...))
	}
	return out
}

func (g generator) server() string { return g.one("weather", "größe", "s1", "s2") }

func (g generator) item() string {
	return g.one("get", "set", "get_all", "delete", "grüße", "file:///a/b.txt", "x y", `q"\`)
}

func (g generator) user() string  { return g.one("anna", "bert", "çelik") }
func (g generator) group() string { return g.one("staff", "accounting", "/a/b", "Staff") }
func (g generator) scope() string { return g.one("read", "read:all", "write", "a.b") }

func (g generator) glob(word string) string {
	letters := []rune(word)
	cut := g.IntN(len(letters) + 1)
	switch g.IntN(5) {
	case 0:
		return string(letters[:cut]) + "*"
	case 1:
		return "*" + string(letters[cut:])
	case 2:
		return "*"
	}
	return word
}

// values are policy values, as a file.
func (g generator) values(t *testing.T) (file []byte, authenticated bool) {
	t.Helper()
	authenticated = g.chance(90)
	policies := map[string]any{}
	if authenticated {
		auth := map[string]any{"issuer": issuerName, "audiences": []any{audience}}
		if g.chance(40) {
			auth["claims"] = map[string]any{"user": "sub", "groups": []any{"https://x.example.com/groups"}, "roles": "deep.er.roles", "scopes": g.one("scp", "scope")}
		}
		policies["authentication"] = auth
	}
	if authenticated && g.chance(20) {
		policies["acl"] = []any{map[string]any{"when": g.condition(4), "allow": []any{map[string]any{"server": "*"}}}}
	} else if g.chance(95) {
		rules := []any{}
		for range g.IntN(4) {
			rules = append(rules, g.rule(authenticated))
		}
		policies["acl"] = rules
	}
	file, err := yaml.Marshal(map[string]any{"policies": policies})
	require.NoError(t, err)
	return file, authenticated
}

func (g generator) rule(authenticated bool) map[string]any {
	rule := map[string]any{}
	if authenticated && g.chance(85) {
		if g.chance(40) {
			rule["when"] = g.condition(3)
		}
		for len(rule) == 0 || g.chance(30) {
			key := g.one("users", "groups", "roles", "scopes", "when")
			rule[key] = g.wanted(key)
		}
	} else {
		rule["everyone"] = true
	}
	allow := []any{}
	for range 1 + g.IntN(3) {
		allow = append(allow, g.pattern())
	}
	rule["allow"] = allow
	return rule
}

// wanted is what a rule asks of a caller.
func (g generator) wanted(key string) any {
	switch key {
	case "users":
		return g.some(g.user(), g.user())
	case "scopes":
		return g.some(g.scope(), g.scope())
	case "when":
		return g.condition(3)
	}
	return g.some(g.group(), g.group())
}

func (g generator) pattern() any {
	if g.chance(20) {
		return "*"
	}
	if g.chance(30) {
		return g.glob(g.server() + "_" + g.item())
	}
	p := map[string]any{}
	if g.chance(70) {
		p["server"] = g.glob(g.server())
	}
	switch kind := g.one("tool", "prompt", "resource", "hints", ""); {
	case kind == "hints" || kind == "tool" && g.chance(30):
		p["hints"] = map[string]any{g.one("readOnly", "destructive", "idempotent", "openWorld"): g.chance(50)}
		if kind == "tool" {
			p[kind] = g.glob(g.item())
		}
	case kind != "":
		p[kind] = g.glob(g.item())
	}
	if len(p) == 0 {
		p["server"] = "*"
	}
	return p
}

// condition is a CEL expression.
func (g generator) condition(depth int) string {
	if depth > 0 && g.chance(60) {
		a, b := g.condition(depth-1), g.condition(depth-1)
		switch g.IntN(5) {
		case 0, 1:
			return "(" + a + " && " + b + ")"
		case 2, 3:
			return "(" + a + " || " + b + ")"
		default:
			return g.one("!("+a+")", "("+a+" ? "+b+" : "+g.condition(0)+")")
		}
	}
	path, value := g.path(), g.literal()
	switch g.IntN(11) {
	case 0, 1:
		return path + g.one(" == ", " != ") + value
	case 2:
		return path + g.one(" < ", " <= ", " > ", " >= ") + g.one("1", "2.5", "2u", "-1", "9007199254740992", `"b"`, `""`)
	case 3:
		return value + " in " + path
	case 4:
		return path + " in [" + g.literal() + ", " + g.literal() + "]"
	case 5:
		return path + g.one(".startsWith", ".endsWith", ".contains") + "(" + strconv.Quote(g.one("a", "ad", "çe", "@x.org", "")) + ")"
	case 6:
		return path + ".matches(" + strconv.Quote(g.one("^a", "[a-m]+$", `^.*@x\.org$`, "(?i)STAFF", "ç.l")) + ")"
	case 7:
		return "size(" + path + ")" + g.one(" == ", " > ", " <= ") + strconv.Itoa(g.IntN(4))
	case 8:
		return "has(claims." + g.one("level", "org", "org.unit", "org.unit.x", "email", "email.x", "level.x", "groups", "groups.unit", "nothing", "nothing.x", "realm_access.roles.unit") + ")"
	case 9:
		return g.one("claims.admin", "claims.groups[0] == 'staff'", "claims['https://x.example.com/groups'] == ['staff']", "true", "claims.org == claims.level", "claims.level == claims.level")
	default:
		return path + " == " + g.path()
	}
}

func (g generator) path() string {
	return g.one("claims.level", "claims.email", "claims.groups", "claims.org.unit", "claims.org", "claims.realm_access.roles", `claims["org"]["unit"]`, "claims.admin", "claims.sub", "claims.nothing", "claims.scope")
}

func (g generator) literal() string {
	return g.one("1", "2", "2.0", "2u", "-1", "9007199254740993", `"anna"`, `"staff"`, `"2"`, "true", "false", "null", `""`, `["staff"]`, "1.5")
}

// claim is what a claim may be, or ought not to be.
func (g generator) claim(word func() string) any {
	switch g.IntN(10) {
	case 0:
		return nil // left out
	case 9:
		return json.RawMessage("null")
	case 1, 2:
		return word()
	case 3, 4:
		return g.some(word(), word(), word())
	case 5:
		return []any{word(), 2, nil, true, []any{word()}, map[string]any{"x": word()}}
	case 6:
		return word() + g.one(" ", "  ", " x ", ",", "\t") + word()
	case 7:
		return map[string]any{word(): word(), "unit": word()}
	default:
		return []any{[]any{}, 2, true, "", 1.5, -1, " " + word()}[g.IntN(7)]
	}
}

func (g generator) claims() map[string]any {
	claims := map[string]any{"preferred_username": g.claim(g.user), "sub": g.user()}
	for _, name := range []string{"groups", "https://x.example.com/groups", "level", "email", "org", "admin"} {
		claims[name] = g.claim(g.group)
	}
	for _, name := range []string{"scope", "scp"} {
		claims[name] = g.claim(g.scope)
	}
	claims["realm_access"] = map[string]any{"roles": g.claim(g.group)}
	claims["deep"] = []any{map[string]any{"er": map[string]any{"roles": g.claim(g.group)}}, "flat", nil}[g.IntN(3)]
	for _, typical := range []struct {
		name   string
		values []any
	}{
		{"level", []any{1, 2, 3.5, "2", nil, 9007199254740993, -1}},
		{"email", []any{"anna@x.org", "bert@y.org", nil, 1}},
		{"admin", []any{true, false, nil, "true"}},
		{"org", []any{map[string]any{"unit": "staff"}, map[string]any{"unit": 2}, map[string]any{}, nil, "org"}},
	} {
		if g.chance(80) {
			claims[typical.name] = typical.values[g.IntN(len(typical.values))]
		}
	}
	return goodClaims(claims)
}

func (g generator) request() policy.Request {
	r := policy.Request{Kind: []policy.Kind{policy.None, policy.Tool, policy.Tool, policy.Tool, policy.Prompt, policy.Resource}[g.IntN(6)], Server: g.server()}
	if r.Kind == policy.None {
		r.Server = g.one(wire.BrokerServer, r.Server)
		return r
	}
	r.Name = g.item()
	r.PublicName = r.Server + "_" + r.Name
	if r.Kind == policy.Resource || g.chance(20) {
		r.PublicName = r.Name
	}
	if r.Kind == policy.Tool && g.chance(95) {
		r.Hints = fmt.Sprintf("readOnly=%t,destructive=%t,idempotent=%t,openWorld=%t", g.chance(50), g.chance(50), g.chance(50), g.chance(50))
	}
	return r
}

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

// agreement is how many policies are tried, with a hundred requests each: XDS_AGREEMENT_POLICIES, else a hundred, or ten in a short run.
func agreement(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("XDS_AGREEMENT_POLICIES")); err == nil {
		return n
	}
	if testing.Short() {
		return 10
	}
	return 100
}

// seed is XDS_AGREEMENT_SEED, else any.
func seed(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(os.Getenv("XDS_AGREEMENT_SEED"), 10, 64)
	if err != nil {
		n = rand.Uint64()
	}
	t.Logf("for the same again: XDS_AGREEMENT_SEED=%d", n)
	return n
}

// What Envoy lets pass and what the same values say of it in our own process, by which lists are made, is the same, whatever the values, the
// caller and the request.
func TestEnvoyAgrees(t *testing.T) {
	const requestsEach, callersEach = 100, 10
	g := generator{rand.New(rand.NewPCG(seed(t), 0))}
	key := newIssuer(t, "k")
	a := upstream(t, "a", saying("done"))
	gw := startWithValues(t, values(&policy.Set{}, jwks(t, key)), a)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	counts := map[int]int{}
	byCondition := 0
	for n := range agreement(t) {
		file, authenticated := g.values(t)
		set, err := policy.Parse("generated.yaml", file)
		require.NoError(t, err, "%s", file)
		gw.change(t, values(set, jwks(t, key)), a)
		for range callersEach {
			var token string
			var id *policy.Identity
			var claims map[string]any
			if authenticated && g.chance(95) {
				claims = g.claims()
				token = key.token(t, claims)
				id = identify(t, set, claims)
			}
			for range requestsEach / callersEach {
				r := g.request()
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
	total := agreement(t) * requestsEach
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
