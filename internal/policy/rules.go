package policy

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func defaultName(kind string, index int) string { return kind + "-" + strconv.Itoa(index) }

// acl is never nil: an empty one allows nothing.
func (p *parser) acl(v value, authenticated bool) []Rule {
	items, _ := p.list(v, "rules")
	rules, names := make([]Rule, 0, len(items)), names{}
	for i, item := range items {
		rules = append(rules, p.rule(item, i, authenticated, names))
	}
	return rules
}

// callers are the keys that say whom a rule is for.
func callers() []string { return []string{"users", "groups", "roles", "scopes", "when", "everyone"} }

func (p *parser) rule(v value, index int, authenticated bool, taken names) Rule {
	var rule Rule
	members, ok := p.mapping(v, append(append([]string{"name"}, callers()...), "allow")...)
	if !ok {
		return rule
	}
	rule.Name = p.name(v, members, "rule", index, taken)
	p.who(v, members, authenticated, &rule)
	allow, ok := members["allow"]
	if !ok {
		p.refuse(v, `the key "allow" is missing`)
		return rule
	}
	for _, item := range p.some(allow, "items that are allowed") {
		rule.Allow = append(rule.Allow, p.pattern(item))
	}
	return rule
}

func (p *parser) who(v value, members map[string]value, authenticated bool, rule *Rule) {
	given := 0
	for _, key := range callers() {
		member, ok := members[key]
		if !ok {
			continue
		}
		given++
		if key != "everyone" && !authenticated {
			p.refuse(member, `needs verified callers: add policies.authentication, or write "everyone: true" instead`)
		}
		switch key {
		case "users":
			rule.Users = p.texts(member, "users")
		case "groups":
			rule.Groups = p.texts(member, "groups")
		case "roles":
			rule.Roles = p.texts(member, "roles")
		case "scopes":
			rule.Scopes = p.scopes(member)
		case "when":
			rule.When = p.condition(member)
		case "everyone":
			if everyone, ok := p.flag(member); ok && !everyone {
				p.refuse(member, "must be true; take the key out and say whom the rule is for")
			}
		}
	}
	everyone, ok := members["everyone"]
	switch {
	case given == 0:
		p.refuse(v, "says nothing about whom it is for: add users, groups, roles, scopes, when, or everyone: true")
	case ok && given > 1:
		p.refuse(everyone, "stands beside other conditions; take it out, or take them out")
	}
}

// scopes refuses what no token can have: the scope claim is split at spaces.
func (p *parser) scopes(v value) []string {
	var out []string
	for _, item := range p.some(v, "scopes") {
		text, ok := p.text(item, "a string")
		if ok && strings.Contains(text, " ") {
			p.refuse(item, "%q has a space in it; write one scope in each item of the list", text)
		}
		out = append(out, text)
	}
	return out
}

// pattern reads one item of "allow".
func (p *parser) pattern(v value) Pattern {
	if v.node.Kind == yaml.ScalarNode {
		return Pattern{Kind: Tool, Public: p.glob(v)}
	}
	var out Pattern
	members, ok := p.mapping(v, "server", "tool", "prompt", "resource", "hints")
	if !ok {
		return out
	}
	if len(members) == 0 {
		p.refuse(v, `is empty; to allow everything of every server, write {server: "*"}`)
	}
	if server, ok := members["server"]; ok {
		out.Server = p.glob(server)
	}
	p.kind(v, members, &out)
	if hints, ok := members["hints"]; ok {
		if out.Kind == None {
			out.Kind = Tool
		}
		if out.Kind != Tool {
			p.refuse(hints, "only tools have hints; a prompt or a resource has none")
		}
		out.Hints = p.hints(hints)
	}
	return out
}

func (p *parser) kind(v value, members map[string]value, out *Pattern) {
	for _, kind := range []Kind{Tool, Prompt, Resource} {
		name, ok := members[kind.String()]
		if !ok {
			continue
		}
		if out.Kind != None {
			p.refuse(v, "has both %s and %s; write two items", out.Kind, kind)
		}
		out.Kind, out.Name = kind, p.glob(name)
	}
}

func (p *parser) hints(v value) map[string]bool {
	members, ok := p.mapping(v, "readOnly", "destructive", "idempotent", "openWorld")
	if !ok {
		return nil
	}
	if len(members) == 0 {
		p.refuse(v, "is empty; it must have at least one of readOnly, destructive, idempotent and openWorld")
	}
	hints := map[string]bool{}
	for key, member := range members {
		if set, ok := p.flag(member); ok {
			hints[key] = set
		}
	}
	return hints
}

// glob reads one, and refuses those that engines cannot express.
func (p *parser) glob(v value) Glob {
	const want = `a glob: "x", "x*", "*x" or "*"`
	text, ok := p.text(v, want)
	if !ok {
		return ""
	}
	if inner := strings.TrimSuffix(strings.TrimPrefix(text, "*"), "*"); strings.Contains(inner, "*") || len(text)-len(inner) > 1 {
		p.refuse(v, `%q must have at most one "*", at its beginning or its end`, text)
	}
	return Glob(text)
}

// condition reads a CEL expression.
func (p *parser) condition(v value) *Condition {
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!str" {
		p.is(v, yaml.ScalarNode, "!!str", "a CEL expression")
		return nil
	}
	if p.conditions == nil {
		c, err := newConditions()
		if err != nil {
			p.refuse(v, "no CEL expression can be read: %v", err)
			return nil
		}
		p.conditions = c
	}
	condition, problems := p.conditions.compile(v.node.Value)
	for _, problem := range problems {
		p.refuse(v, "%s", problem)
	}
	return condition
}
