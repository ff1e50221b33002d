package translator

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// chosen is the rule of a route that a server's requests take, with the match by which they do.
type chosen struct {
	rule *gatewayv1.HTTPRouteRule
	kind gatewayv1.PathMatchType
	// value is what the match compares the path with.
	value string
	post  bool
}

// choose finds the rule that a POST to the path takes, with the precedence of the Gateway API: an exact path, then the longest prefix, then regular expressions,
// then a match that names the method, then the rule that stands first.
//
// Matches that want certain headers or query parameters are passed over: MCP's requests have no headers that a route could know.
func choose(route *gatewayv1.HTTPRoute, path string) (chosen, bool) {
	var best chosen
	found := false
	for i := range route.Spec.Rules {
		rule := &route.Spec.Rules[i]
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for _, m := range matches {
			if len(m.Headers) > 0 || len(m.QueryParams) > 0 || m.Method != nil && *m.Method != gatewayv1.HTTPMethodPost {
				continue
			}
			c := chosen{rule: rule, kind: gatewayv1.PathMatchPathPrefix, value: "/", post: m.Method != nil}
			if m.Path != nil {
				c.kind, c.value = gatewayv1.PathMatchType(or(m.Path.Type, string(c.kind))), or(m.Path.Value, c.value)
			}
			if c.matches(path) && (!found || c.compare(best) > 0) {
				best, found = c, true
			}
		}
	}
	return best, found
}

func (c chosen) matches(path string) bool {
	switch c.kind {
	case gatewayv1.PathMatchExact:
		return path == c.value
	case gatewayv1.PathMatchPathPrefix:
		_, ok := below(c.value, path)
		return ok
	case gatewayv1.PathMatchRegularExpression:
		// It is to match the whole path. What cannot be compiled matches nothing, as in a proxy that refuses it.
		expression, err := regexp.Compile("^(?:" + c.value + ")$")
		return err == nil && expression.MatchString(path)
	}
	return false
}

// compare is positive for the match that comes first.
func (c chosen) compare(other chosen) int {
	rank := func(c chosen) int {
		return slices.Index([]gatewayv1.PathMatchType{gatewayv1.PathMatchRegularExpression, gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchExact}, c.kind)
	}
	method := func(c chosen) int {
		if c.post {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(c), rank(other)), cmp.Compare(len(c.value), len(other.value)), cmp.Compare(method(c), method(other)))
}

// below cuts a prefix, whole segments of it, off a path. What remains is empty or begins with a slash.
func below(prefix, path string) (rest string, ok bool) {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// rewrite is the path as the backend gets it.
func (c chosen) rewrite(path string, m *gatewayv1.HTTPPathModifier) (string, string) {
	switch m.Type {
	case gatewayv1.FullPathHTTPPathModifier:
		if m.ReplaceFullPath != nil {
			return cmp.Or(*m.ReplaceFullPath, "/"), ""
		}
	case gatewayv1.PrefixMatchHTTPPathModifier:
		rest, ok := below(c.value, path)
		if m.ReplacePrefixMatch == nil || c.kind != gatewayv1.PathMatchPathPrefix || !ok {
			return "", "has a URLRewrite with ReplacePrefixMatch in a rule that does not match a PathPrefix: match one, or use ReplaceFullPath"
		}
		return cmp.Or(strings.TrimSuffix(*m.ReplacePrefixMatch, "/")+rest, "/"), ""
	}
	return "", fmt.Sprintf("has a URLRewrite with a path of type %q that the gateway does not know, or without a value: use ReplaceFullPath or ReplacePrefixMatch", m.Type)
}

// offered is the paths that the rules of a route match, for the message of a server whose path is not among them.
func offered(route *gatewayv1.HTTPRoute) string {
	var paths []string
	for _, rule := range route.Spec.Rules {
		for _, m := range rule.Matches {
			text := "PathPrefix /"
			if m.Path != nil {
				text = or(m.Path.Type, string(gatewayv1.PathMatchPathPrefix)) + " " + or(m.Path.Value, "/")
			}
			if m.Method != nil {
				text += " for " + string(*m.Method)
			}
			if len(m.Headers)+len(m.QueryParams) > 0 {
				text += " with headers or query parameters, which MCP requests do not have"
			}
			paths = appendOnce(paths, text)
		}
	}
	if len(paths) == 0 {
		return "it has none"
	}
	return "they match " + strings.Join(paths, ", ")
}
