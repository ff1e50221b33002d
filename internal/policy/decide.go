package policy

import (
	"slices"
	"strconv"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Decide tells whether the caller may have what is asked for. The identity is nil for a caller without a token.
func (s *Set) Decide(id *Identity, r Request) Decision { return s.Decider(id)(r) }

// Decider is [Set.Decide] for many requests of one caller: it finds out once which rules are for them. It is not for concurrent use.
func (s *Set) Decider(id *Identity) func(Request) Decision {
	known := make([]verdict, len(s.ACL))
	return func(r Request) Decision {
		switch {
		case s.Authentication != nil && id == nil:
			return Decision{Reason: "a token is needed, and there is none"}
		case r.Kind == None:
			return Decision{Allowed: true, Reason: "requests of this kind are for every caller; lists show only what is allowed"}
		case s.ACL == nil:
			return Decision{Allowed: true, Reason: "there is no acl: every caller may have everything"}
		}
		for i := range s.ACL {
			rule := &s.ACL[i]
			if !rule.Covers(r) {
				continue
			}
			if known[i] == unknown {
				known[i] = judge(rule.For(id))
			}
			if known[i] == yes {
				return Decision{Allowed: true, Rule: rule.Name, Reason: "the rule " + strconv.Quote(rule.Name) + " allows it"}
			}
		}
		return Decision{Reason: "no rule allows it to this caller"}
	}
}

type verdict uint8

const (
	unknown verdict = iota
	yes
	no
)

func judge(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// For tells whether the rule is for the caller, who is nil without a token.
func (r *Rule) For(id *Identity) bool {
	if r.Everyone() {
		return true
	}
	return id != nil &&
		anyOf(r.Users, append([]string{id.User}, id.Users...)) &&
		anyOf(r.Groups, id.Groups) &&
		anyOf(r.Roles, id.Roles) &&
		anyOf(r.Scopes, id.Scopes) &&
		(r.When == nil || r.When.holds(id.Claims))
}

// Everyone tells whether the rule asks nothing of the caller.
func (r *Rule) Everyone() bool {
	return len(r.Users) == 0 && len(r.Groups) == 0 && len(r.Roles) == 0 && len(r.Scopes) == 0 && r.When == nil
}

// Covers tells whether the rule allows the item to those whom it is for.
func (r *Rule) Covers(q Request) bool {
	return slices.ContainsFunc(r.Allow, func(p Pattern) bool { return p.Match(q) })
}

// anyOf is true where nothing is asked for.
func anyOf(wanted, had []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return slices.Contains(had, w) })
}

// Match tells whether the item is one of the pattern's.
func (p *Pattern) Match(r Request) bool {
	return r.Kind != None && (p.Kind == None || p.Kind == r.Kind) &&
		p.Public.Match(r.PublicName) && p.Name.Match(r.Name) && p.Server.Match(r.Server) &&
		wire.HintsSay(r.Hints, p.Hints)
}

// Covers tells whether the call of a tool counts against the limit.
func (l *RateLimit) Covers(r Request) bool {
	among := func(globs []Glob, text string) bool {
		return len(globs) == 0 || slices.ContainsFunc(globs, func(g Glob) bool { return g.Match(text) })
	}
	return r.Kind == Tool && among(l.Tools, r.PublicName) && among(l.Servers, r.Server)
}
