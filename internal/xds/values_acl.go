package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// freeForAll is the policy for requests that name no item.
const freeForAll = "requests without an item"

// rulesPrefix begins the names under which Envoy tells what the rules decided.
const rulesPrefix = "mcp_gateway_"

// access is one of Envoy's policies for each rule, and one for the requests that name no tool, prompt or resource: those are for whoever is
// authenticated. What none of them allows is refused.
func (b *builder) access(s *policy.Set) *rbacfilterv3.RBAC {
	if s.ACL == nil {
		return &rbacfilterv3.RBAC{}
	}
	item := anyPermission(fact(wire.KeyTool, anything()), fact(wire.KeyPrompt, anything()), fact(wire.KeyResource, anything()))
	policies := map[string]*rbacv3.Policy{freeForAll: {
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_NotRule{NotRule: item}}},
		Principals:  []*rbacv3.Principal{everyone()},
	}}
	claims := policy.Claims{}
	if s.Authentication != nil {
		claims = s.Authentication.Claims
	}
	for i := range s.ACL {
		p, err := aclPolicy(&s.ACL[i], claims)
		if err == nil && policies[s.ACL[i].Name] != nil {
			err = errors.New("the name is taken")
		}
		if err != nil {
			b.errs = append(b.errs, fmt.Errorf("policy values: acl rule %q: %w", s.ACL[i].Name, err))
			continue
		}
		policies[s.ACL[i].Name] = p
	}
	return &rbacfilterv3.RBAC{
		Rules:           &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: policies},
		RulesStatPrefix: rulesPrefix,
	}
}

func aclPolicy(r *policy.Rule, claims policy.Claims) (*rbacv3.Policy, error) {
	p := &rbacv3.Policy{Principals: []*rbacv3.Principal{principal(r, claims)}}
	for _, pattern := range r.Allow {
		p.Permissions = append(p.Permissions, permission(pattern))
	}
	if r.When != nil {
		condition, err := conditionFor(r.When)
		if err != nil {
			return nil, err
		}
		p.Condition = condition
	}
	return p, nil
}

// permission is what a pattern allows. The router sets the facts of an item, and of one only.
func permission(p policy.Pattern) *rbacv3.Permission {
	var all []*rbacv3.Permission
	name := text(p.Name)
	switch p.Kind {
	case policy.Tool:
		all = append(all, fact(wire.KeyTool, name))
	case policy.Prompt:
		all = append(all, fact(wire.KeyPrompt, name))
	case policy.Resource:
		all = append(all, fact(wire.KeyResource, name))
	case policy.None:
		all = append(all, anyPermission(fact(wire.KeyTool, name), fact(wire.KeyPrompt, name), fact(wire.KeyResource, name)))
	}
	if !matchesAll(p.Public) {
		all = append(all, fact(wire.KeyPublicName, text(p.Public)))
	}
	if !matchesAll(p.Server) {
		all = append(all, fact(wire.KeyServer, text(p.Server)))
	}
	for _, hint := range slices.Sorted(maps.Keys(p.Hints)) {
		all = append(all, fact(wire.KeyHints, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
			StringMatch: contains(hint + "=" + strconv.FormatBool(p.Hints[hint])),
		}}))
	}
	if len(all) == 1 {
		return all[0]
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: all}}}
}

func anyPermission(rules ...*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: rules}}}
}

// fact is a permission for requests of which the router said this.
func fact(key string, value *matcherv3.ValueMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{
		MetadataMatcher: &matcherv3.MetadataMatcher{Filter: wire.MetadataNamespace, Path: segments(key), Value: value},
	}}}
}

// principal is who a rule is for: all of what it asks for must hold, and of each list one is enough.
func principal(r *policy.Rule, claims policy.Claims) *rbacv3.Principal {
	var all []*rbacv3.Principal
	for _, c := range []struct {
		path, wanted []string
		words        bool
	}{{claims.User, r.Users, false}, {claims.Groups, r.Groups, false}, {claims.Roles, r.Roles, false}, {claims.Scopes, r.Scopes, true}} {
		if len(c.wanted) > 0 {
			all = append(all, claim(c.path, c.wanted, c.words))
		}
	}
	switch len(all) {
	case 0:
		return everyone()
	case 1:
		return all[0]
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: all}}}
}

func everyone() *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}

// claim is whoever has one of the values at the claim, as the string there or in the list there. Words are also found in a string of many.
func claim(path, wanted []string, words bool) *rbacv3.Principal {
	var whole, parts []*matcherv3.ValueMatcher
	for _, w := range wanted {
		whole = append(whole, is(exactly(w)))
		switch {
		case !words:
			parts = append(parts, is(exactly(w)))
		case w != "" && !strings.Contains(w, " "):
			parts = append(parts, is(exactly(w)), is(prefixed(w+" ")), is(suffixed(" "+w)), is(contains(" "+w+" ")))
		}
	}
	return claimValue(path, oneOf(append(parts, listOf(oneOf(whole...)))...))
}

func claimValue(path []string, value *matcherv3.ValueMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{
		MetadataMatcher: &matcherv3.MetadataMatcher{Filter: tokenNamespace, Path: payload(path), Value: value},
	}}}
}

func matchesAll(g policy.Glob) bool { return g == "" || g == "*" }

// text matches what the glob matches; a fact that is not there matches nothing.
func text(g policy.Glob) *matcherv3.ValueMatcher {
	s := string(g)
	switch {
	case matchesAll(g):
		return anything()
	case strings.HasSuffix(s, "*"):
		return is(prefixed(strings.TrimSuffix(s, "*")))
	case strings.HasPrefix(s, "*"):
		return is(suffixed(strings.TrimPrefix(s, "*")))
	}
	return is(exactly(s))
}

func anything() *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}}
}

func is(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
}

func oneOf(matchers ...*matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	if len(matchers) == 1 {
		return matchers[0]
	}
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: matchers}}}
}

func listOf(m *matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
		MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: m},
	}}}
}

func exactly(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

func prefixed(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: s}}
}

func suffixed(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}}
}

func contains(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: s}}
}
