package policytest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one.yaml"), []byte(`
policies:
  authentication: {issuer: "https://i", audiences: [a], claims: {roles: a.b, groups: [c.d]}}
cases:
  - name: all
    given: {user: ann, groups: [g], roles: [r], scopes: [s, t], claims: {n: 3, a: {x: 1}}}
    when: {server: s, tool: t, publicName: s_t, hints: {readOnly: true}}
    then: denied
  - {name: none, when: {method: resources/subscribe, server: s, resource: "x:y"}, then: limited, repeat: 3}
`), 0o600))
	files, err := Load(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Equal(t, "one", files[0].Name)
	assert.NotNil(t, files[0].Set.Authentication)
	_, err = policy.Parse("again", files[0].Values)
	require.NoError(t, err, "others can read the values themselves")
	assert.Equal(t, []Case{
		{
			Name: "all", Method: "tools/call", Repeat: 1, Then: Denied,
			Claims: map[string]any{
				"iss": "https://i", "sub": "subject-of-ann", "preferred_username": "ann", "c.d": []any{"g"}, "scope": "s t", "n": 3.0,
				"a": map[string]any{"x": 1.0}, // what is given as a claim stands over what was made of the roles
			},
			Request: policy.Request{Kind: policy.Tool, Server: "s", Name: "t", PublicName: "s_t", Hints: "readOnly=true,destructive=false,idempotent=false,openWorld=true"},
		},
		{
			Name: "none", Method: "resources/subscribe", Repeat: 3, Then: Limited,
			Request: policy.Request{Kind: policy.Resource, Server: "s", Name: "x:y", PublicName: "x:y"},
		},
	}, files[0].Cases)
}

func TestLoadRefusesMistakes(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"an unknown key":     {"policies: {}\ncase: []", "field case not found"},
		"no policies":        {"cases: []", "must have one of policies and policiesFile"},
		"both":               {"policies: {}\npoliciesFile: x\n", "must have one of policies and policiesFile"},
		"bad policies":       {"policies: {rules: []}", "policies.rules: unknown key"},
		"a missing file":     {"policiesFile: none.yaml", "none.yaml: no such file"},
		"an unknown outcome": {"policies: {}\ncases: [{name: x, when: {tool: t}, then: refused}]", `case "x": unknown outcome "refused"`},
		"nothing asked for":  {"policies: {}\ncases: [{name: x, when: {server: s}, then: denied}]", `case "x": asks for nothing`},
		"two items":          {"policies: {}\ncases: [{name: x, when: {tool: t, prompt: p}, then: denied}]", `case "x": asks for more than one item`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(tt.text), 0o600))
			_, err := Load(dir)
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := Load(t.TempDir())
	require.ErrorContains(t, err, "has no decision tests")
}
