package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIdentify(t *testing.T) {
	set := parse(t, "policies: {authentication: {issuer: 'https://i', audiences: [a]}}")
	var claims map[string]any
	decoder := json.NewDecoder(strings.NewReader(`{
		"iss": "https://i", "sub": "5", "preferred_username": "alice", "groups": ["a", 7, "b"], "realm_access": {"roles": "head"},
		"scope": " read  write ", "level": 3, "nested": {"list": [1.5]}
	}`))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&claims))
	got := set.Identify(claims)
	want := &Identity{
		Issuer: "https://i", Subject: "5", User: "alice", Users: []string{"alice"}, Groups: []string{"a", "b"}, Roles: []string{"head"},
		Scopes: []string{"read", "write"}, Claims: got.Claims,
	}
	assert.Equal(t, want, got)
	assert.InDelta(t, 3.0, got.Claims["level"], 0, "a number is what every engine sees: a double")
	assert.Equal(t, map[string]any{"list": []any{1.5}}, got.Claims["nested"])
	assert.Equal(t, json.Number("3"), claims["level"], "the caller's claims are as they were")
}

func TestIdentifyWithoutClaims(t *testing.T) {
	set := parse(t, "policies: {authentication: {issuer: 'https://i', audiences: [a]}, acl: [{when: '!has(claims.x)', allow: ['*']}]}")
	for _, claims := range []map[string]any{nil, {}} {
		id := set.Identify(claims)
		assert.Equal(t, &Identity{Claims: id.Claims}, id)
		assert.True(t, set.Decide(id, Request{Kind: Tool, PublicName: "t"}).Allowed, "no claims are claims that are all missing")
	}
}

func TestDecisionsSayWhy(t *testing.T) {
	set := parse(t, "policies: {authentication: {issuer: 'https://i', audiences: [a]}, acl: [{name: one, groups: [g], allow: [t]}, {users: [u], allow: ['*']}]}")
	tool := Request{Kind: Tool, PublicName: "t"}
	tests := map[string]struct {
		id   *Identity
		r    Request
		want Decision
	}{
		"by a rule":         {&Identity{Groups: []string{"g"}}, tool, Decision{Allowed: true, Rule: "one", Reason: `the rule "one" allows it`}},
		"by another rule":   {&Identity{User: "u"}, tool, Decision{Allowed: true, Rule: "rule-1", Reason: `the rule "rule-1" allows it`}},
		"the first of two":  {&Identity{User: "u", Groups: []string{"g"}}, tool, Decision{Allowed: true, Rule: "one", Reason: `the rule "one" allows it`}},
		"by none":           {&Identity{User: "x"}, tool, Decision{Reason: "no rule allows it to this caller"}},
		"without a token":   {nil, tool, Decision{Reason: "a token is needed, and there is none"}},
		"no item":           {&Identity{}, Request{}, Decision{Allowed: true, Reason: "requests of this kind are for every caller; lists show only what is allowed"}},
		"no item, no token": {nil, Request{}, Decision{Reason: "a token is needed, and there is none"}},
	}
	for name, tt := range tests {
		assert.Equal(t, tt.want, set.Decide(tt.id, tt.r), name)
	}
	assert.True(t, parse(t, "policies: {}").Decide(nil, tool).Allowed)
}

func TestDeciderRemembersRules(t *testing.T) {
	set := parse(t, "policies: {authentication: {issuer: 'https://i', audiences: [a]}, acl: [{when: 'claims.x == 1', allow: ['a*']}, {users: [u], allow: ['b*']}]}")
	decide := set.Decider(set.Identify(map[string]any{"x": 1.0}))
	for range 2 {
		assert.True(t, decide(Request{Kind: Tool, PublicName: "a"}).Allowed)
		assert.False(t, decide(Request{Kind: Tool, PublicName: "b"}).Allowed)
	}
}

// Unreadable hints match nothing (Invariant 5).
func TestHintsOfAnotherForm(t *testing.T) {
	p := Pattern{Kind: Tool, Hints: map[string]bool{"readOnly": true}}
	for hints, want := range map[string]bool{
		"readOnly=true,destructive=false,idempotent=false,openWorld=true": true,
		"destructive=false,readOnly=true":                                 true,
		"":                                                                false,
		"readOnly=true2":                                                  false,
		"notreadOnly=true":                                                false,
		"readOnly=TRUE":                                                   false,
		"readOnly":                                                        false,
	} {
		assert.Equal(t, want, p.Match(Request{Kind: Tool, Hints: hints}), hints)
	}
}

func TestConditionsAreBounded(t *testing.T) {
	either := strings.Repeat("claims.a == 1 || ", 200) + "true"
	set := parse(t, "policies: {authentication: {issuer: 'https://i', audiences: [a]}, acl: [{when: \""+either+"\", allow: ['*']}]}")
	assert.True(t, set.Decide(set.Identify(nil), Request{Kind: Tool}).Allowed, "a long chain is no deep one")
	for name, expression := range map[string]string{
		"long": strings.Repeat("claims.a == 1 || ", 300) + "true",
		"deep": strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300),
	} {
		_, err := Parse("p.yaml", []byte("policies: {authentication: {issuer: 'https://i', audiences: [a]}, acl: [{when: \""+expression+"\", allow: ['*']}]}"))
		require.Error(t, err, name)
	}

	set = parse(t, "policies: {authentication: {issuer: 'https://i', audiences: [a]}, acl: [{when: \"claims.a.matches('^a+$')\", allow: ['*']}]}")
	long := strings.Repeat("a", 10<<20)
	assert.True(t, set.Decide(set.Identify(map[string]any{"a": long[:1<<16]}), Request{Kind: Tool}).Allowed)
	assert.False(t, set.Decide(set.Identify(map[string]any{"a": long}), Request{Kind: Tool}).Allowed, "what costs too much is false")
}

func parse(t *testing.T, values string) *Set {
	t.Helper()
	set, err := Parse("p.yaml", []byte(values))
	require.NoError(t, err)
	return set
}
