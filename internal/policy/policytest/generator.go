package policytest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Generator makes policies, callers and requests out of few words, so that they often have to do with each other.
type Generator struct {
	*rand.Rand

	issuer, audience string
}

// NewGenerator returns a generator that makes the same of the same seed.
func NewGenerator(seed uint64, issuer, audience string) Generator {
	return Generator{Rand: rand.New(rand.NewPCG(seed, 0)), issuer: issuer, audience: audience} //nolint:gosec // nothing secret
}

func (g Generator) one(of ...string) string { return of[g.IntN(len(of))] }

// Chance is true in so many of a hundred cases.
func (g Generator) Chance(percent int) bool { return g.IntN(100) < percent }

func (g Generator) some(of ...string) []any {
	out := []any{}
	for range 1 + g.IntN(2) {
		out = append(out, g.one(of...))
	}
	return out
}

func (g Generator) server() string { return g.one("weather", "größe", "s1", "s2") }

func (g Generator) item() string {
	return g.one("get", "set", "get_all", "delete", "grüße", "file:///a/b.txt", "x y", `q"\`)
}

func (g Generator) user() string  { return g.one("anna", "bert", "çelik") }
func (g Generator) group() string { return g.one("staff", "accounting", "/a/b", "Staff") }
func (g Generator) scope() string { return g.one("read", "read:all", "write", "a.b") }

func (g Generator) glob(word string) string {
	letters := []rune(word)
	cut := g.IntN(len(letters) + 1)
	switch g.IntN(5) {
	case 0:
		return string(letters[:cut]) + "*"
	case 1:
		return "*" + string(letters[cut:])
	case 2:
		return "*"
	}
	return word
}

// Values are policy values, as a file.
func (g Generator) Values() (file []byte, authenticated bool, err error) {
	authenticated = g.Chance(90)
	policies := map[string]any{}
	if authenticated {
		auth := map[string]any{"issuer": g.issuer, "audiences": []any{g.audience}}
		if g.Chance(40) {
			auth["claims"] = map[string]any{"user": "sub", "groups": []any{"https://x.example.com/groups"}, "roles": "deep.er.roles", "scopes": g.one("scp", "scope")}
		}
		policies["authentication"] = auth
	}
	if authenticated && g.Chance(20) {
		policies["acl"] = []any{map[string]any{"when": g.condition(4), "allow": []any{map[string]any{"server": "*"}}}}
	} else if g.Chance(95) {
		rules := []any{}
		for range g.IntN(4) {
			rules = append(rules, g.rule(authenticated))
		}
		policies["acl"] = rules
	}
	file, err = yaml.Marshal(map[string]any{"policies": policies})
	return file, authenticated, err
}

func (g Generator) rule(authenticated bool) map[string]any {
	rule := map[string]any{}
	if authenticated && g.Chance(85) {
		if g.Chance(40) {
			rule["when"] = g.condition(3)
		}
		for len(rule) == 0 || g.Chance(30) {
			key := g.one("users", "groups", "roles", "scopes", "when")
			rule[key] = g.wanted(key)
		}
	} else {
		rule["everyone"] = true
	}
	allow := []any{}
	for range 1 + g.IntN(3) {
		allow = append(allow, g.pattern())
	}
	rule["allow"] = allow
	return rule
}

// wanted is what a rule asks of a caller.
func (g Generator) wanted(key string) any {
	switch key {
	case "users":
		return g.some(g.user(), g.user())
	case "scopes":
		return g.some(g.scope(), g.scope())
	case "when":
		return g.condition(3)
	}
	return g.some(g.group(), g.group())
}

func (g Generator) pattern() any {
	if g.Chance(20) {
		return "*"
	}
	if g.Chance(30) {
		return g.glob(g.server() + "_" + g.item())
	}
	p := map[string]any{}
	if g.Chance(70) {
		p["server"] = g.glob(g.server())
	}
	switch kind := g.one("tool", "prompt", "resource", "hints", ""); {
	case kind == "hints" || kind == "tool" && g.Chance(30):
		p["hints"] = map[string]any{g.one("readOnly", "destructive", "idempotent", "openWorld"): g.Chance(50)}
		if kind == "tool" {
			p[kind] = g.glob(g.item())
		}
	case kind != "":
		p[kind] = g.glob(g.item())
	}
	if len(p) == 0 {
		p["server"] = "*"
	}
	return p
}

// condition is a CEL expression.
func (g Generator) condition(depth int) string {
	if depth > 0 && g.Chance(60) {
		a, b := g.condition(depth-1), g.condition(depth-1)
		switch g.IntN(5) {
		case 0, 1:
			return "(" + a + " && " + b + ")"
		case 2, 3:
			return "(" + a + " || " + b + ")"
		default:
			return g.one("!("+a+")", "("+a+" ? "+b+" : "+g.condition(0)+")")
		}
	}
	path, value := g.path(), g.literal()
	switch g.IntN(11) {
	case 0, 1:
		return path + g.one(" == ", " != ") + value
	case 2:
		return path + g.one(" < ", " <= ", " > ", " >= ") + g.one("1", "2.5", "2u", "-1", "9007199254740992", `"b"`, `""`)
	case 3:
		return value + " in " + path
	case 4:
		return path + " in [" + g.literal() + ", " + g.literal() + "]"
	case 5:
		return path + g.one(".startsWith", ".endsWith", ".contains") + "(" + strconv.Quote(g.one("a", "ad", "çe", "@x.org", "")) + ")"
	case 6:
		return path + ".matches(" + strconv.Quote(g.one("^a", "[a-m]+$", `^.*@x\.org$`, "(?i)STAFF", "ç.l")) + ")"
	case 7:
		return "size(" + path + ")" + g.one(" == ", " > ", " <= ") + strconv.Itoa(g.IntN(4))
	case 8:
		return "has(claims." + g.one("level", "org", "org.unit", "org.unit.x", "email", "email.x", "level.x", "groups", "groups.unit", "nothing", "nothing.x", "realm_access.roles.unit") + ")"
	case 9:
		return g.one("claims.admin", "claims.groups[0] == 'staff'", "claims['https://x.example.com/groups'] == ['staff']", "true", "claims.org == claims.level", "claims.level == claims.level")
	default:
		return path + " == " + g.path()
	}
}

func (g Generator) path() string {
	return g.one("claims.level", "claims.email", "claims.groups", "claims.org.unit", "claims.org", "claims.realm_access.roles", `claims["org"]["unit"]`, "claims.admin", "claims.sub", "claims.nothing", "claims.scope")
}

func (g Generator) literal() string {
	return g.one("1", "2", "2.0", "2u", "-1", "9007199254740993", `"anna"`, `"staff"`, `"2"`, "true", "false", "null", `""`, `["staff"]`, "1.5")
}

// claim is what a claim may be, or ought not to be.
func (g Generator) claim(word func() string) any {
	switch g.IntN(10) {
	case 0:
		return nil // left out
	case 9:
		return json.RawMessage("null")
	case 1, 2:
		return word()
	case 3, 4:
		return g.some(word(), word(), word())
	case 5:
		return []any{word(), 2, nil, true, []any{word()}, map[string]any{"x": word()}}
	case 6:
		return word() + g.one(" ", "  ", " x ", ",", "\t") + word()
	case 7:
		return map[string]any{word(): word(), "unit": word()}
	default:
		return []any{[]any{}, 2, true, "", 1.5, -1, " " + word()}[g.IntN(7)]
	}
}

// Claims are those of a caller, without the registered ones. What a JSON text of null stands for is null; nil is a claim that is left out.
func (g Generator) Claims() map[string]any {
	claims := map[string]any{"preferred_username": g.claim(g.user), "sub": g.user()}
	for _, name := range []string{"groups", "https://x.example.com/groups", "level", "email", "org", "admin"} {
		claims[name] = g.claim(g.group)
	}
	for _, name := range []string{"scope", "scp"} {
		claims[name] = g.claim(g.scope)
	}
	claims["realm_access"] = map[string]any{"roles": g.claim(g.group)}
	claims["deep"] = []any{map[string]any{"er": map[string]any{"roles": g.claim(g.group)}}, "flat", nil}[g.IntN(3)]
	for _, typical := range []struct {
		name   string
		values []any
	}{
		{"level", []any{1, 2, 3.5, "2", nil, 9007199254740993, -1}},
		{"email", []any{"anna@x.org", "bert@y.org", nil, 1}},
		{"admin", []any{true, false, nil, "true"}},
		{"org", []any{map[string]any{"unit": "staff"}, map[string]any{"unit": 2}, map[string]any{}, nil, "org"}},
	} {
		if g.Chance(80) {
			claims[typical.name] = typical.values[g.IntN(len(typical.values))]
		}
	}
	return claims
}

// Request asks for something.
func (g Generator) Request() policy.Request {
	r := policy.Request{Kind: []policy.Kind{policy.None, policy.Tool, policy.Tool, policy.Tool, policy.Prompt, policy.Resource}[g.IntN(6)], Server: g.server()}
	if r.Kind == policy.None {
		r.Server = g.one(wire.BrokerServer, r.Server)
		return r
	}
	r.Name = g.item()
	r.PublicName = r.Server + "_" + r.Name
	if r.Kind == policy.Resource || g.Chance(20) {
		r.PublicName = r.Name
	}
	if r.Kind == policy.Tool && g.Chance(95) {
		r.Hints = fmt.Sprintf("readOnly=%t,destructive=%t,idempotent=%t,openWorld=%t", g.Chance(50), g.Chance(50), g.Chance(50), g.Chance(50))
	}
	return r
}

// Limits are rate limits, as they stand in a file. Their budgets are small, and their windows long.
func (g Generator) Limits() []any {
	limits := []any{}
	for range 1 + g.IntN(3) {
		limit := map[string]any{"limit": 1 + g.IntN(12), "window": g.one("1h", "24h", "90m", "1h0.5m")}
		if g.Chance(60) {
			limit["tools"] = []any{g.glob(g.server() + "_" + g.item()), g.glob(g.server() + "_" + g.item())}
		}
		if g.Chance(50) {
			limit["servers"] = []any{g.glob(g.server())}
		}
		if per := []any{nil, "user", "tool", "server", []any{"user", "tool"}, []any{"server", "user"}}[g.IntN(6)]; per != nil {
			limit["per"] = per
		}
		limits = append(limits, limit)
	}
	return limits
}
