package xds_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// trickyConditions are where two implementations of CEL may differ: in errors, numbers, types and what is not there.
func trickyConditions() []string {
	return []string{
		`claims.level == 2`,
		`claims["level"] == 2`,
		`claims.level < "a"`,
		`claims.level < 2.5`,
		`claims.level < 3u`,
		`-1 < claims.level`,
		`claims.big == 9007199254740993`,
		`claims.big > 9007199254740992`,
		`claims.big in [9007199254740993]`,
		`claims.nul == null`,
		`claims.email != null`,
		`has(claims.nul)`,
		`has(claims.org.unit)`,
		`has(claims["org"].unit)`,
		`!has(claims.org.x)`,
		`!has(claims.org.x.y)`,
		`!has(claims.email.x)`,
		`!has(claims.level.x)`,
		`!has(claims.nul.x)`,
		`!has(claims.groups.x)`,
		`!has(claims.nothing.x)`,
		`has(claims.nothing.x) || claims.admin`,
		`claims.nothing == 2 || claims.level == 2`,
		`!(claims.nothing == 2 && claims.level == 3)`,
		`claims.nothing ? true : true`,
		`claims.level ? true : true`,
		`claims.level || claims.admin`,
		`!(claims.level && false)`,
		`claims.email.matches("(?i)ANNA.*")`,
		`matches(claims.email, "x")`,
		`claims.nothing.matches("a") || claims.level == 2`,
		`!((claims.nothing.matches("a") || claims.nothing == 1) && claims.level == 3)`,
		`(claims.level > 1 ? "anna" : "b").matches("^an")`,
		`claims.email.startsWith(claims.level) || true`,
		`!(claims.email.startsWith(claims.nothing)) || claims.admin`,
		`claims.email.contains("@") && claims.email.endsWith("org")`,
		`size(claims.email) == 10`,
		`claims.word.size() == 5`,
		`size(claims.org) == 1`,
		`size(claims.level) == 1 || true`,
		`"unit" in claims.org`,
		`1.0 in claims.mixed`,
		`null in claims.mixed`,
		`claims.mixed == [1, "a", null]`,
		`claims.mixed[claims.level] == null`,
		`claims.groups[0.0] == "staff"`,
		`claims.groups[5] == "x" || true`,
		`"anna" in claims.email`,
		`"x" in claims.email || true`,
		`!("x" in claims.level)`,
		`claims.level in [1.0, 2.0]`,
		`claims.org in [claims.org]`,
		`claims.org == claims.level`,
		`!(claims.org < claims.org)`,
		`claims.level != ["staff"]`,
		`claims == claims`,
		`claims.admin > false`,
		`[claims.level, 1] == [2, 1]`,
	}
}

// Each condition is a rule of its own for a tool of its own, so that one set of values has them all.
func TestEnvoyEvaluatesConditions(t *testing.T) {
	var acl strings.Builder
	for i, c := range trickyConditions() {
		fmt.Fprintf(&acl, "    - {when: %q, allow: [tool-%d]}\n", c, i)
	}
	set := parseValues(t, "  acl:\n"+acl.String())
	key := newIssuer(t, "k")
	g := startWithValues(t, values(set, jwks(t, key)), upstream(t, "a", saying("done")))
	claims := goodClaims(map[string]any{
		"level": 2, "big": 9007199254740993, "email": "anna@x.org", "word": "größe", "groups": []string{"staff", "x"},
		"org": map[string]any{"unit": "u"}, "admin": true, "mixed": []any{1, "a", nil},
	})
	claims["nul"] = nil
	id, token := identify(t, set, claims), key.token(t, claims)
	for i, c := range trickyConditions() {
		r := policy.Request{Kind: policy.Tool, Server: "a", Name: "x", PublicName: fmt.Sprintf("tool-%d", i)}
		got := ask(t, http.DefaultClient, g.url(), asCall(r).body(t), token)
		assert.Equal(t, status(set.Decide(id, r), false), got, c)
	}
}

// What Envoy would not evaluate, or not as our own process does, is refused when it is rendered.
func TestConditionsThatEnvoyCannotHave(t *testing.T) {
	for source, want := range map[string]string{
		`claims.a + "x" == "y"`:                            `uses "_+_"`,
		`claims.groups.exists(g, g == "x")`:                "macros",
		`{"a": 1} == claims.a`:                             "macros or literals",
		`claims.a == b"x"`:                                 "no claim can be",
		`claims.a.matches(claims.b)`:                       "no constant",
		`matches("x")`:                                     "1 operands",
		`(claims.a.matches("x") ? "a" : "b").matches("a")`: "within the text of another",
		`request.path == "/"`:                              `knows no variable "request"`,
		`timestamp(claims.a) < timestamp("")`:              `uses "timestamp"`,
		`[?claims.a] == []`:                                "optional elements",
	} {
		o := goldenOptions()
		o.Values = values(&policy.Set{ACL: []policy.Rule{
			{Name: "odd", When: parsedCondition(t, source), Allow: []policy.Pattern{{Kind: policy.Tool}}},
			{Name: "bare", When: &policy.Condition{Source: "true"}, Allow: []policy.Pattern{{Kind: policy.Tool}}},
		}}, nil)
		_, err := xds.Translate(o, nil)
		require.ErrorContains(t, err, fmt.Sprintf(`policy values: acl rule "odd": condition %q: `, source))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, `acl rule "bare": condition "true": has not been parsed`)
	}
}

// parsedCondition has been parsed, and no more.
func parsedCondition(t *testing.T, source string) *policy.Condition {
	t.Helper()
	env, err := cel.NewEnv(cel.OptionalTypes())
	require.NoError(t, err)
	parsed, issues := env.Parse(source)
	require.NoError(t, issues.Err())
	return &policy.Condition{Source: source, AST: parsed.NativeRep()}
}

// Whatever somebody writes as a condition is either refused with its place or made into what Envoy's own rules accept.
func FuzzConditions(f *testing.F) {
	for _, c := range trickyConditions() {
		f.Add(c)
	}
	f.Add("claims.a == int")
	f.Add(`(claims.a.matches("x") ? "a" : "b").matches("^an")`)
	f.Fuzz(func(t *testing.T, source string) {
		set, err := policy.Parse("fuzz", fmt.Appendf(nil, "policies: {authentication: {issuer: i, audiences: [a]}, acl: [{when: %q, allow: [x]}]}", source))
		if err != nil {
			return
		}
		o := goldenOptions()
		o.Values = values(set, nil)
		if _, err := xds.Translate(o, nil); err != nil {
			require.ErrorContains(t, err, `policy values: acl rule "rule-0": condition `)
		}
	})
}
