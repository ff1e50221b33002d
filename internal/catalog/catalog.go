// Package catalog is the gateway's model: one immutable Snapshot of servers, tools, prompts and resources, built whole
// from the configuration and from what the servers said of themselves. It must not know HTTP, Envoy, sessions or
// Kubernetes, and it opens no connection.
package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// Kind is a kind of item that servers offer and the gateway aggregates.
type Kind uint8

// The kinds of items.
const (
	Tool Kind = iota
	Prompt
	Resource
	Template
	kinds
)

// String is the kind as it is called in messages.
func (k Kind) String() string {
	switch k {
	case Tool:
		return "tool"
	case Prompt:
		return "prompt"
	case Resource:
		return "resource"
	case Template:
		return "resource template"
	default:
		return "item"
	}
}

// Listing is what one server said of itself, verbatim. It is immutable once published.
type Listing struct {
	// Revision is the session-based protocol revision negotiated at discovery, empty if the server speaks none.
	Revision string
	// Modern is the newest revision without sessions that the server speaks and the gateway too, empty if there is none.
	Modern string
	// Sessions tells whether the server issued a session id.
	Sessions bool
	// Compares are the methods whose calls the server was seen to refuse where headers and body name different things, in the revision without sessions.
	// None means that nobody looked.
	Compares     []string
	Capabilities json.RawMessage
	ServerInfo   json.RawMessage
	Instructions string
	// Items holds the definitions by Kind, in the server's order, each a valid JSON object.
	Items [kinds][]json.RawMessage
	// Digests are those of the tools, in their order, so that they are not made anew for each snapshot. They may be left out.
	Digests []Digest
	// Cache is what the server said by Kind of how long its lists stay as they are.
	Cache [kinds]Cache
	// Problems are violations of the protocol that were worked around.
	Problems []string
}

// Revisions are the protocol revisions in which the gateway speaks with the server, newest first.
func (l *Listing) Revisions() []string {
	var out []string
	for _, revision := range []string{l.Modern, l.Revision} {
		if revision != "" {
			out = append(out, revision)
		}
	}
	return out
}

// Cache is what may be done with a copy of a list.
type Cache struct {
	// Told tells whether a server said anything; else the rest means nothing.
	Told bool
	// TTL is how long the list may be taken for fresh.
	TTL time.Duration
	// Private tells that it is for who has asked for it alone.
	Private bool
}

// and is what may be done with two lists in one.
func (c Cache) and(other Cache) Cache {
	switch {
	case !other.Told:
		return c
	case !c.Told:
		return other
	}
	return Cache{Told: true, TTL: min(c.TTL, other.TTL), Private: c.Private || other.Private}
}

// Health is the state of the connection to a server.
type Health string

// The states of a server.
const (
	HealthConnecting Health = "connecting"
	HealthReady      Health = "ready"
	HealthFailing    Health = "failing"
	HealthDisabled   Health = "disabled"
)

// State is what is known of one server at one time. Listing stays what it last was while a server fails, so that a
// short outage does not make its tools come and go.
type State struct {
	Health    Health
	Listing   *Listing
	LastError string
	// Cause is what kind of trouble LastError tells of.
	Cause Cause
	Since time.Time
}

// Cause is a kind of trouble with a server.
type Cause string

// The kinds of trouble.
const (
	// CauseUnreachable is no connection, or no answer in time.
	CauseUnreachable Cause = "unreachable"
	// CauseUnauthorized is a credential that is refused, lacking or cannot be had.
	CauseUnauthorized Cause = "unauthorized"
	// CauseProtocol is an answer that does not speak MCP as it should.
	CauseProtocol Cause = "protocol"
)

// Server is one configured server as the router and the broker need it.
type Server struct {
	Name string
	// Fingerprint changes when the server's address or credential does; open backend sessions belong to one.
	Fingerprint string
	// Cluster is Envoy's name for it.
	Cluster   string
	Authority string
	Path      string
	Prefix    string
	URIPrefix bool
	Timeout   time.Duration
	// MaxCalls is how many calls the broker may have open with it at once; zero means no limit.
	MaxCalls uint32
	// Retries tells that calls may be sent again that did not reach the server: another of its addresses may answer.
	Retries bool
	State   State
	// Programmed tells whether Envoy can route to it. Items of a server that is not are not offered.
	Programmed bool
	// PerCaller tells that what reaches the server carries a token of the caller's, so that a backend session is that caller's alone.
	PerCaller bool
	// Carried tells that the broker makes all calls, because Envoy does not have the token for them, or nobody else reads the answers.
	Carried bool
	// Untrusted tells that no answer may reach a client unread.
	Untrusted bool
	// Pins are in order of their tools.
	Pins []Pin
	// PerUser tells that each caller must have given the gateway a credential for it.
	PerUser bool
	caps    capabilities
}

// Sessions tells whether the server keeps sessions, so that a call needs one opened first.
func (s *Server) Sessions() bool { return s.State.Listing != nil && s.State.Listing.Sessions }

