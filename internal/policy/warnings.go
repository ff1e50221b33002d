package policy

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Warnings are what is allowed in policy values and yet is seldom meant, a sentence each.
func (s *Set) Warnings() []string {
	out := s.generalWarnings()
	for i := range s.ACL {
		rule := &s.ACL[i]
		for j, p := range rule.Allow {
			at := fmt.Sprintf("policies.acl[%d].allow[%d]", i, j)
			if p.Hints["readOnly"] && p.Hints["destructive"] {
				out = append(out, at+" never matches: a tool that is read-only is not destructive")
			}
			if by := s.coveredBy(i, j); by != "" {
				out = append(out, at+" changes nothing: "+by+" allows it already")
			}
		}
	}
	return out
}

func (s *Set) generalWarnings() []string {
	var out []string
	a := s.Authentication
	switch {
	case a == nil:
		out = append(out, "there is no authentication: whoever reaches the gateway may call it")
	case unprotected(a.Issuer) || unprotected(a.JWKSURI):
		out = append(out, "policies.authentication fetches keys over plain http: whoever is in between can make tokens; use https")
	}
	switch {
	case s.ACL == nil && a != nil:
		out = append(out, "there is no acl: every caller with a token may have everything")
	case s.ACL != nil && len(s.ACL) == 0:
		out = append(out, "policies.acl is empty: nobody may call anything")
	}
	if s.RateLimitService != nil && len(s.RateLimits) == 0 {
		out = append(out, "there is a rateLimitService, but no rateLimits: nothing is counted")
	}
	return out
}

// unprotected tells of an http URL of another machine.
func unprotected(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && !strings.HasSuffix(u.Hostname(), ".localhost") && (err != nil || !ip.IsLoopback())
}

// coveredBy names what already allows the item to the same callers: another of the rule, or one for everyone.
func (s *Set) coveredBy(rule, item int) string {
	p := &s.ACL[rule].Allow[item]
	for i := range s.ACL {
		if i != rule && (!s.ACL[i].Everyone() || s.ACL[rule].Everyone() && i > rule) {
			continue
		}
		for j := range s.ACL[i].Allow {
			other := &s.ACL[i].Allow[j]
			if i == rule && (j == item || j > item && p.contains(other)) {
				continue // of two that are the same, the first is not the one too many
			}
			if other.contains(p) {
				return fmt.Sprintf("policies.acl[%d].allow[%d]", i, j)
			}
		}
	}
	return ""
}

// contains tells whether everything that q matches is matched by p, as far as that is easily seen.
func (p *Pattern) contains(q *Pattern) bool {
	for name, want := range p.Hints {
		if got, ok := q.Hints[name]; !ok || got != want {
			return false
		}
	}
	return (p.Kind == None || p.Kind == q.Kind) && p.Public.contains(q.Public) && p.Name.contains(q.Name) && p.Server.contains(q.Server)
}

func (g Glob) contains(other Glob) bool {
	if g == other || g == "" || g == "*" {
		return true
	}
	// What a star stands for is longer than any name, and has in it what no glob asks for.
	const anything = "\x00"
	return g.Match(strings.ReplaceAll(string(other), "*", anything)) && other != ""
}
