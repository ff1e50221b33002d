package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIdentifyAs: whoever is described by names is who a token with these names would be.
func TestIdentifyAs(t *testing.T) {
	set, err := Parse("p.yaml", []byte(`
policies:
  authentication: {issuer: "https://issuer.example.com", audiences: [a], claims: {user: deep.name, roles: realm_access.roles}}
  acl: [{name: all, roles: [auditor], when: "'x' in claims.groups", allow: ["*"]}]
`))
	require.NoError(t, err)
	id := set.IdentifyAs(map[string]any{"realm_access": "in the way", "extra": true}, Names{
		Users: []string{"alice"}, Groups: []string{"x", "y"}, Roles: []string{"auditor"}, Scopes: []string{"a", "b"},
	})
	assert.Equal(t, "alice", id.User)
	assert.Equal(t, []string{"x", "y"}, id.Groups)
	assert.Equal(t, []string{"auditor"}, id.Roles)
	assert.Equal(t, []string{"a", "b"}, id.Scopes)
	assert.True(t, set.Decide(id, Request{Kind: Tool, PublicName: "t"}).Allowed)
	kept := set.IdentifyAs(map[string]any{"scope": "from the token"}, Names{Users: []string{"alice"}})
	assert.Equal(t, []string{"from", "the", "token"}, kept.Scopes, "what is not named stays as the claims have it")
	assert.False(t, set.Decide(kept, Request{Kind: Tool, PublicName: "t"}).Allowed)
}

func TestWords(t *testing.T) {
	set, err := Parse("p.yaml", []byte(`
policies:
  authentication: {issuer: "https://issuer.example.com", audiences: [a]}
  acl:
    - {users: [a, b], groups: [g], roles: [r], scopes: [s], when: "claims.x == 1", allow: ["w_*", {server: s, tool: t}, {prompt: p}, {hints: {readOnly: true, idempotent: false}}, "*"]}
    - {everyone: true, allow: [{server: s}]}
`))
	require.NoError(t, err)
	assert.Equal(t, `user a or b, and group g, and role r, and scope s, and when claims.x == 1`, set.ACL[0].Callers())
	assert.Equal(t, "everyone", set.ACL[1].Callers())
	var said []string
	for _, rule := range set.ACL {
		for _, p := range rule.Allow {
			said = append(said, p.String())
		}
	}
	assert.Equal(t, []string{"tool w_*", "tool t of server s", "prompt p", "tool with idempotent=false, readOnly=true", "tool *", "everything of server s"}, said)
	for want, limit := range map[string]RateLimit{
		"10 calls in 1m, shared by all":            {Limit: 10, Window: time.Minute},
		"1 calls in 1h, for each user and tool":    {Limit: 1, Window: time.Hour, Per: []Per{PerUser, PerTool}},
		"2 calls in 1h0m30s, for each server":      {Limit: 2, Window: time.Hour + 30*time.Second, Per: []Per{PerServer}},
		"3 calls in 10s, for each user and server": {Limit: 3, Window: 10 * time.Second, Per: []Per{PerUser, PerServer}},
	} {
		assert.Equal(t, want, limit.String())
	}
}