// Mute tells whether the server has no way to say anything but answers: it speaks only revisions that have a stream for that in sessions, and keeps none.
func (s *Server) Mute() bool { return s.State.Listing != nil && !s.Sessions() && s.Modern() == "" }

// Modern is the revision without sessions in which the server can be addressed, empty if there is none.
func (s *Server) Modern() string {
	if s.State.Listing == nil {
		return ""
	}
	return s.State.Listing.Modern
}

// Compares tells whether the server holds the body of a method's calls to what their headers say, so that these can be believed.
func (s *Server) Compares(method string) bool {
	return s.State.Listing != nil && slices.Contains(s.State.Listing.Compares, method)
}

// Revision is the session-based protocol revision in which the server can be addressed, empty if there is none.
func (s *Server) Revision() string {
	if s.State.Listing == nil {
		return ""
	}
	return s.State.Listing.Revision
}

// Offers tells whether the server declared a capability, such as "logging" or "completions".
func (s *Server) Offers(capability string) bool { return s.caps.has(capability) }

// Tasks tells whether the server may answer calls with tasks, as the extension of the revisions without sessions has them.
func (s *Server) Tasks() bool { return s.caps.tasks && s.Modern() != "" }

// Watchable tells whether the gateway can hear from the server itself of changes of single resources: it has a stream for that.
func (s *Server) Watchable() bool { return s.caps.subscribe && (s.Modern() != "" || s.Sessions()) }

// Item is one tool, prompt, resource or template of one server.
type Item struct {
	Kind   Kind
	Server *Server
	// Name is the server's own name (or URI), PublicName the one that clients use.
	Name       string
	PublicName string
	// Definition is the server's definition with the public name in place of its own, else verbatim.
	Definition json.RawMessage
	// Digest is that of a tool's own definition.
	Digest Digest
	// Hints is the value of wire.HeaderHints.
	Hints string
	// Replayable tells that a call may be repeated: read-only or idempotent by annotation.
	Replayable bool
	Timeout    time.Duration
	// Params are the arguments of a tool that its calls repeat in headers.
	Params []Param
	// Calls counts those of a tool. What is counted is no part of the snapshot: the counter goes on in the next one. Nil where nobody counts.
	Calls *tally.Counter

	legacy json.RawMessage // the definition for clients with sessions, nil where that is no other
	place  int             // in the list of its kind
}

// Problem is something a server offers that is not shown as it stands, and why.
type Problem struct {
	Server  string `json:"server"`
	Kind    string `json:"kind,omitempty"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

// Snapshot is the whole model at one time. It is never modified.
type Snapshot struct {
	servers  []*Server
	byName   map[string]*Server
	lists    [kinds]list
	problems []Problem
	reserved []string
	unlisted unlisted
	awaited  []*Server // of which it is not known yet what they offer, or not to Envoy

	all                         View
	views                       []*View
	viewsByName, viewsBySegment map[string]*View

	indexed sync.Once // guards the making of index, which is the one thing that is made late
	index   *index
}

// Features is what the servers behind can do together.
type Features struct {
	Prompts, Resources, Subscribe, Completions, Logging bool
	// Listen tells whether clients without sessions can be told of changes of single resources.
	Listen bool
	// Tasks tells whether calls of clients without sessions may be answered with tasks.
	Tasks        bool
	Instructions string
}

// Servers are all configured servers in configuration order.
func (s *Snapshot) Servers() []*Server { return s.servers }

// Server finds a server by its name.
func (s *Snapshot) Server(name string) *Server { return s.byName[name] }

// Problems are the conflicts and defects found while building.
func (s *Snapshot) Problems() []Problem { return s.problems }

// Awaited is a server that may offer what nobody is known to offer, by a client's name for it: one that has not been asked yet since the gateway
// started or it was configured, or that Envoy does not know yet. There may be none.
func (s *Snapshot) Awaited(kind Kind, name string) *Server {
	for _, server := range s.awaited {
		if kind == Tool || kind == Prompt {
			if strings.HasPrefix(name, server.Prefix) {
				return server
			}
		} else if !server.URIPrefix || strings.HasPrefix(name, uriPrefix(server.Name)) {
			return server
		}
	}
	return nil
}

// Find finds an item by its public name or URI.
func (s *Snapshot) Find(kind Kind, publicName string) *Item { return s.lists[kind].byName[publicName] }

// Tool finds a tool by the name that its server has for it.
func (s *Snapshot) Tool(server, own string) *Item {
	owner := s.byName[server]
	if owner == nil {
		return nil
	}
	it := s.Find(Tool, publicName(owner, Tool, own))
	if it == nil || it.Server != owner {
		return nil
	}
	return it
}

// Items are all items of a kind, ordered by public name.
func (s *Snapshot) Items(kind Kind) []*Item { return s.lists[kind].items }

// Sum identifies the content of a kind's list: equal sums mean equal lists.
func (s *Snapshot) Sum(kind Kind) [32]byte { return s.lists[kind].sum }
