// Package policy holds the policy values: who may call what, and how often. It reads them, decides by them, and explains what it decided. Envoy
// enforces the same values; the broker shows by them. It is pure: it verifies no token and opens no connection, and it knows of this module only
// the names in wire.
package policy

import (
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// Set is a whole set of policy values as [Parse] made it. It is never modified.
type Set struct {
	// Authentication is nil where callers need no token.
	Authentication *Authentication
	// ACL is nil where the values have no "acl": then every caller may call everything. An empty one allows nothing.
	ACL        []Rule
	RateLimits []RateLimit
	// RateLimitService counts for all Envoys together. Nil means that each counts for itself.
	RateLimitService *RateLimitService
}

// Authentication says whose tokens are believed.
type Authentication struct {
	// Issuer equals the token's "iss" byte by byte.
	Issuer string
	// Audiences are those of which the token's "aud" must have one; never empty.
	Audiences []string
	// JWKSURI is where the issuer's keys are. Empty means: where its metadata says (OpenID Connect Discovery, RFC 8414).
	JWKSURI string
	// ClockSkew is how far the issuer's clock may be from ours; default 30 s.
	ClockSkew time.Duration
	// Claims are the paths at which a token has what rules ask for.
	Claims Claims
}

// Claims are paths of claims: the names of the members from the outermost to the innermost.
type Claims struct {
	User, Groups, Roles, Scopes []string
}

// Rule allows some callers some items. A caller that any rule allows an item may have it; the order does not matter.
type Rule struct {
	// Name is what the rule is called in explanations and in Envoy's statistics; "rule-0" and so on where the values have none.
	Name string
	// Who must all hold; within each list one is enough. A rule for everyone has none of them and no When.
	Users, Groups, Roles, Scopes []string
	When                         *Condition
	Allow                        []Pattern
}

// Condition is a CEL expression over the variable "claims", with a boolean value. What it cannot evaluate, as where a claim is missing, is false.
type Condition struct {
	Source string
	// AST is the parsed expression, for engines that evaluate it themselves.
	AST     *ast.AST
	program cel.Program
}

// Kind is what an item is.
type Kind uint8

// The kinds of items. A request of no kind, like tools/list, is for every caller that is authenticated.
const (
	None Kind = iota
	Tool
	Prompt
	Resource
)

// Pattern matches items. All that is given must match.
type Pattern struct {
	// Kind is [None] for a pattern of everything that a server has.
	Kind Kind
	// Public is matched against the name that clients use; of tools only. Name is matched against the server's own name, or URI.
	Public, Name, Server Glob
	// Hints are what the tool's annotations must say, the specification's defaults included, by the names readOnly, destructive, idempotent, openWorld.
	Hints map[string]bool
}

// Glob is a pattern with at most one "*", at its beginning or its end: "x", "x*", "*x" or "*". Empty matches everything too.
type Glob string

// RateLimit limits how often items may be called.
type RateLimit struct {
	Name string
	// Tools are globs over public names, Servers over the names of servers. Empty lists mean all. What is limited are tools/call requests.
	Tools, Servers []Glob
	// Per are what each has a budget of its own; empty means that all share one.
	Per []Per
	// Limit is what a full budget has; an empty one is full again after Window, filled up steadily.
	Limit  uint32
	Window time.Duration
}

// RateLimitService is a global rate limit service in the sense of Envoy's API.
type RateLimitService struct {
	// Address is "host:port" of its gRPC endpoint.
	Address string
	// Domain is what the service knows these limits by.
	Domain string
	// Timeout is how long Envoy waits for the service with each call.
	Timeout time.Duration
	// FailClosed refuses calls that the service cannot count. Without it they pass.
	FailClosed bool
}

// Per is what a budget belongs to.
type Per string

// What a budget may belong to. A user is the pair of issuer and subject, as the token says.
const (
	PerUser   Per = "user"
	PerTool   Per = "tool"
	PerServer Per = "server"
)

// Identity is a verified caller.
type Identity struct {
	Issuer, Subject, User string
	// Users are all names of a caller whose token has several; [Identity.User] is the first.
	Users                 []string
	Groups, Roles, Scopes []string
	Claims                map[string]any
}

// Request is what a caller asks for, in the words of the router's metadata (see package wire).
type Request struct {
	Kind Kind
	// Server is the owning server, Name its own name of the item, PublicName the name that clients use, Hints the value of wire.KeyHints.
	Server, Name, PublicName, Hints string
}

// Decision is the answer to "may this caller have this?".
type Decision struct {
	Allowed bool
	// Rule is the name of a rule that allows it, or empty.
	Rule string
	// Reason is a sentence for people.
	Reason string
}
