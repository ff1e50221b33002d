package policy

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	defaultClockSkew = 30 * time.Second
	maxClockSkew     = 5 * time.Minute
	minWindow        = time.Second
	maxWindow        = 24 * time.Hour
	maxName          = 63
)

// Parse reads policy values: a YAML document with the one key "policies". It is strict, and its error is [Problems]: everything that is wrong at
// once. The name is the file's, for messages.
func Parse(name string, data []byte) (*Set, error) {
	p := &parser{reader: reader{report: report{file: name}}}
	var set *Set
	if root := p.document(data); root != nil {
		set = p.root(root)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return set, nil
}

// parser makes a Set of a document. It goes on after a problem, so that all are found; what it has made then is of no use.
type parser struct {
	reader
	conditions *conditions
	// global says that a service counts for the limits.
	global bool
}

func (p *parser) root(n *yaml.Node) *Set {
	set := &Set{}
	root := p.value(n, "")
	members, ok := p.mapping(root, "policies")
	if !ok {
		return set
	}
	policies, ok := members["policies"]
	if !ok {
		p.refuse(root, `the key "policies" is missing; "policies: {}" means that there are none`)
		return set
	}
	if members, ok = p.mapping(policies, "authentication", "acl", "rateLimits", "rateLimitService"); !ok {
		return set
	}
	v, authenticated := members["authentication"]
	if authenticated {
		set.Authentication = p.authentication(v)
	}
	if v, ok := members["acl"]; ok {
		set.ACL = p.acl(v, authenticated)
	}
	if v, ok := members["rateLimitService"]; ok {
		set.RateLimitService = p.rateLimitService(v)
	}
	if v, ok := members["rateLimits"]; ok {
		set.RateLimits = p.rateLimits(v, authenticated)
	}
	return set
}

func (p *parser) authentication(v value) *Authentication {
	a := &Authentication{ClockSkew: defaultClockSkew, Claims: defaultClaims()}
	members, ok := p.mapping(v, "issuer", "audiences", "jwksURI", "clockSkew", "claims")
	if !ok {
		return a
	}
	for _, key := range []string{"issuer", "audiences"} {
		if _, given := members[key]; !given {
			p.refuse(v, "the key %q is missing", key)
		}
	}
	for key, member := range members {
		switch key {
		case "issuer":
			a.Issuer = p.url(member)
		case "audiences":
			a.Audiences = p.texts(member, "audiences")
		case "jwksURI":
			a.JWKSURI = p.url(member)
		case "clockSkew":
			a.ClockSkew = p.duration(member, 0, maxClockSkew)
		case "claims":
			p.claims(member, &a.Claims)
		}
	}
	return a
}

func (p *parser) url(v value) string {
	const want = "an absolute http or https URL"
	text, ok := p.text(v, want)
	if !ok {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		// The text is not repeated: a password may be in it.
		p.refuse(v, "must be %s", want)
	case u.User != nil:
		p.refuse(v, "must have no user name or password in it")
	case strings.Contains(text, "#"):
		p.refuse(v, `must have no fragment: take out what begins with "#"`)
	}
	return text
}

func defaultClaims() Claims {
	return Claims{User: []string{"preferred_username"}, Groups: []string{"groups"}, Roles: []string{"realm_access", "roles"}, Scopes: []string{"scope"}}
}

func (p *parser) claims(v value, c *Claims) {
	members, ok := p.mapping(v, "user", "groups", "roles", "scopes")
	if !ok {
		return
	}
	for key, path := range map[string]*[]string{"user": &c.User, "groups": &c.Groups, "roles": &c.Roles, "scopes": &c.Scopes} {
		if member, given := members[key]; given {
			*path = p.claimPath(member)
		}
	}
}

// claimPath reads a path with dots, or a list of names for names that have dots themselves.
func (p *parser) claimPath(v value) []string {
	if v.node.Kind == yaml.SequenceNode {
		return p.texts(v, "names of claims")
	}
	text, ok := p.text(v, "a claim's name, a path with dots, or a list of names")
	if !ok {
		return nil
	}
	path := strings.Split(text, ".")
	if slices.Contains(path, "") {
		p.refuse(v, "%q has an empty name between its dots; write a list of names for a claim whose name has dots", text)
	}
	return path
}

func (p *parser) rateLimits(v value, authenticated bool) []RateLimit {
	items, _ := p.list(v, "rate limits")
	limits, names := make([]RateLimit, 0, len(items)), names{}
	for i, item := range items {
		limits = append(limits, p.rateLimit(item, i, authenticated, names))
	}
	return limits
}

func (p *parser) rateLimit(v value, index int, authenticated bool, taken names) RateLimit {
	var l RateLimit
	members, ok := p.mapping(v, "name", "tools", "servers", "per", "limit", "window")
	if !ok {
		return l
	}
	for _, key := range []string{"limit", "window"} {
		if _, given := members[key]; !given {
			p.refuse(v, "the key %q is missing", key)
		}
	}
	l.Name = p.name(v, members, "limit", index, taken)
	for key, member := range members {
		switch key {
		case "tools":
			l.Tools = p.globs(member, "globs over tools' public names")
		case "servers":
			l.Servers = p.globs(member, "globs over servers' names")
		case "per":
			l.Per = p.per(member, authenticated)
		case "limit":
			l.Limit = p.count(member)
		case "window":
			l.Window = p.window(member)
		}
	}
	return l
}

func (p *parser) globs(v value, of string) []Glob {
	var out []Glob
	for _, item := range p.some(v, of) {
		out = append(out, p.glob(item))
	}
	return out
}

// per reads one word or a list of them.
func (p *parser) per(v value, authenticated bool) []Per {
	words := []value{v}
	if v.node.Kind == yaml.SequenceNode {
		words = p.some(v, "words user, tool and server")
	}
	var out []Per
	for _, word := range words {
		text, ok := p.text(word, "user, tool or server, or a list of them")
		if !ok {
			continue
		}
		per := Per(text)
		switch {
		case per != PerUser && per != PerTool && per != PerServer:
			p.refuse(word, "%q must be user, tool or server", text)
		case slices.Contains(out, per):
			p.refuse(word, "%q is here twice", text)
		case per == PerUser && !authenticated:
			p.refuse(word, "needs users: add policies.authentication, or take it out")
		}
		out = append(out, per)
	}
	return out
}

// names are those that are taken, with the places of their owners.
type names map[string]value

// name reads the name of a rule or a limit, or gives it one.
func (p *parser) name(v value, members map[string]value, kind string, index int, taken names) string {
	name, at := defaultName(kind, index), v
	if given, ok := members["name"]; ok {
		text, ok := p.text(given, "a name")
		if !ok {
			return name
		}
		name, at = text, given
		odd := strings.ContainsFunc(text, func(c rune) bool { return !isNameRune(c) })
		if odd || len(text) > maxName {
			p.refuse(given, "%q must be made of at most %d letters, digits and _ - .", text, maxName)
		}
	}
	if owner, twice := taken[name]; twice {
		p.refuse(at, "the name %q is already that of %s on line %d", name, owner.path, owner.line)
		return name
	}
	taken[name] = v
	return name
}

func isNameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}
