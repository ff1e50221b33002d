package admin

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// caller is somebody as a form describes them.
type caller struct {
	User, Groups, Roles, Scopes string
	// Asked tells that the form was sent.
	Asked bool
}

func readCaller(v url.Values) caller {
	c := caller{User: strings.TrimSpace(v.Get("user")), Groups: v.Get("groups"), Roles: v.Get("roles"), Scopes: v.Get("scopes")}
	c.Asked = v.Has("user") || v.Has("groups") || v.Has("roles") || v.Has("scopes")
	return c
}

// identity is nil for somebody without a token.
func (c caller) identity(set *policy.Set) *policy.Identity {
	if set.Authentication == nil || c.User+c.Groups+c.Roles+c.Scopes == "" {
		return nil
	}
	n := policy.Names{Groups: split(c.Groups), Roles: split(c.Roles), Scopes: split(c.Scopes)}
	if c.User != "" {
		n.Users = []string{c.User}
	}
	return set.IdentifyAs(map[string]any{}, n)
}

// split reads a list with commas, or with spaces as in a token's scopes.
func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// itemAccess is who may have an item.
type itemAccess struct {
	// Open says in a sentence why no rule is asked; empty where there is an acl.
	Open   string
	Token  bool // a token is needed
	Engine bool // a policy engine in front has a say, too
	Rules  []ruleView
	Limits []limitView
	Caller caller
	// Decision is about the caller, nil where nobody has asked.
	Decision *policy.Decision
}

// ruleView is a rule that is about an item.
type ruleView struct {
	Name, Callers string
	Patterns      []string
	Items         int
	ForCaller     bool
}

// limitView is a rate limit.
type limitView struct{ Name, Text, About string }

// requestOf is an item as policies see it.
func requestOf(it *catalog.Item) policy.Request {
	r := policy.Request{Server: it.Server.Name, Name: it.Name, PublicName: it.PublicName, Hints: it.Hints}
	switch it.Kind {
	case catalog.Tool:
		r.Kind = policy.Tool
	case catalog.Prompt:
		r.Kind = policy.Prompt
	case catalog.Resource, catalog.Template:
		r.Kind = policy.Resource
	}
	return r
}

func (s *site) explain(it *catalog.Item, v url.Values) itemAccess {
	a := itemAccess{Engine: s.PolicyEngine(), Caller: readCaller(v)}
	set := s.Values()
	if set == nil {
		a.Open = "There are no policy values: whoever reaches the endpoint may have it."
		return a
	}
	a.Token = set.Authentication != nil
	request := requestOf(it)
	id := a.Caller.identity(set)
	if set.ACL == nil {
		a.Open = "There is no acl: every caller may have it."
	}
	for i := range set.ACL {
		if rule := &set.ACL[i]; rule.Covers(request) {
			view := ruleView{Name: rule.Name, Callers: rule.Callers(), ForCaller: rule.For(id)}
			for _, p := range rule.Allow {
				if p.Match(request) {
					view.Patterns = append(view.Patterns, p.String())
				}
			}
			a.Rules = append(a.Rules, view)
		}
	}
	for i := range set.RateLimits {
		if limit := &set.RateLimits[i]; limit.Covers(request) {
			a.Limits = append(a.Limits, limitView{Name: limit.Name, Text: limit.String()})
		}
	}
	if a.Caller.Asked {
		decision := set.Decide(id, request)
		a.Decision = &decision
	}
	return a
}

// accessPage is the policy values.
type accessPage struct {
	frame
	paging

	Policies *Policies
	Token    bool
	ACL      bool
	Engine   bool
	Rules    []ruleView
	Limits   []limitView
	Warnings []string
	Caller   caller
	Query    string
	Allowed  int
	All      int
	Items    []decided
}

// decided is an item with the decision about it.
type decided struct {
	policy.Decision

	Kind, Name, Server, Link string
}

func (s *site) access(w http.ResponseWriter, r *http.Request) {
	set := s.Values()
	if set == nil {
		s.missing(w, "There are no policy values: whoever reaches the endpoint may have everything. Give a file of them with --policies.")
		return
	}
	v := r.URL.Query()
	page := accessPage{
		frame: s.frame("Access", "access"), Token: set.Authentication != nil, ACL: set.ACL != nil, Engine: s.PolicyEngine(),
		Caller: readCaller(v), Query: strings.TrimSpace(v.Get("q")), Warnings: set.Warnings(),
	}
	if s.Policies != nil {
		policies := s.Policies()
		page.Policies = &policies
	}
	entries := s.everything()
	page.All = len(entries)
	page.Rules, page.Limits = s.rules(set, page.Caller.identity(set), entries), limits(set)
	page.decide(set, entries, v)
	s.render(w, http.StatusOK, "access", page)
}

// linked is an entry with where it is shown.
type linked struct {
	entry

	kind    itemKind
	request policy.Request
}

func (s *site) everything() []linked {
	snap := s.Snapshot()
	if snap == nil {
		return nil
	}
	var out []linked
	for _, kind := range kinds() {
		for _, e := range s.index.of(snap, kind.kind) {
			out = append(out, linked{e, kind, requestOf(e.Item)})
		}
	}
	return out
}

func (s *site) rules(set *policy.Set, id *policy.Identity, entries []linked) []ruleView {
	out := make([]ruleView, 0, len(set.ACL))
	for i := range set.ACL {
		rule := &set.ACL[i]
		view := ruleView{Name: rule.Name, Callers: rule.Callers(), ForCaller: rule.For(id)}
		for _, p := range rule.Allow {
			view.Patterns = append(view.Patterns, p.String())
		}
		for _, e := range entries {
			if rule.Covers(e.request) {
				view.Items++
			}
		}
		out = append(out, view)
	}
	return out
}

func limits(set *policy.Set) []limitView {
	out := make([]limitView, 0, len(set.RateLimits))
	for i := range set.RateLimits {
		limit := &set.RateLimits[i]
		about := "every tool"
		if len(limit.Tools) > 0 {
			about = "tools " + globs(limit.Tools)
		}
		if len(limit.Servers) > 0 {
			about += " of servers " + globs(limit.Servers)
		}
		out = append(out, limitView{Name: limit.Name, Text: limit.String(), About: about})
	}
	return out
}

func globs(list []policy.Glob) string {
	texts := make([]string, len(list))
	for i, g := range list {
		texts[i] = string(g)
	}
	return strings.Join(texts, ", ")
}

// decide judges every item for the caller, and shows a page of those that have the words.
func (p *accessPage) decide(set *policy.Set, entries []linked, v url.Values) {
	if !p.Caller.Asked {
		return
	}
	decide := set.Decider(p.Caller.identity(set))
	words := strings.Fields(strings.ToLower(p.Query))
	var found []decided
	for _, e := range entries {
		d := decide(e.request)
		if d.Allowed {
			p.Allowed++
		}
		if hasAll(e.text, words) {
			found = append(found, decided{Decision: d, Kind: e.kind.Singular, Name: e.PublicName, Server: e.Server.Name, Link: itemLink(e.kind, e.PublicName)})
		}
	}
	p.Items, p.paging = part(found, readQuery(v).Page, func(page int) string {
		q := url.Values{"user": {p.Caller.User}, "groups": {p.Caller.Groups}, "roles": {p.Caller.Roles}, "scopes": {p.Caller.Scopes}}
		if p.Query != "" {
			q.Set("q", p.Query)
		}
		return query{Page: page}.link("/access", page) + map[bool]string{true: "&", false: "?"}[page > 1] + q.Encode()
	})
}
