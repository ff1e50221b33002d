package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Names say who somebody is, in the words of rules. Nil leaves what claims say.
type Names struct{ Users, Groups, Roles, Scopes []string }

// IdentifyAs is [Set.Identify] for somebody without a token: the names stand where the values look for them in one. It changes claims.
func (s *Set) IdentifyAs(claims map[string]any, n Names) *Identity {
	paths := defaultClaims()
	if s.Authentication != nil {
		paths = s.Authentication.Claims
	}
	list := func(path, values []string) {
		if values == nil {
			return
		}
		all := make([]any, len(values)) // as in a token that was read from JSON, which conditions see
		for i, value := range values {
			all[i] = value
		}
		setClaim(claims, path, all)
	}
	if len(n.Users) == 1 {
		setClaim(claims, paths.User, n.Users[0])
	} else {
		list(paths.User, n.Users)
	}
	list(paths.Groups, n.Groups)
	list(paths.Roles, n.Roles)
	if n.Scopes != nil {
		setClaim(claims, paths.Scopes, strings.Join(n.Scopes, " "))
	}
	return s.Identify(claims)
}

// setClaim puts the value at a path, in the place of whatever stands in the way.
func setClaim(claims map[string]any, path []string, value any) {
	last := len(path) - 1
	for _, name := range path[:last] {
		inner, ok := claims[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			claims[name] = inner
		}
		claims = inner
	}
	claims[path[last]] = value
}

// Callers says whom the rule is for.
func (r *Rule) Callers() string {
	if r.Everyone() {
		return "everyone"
	}
	var parts []string
	add := func(what string, values []string) {
		if len(values) > 0 {
			parts = append(parts, what+" "+strings.Join(values, " or "))
		}
	}
	add("user", r.Users)
	add("group", r.Groups)
	add("role", r.Roles)
	add("scope", r.Scopes)
	if r.When != nil {
		parts = append(parts, "when "+r.When.Source)
	}
	return strings.Join(parts, ", and ")
}

// String says what the pattern matches.
func (p Pattern) String() string {
	kinds := map[Kind]string{Tool: "tool", Prompt: "prompt", Resource: "resource"}
	what := kinds[p.Kind]
	if what == "" {
		what = "everything"
	}
	if p.Public != "" {
		what += " " + string(p.Public)
	}
	if p.Name != "" {
		what += " " + string(p.Name)
	}
	if p.Server != "" {
		what += " of server " + string(p.Server)
	}
	hints := make([]string, 0, len(p.Hints))
	for name, want := range p.Hints {
		hints = append(hints, fmt.Sprintf("%s=%t", name, want))
	}
	slices.Sort(hints)
	if len(hints) > 0 {
		what += " with " + strings.Join(hints, ", ")
	}
	return what
}

// String says how much the limit allows to whom.
func (l *RateLimit) String() string {
	text := fmt.Sprintf("%d calls in %s", l.Limit, briefly(l.Window))
	if len(l.Per) == 0 {
		return text + ", shared by all"
	}
	words := make([]string, len(l.Per))
	for i, p := range l.Per {
		words[i] = string(p)
	}
	return text + ", for each " + strings.Join(words, " and ")
}

// briefly writes 1m0s as 1m.
func briefly(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
