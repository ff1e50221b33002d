package broker

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about clients of the revisions without sessions. The router has checked that a request's headers and _meta are what they have to be.

const (
	// defaultTTL is how long a list may be taken for fresh of whose servers none says so.
	defaultTTL = time.Minute
	// longestTTL bounds what servers say: what a caller may have can change, and then nobody tells the client.
	longestTTL = 5 * time.Minute
)

// isModern tells whether a request is of a revision without sessions.
func isModern(r *http.Request) bool {
	return wire.IsModernRevision(r.Header.Get(wire.HeaderProtocolVersion))
}

// eraOf is the family of revisions that a request is of.
func eraOf(r *http.Request) catalog.Era {
	if isModern(r) {
		return catalog.Modern
	}
	return catalog.Legacy
}

func (b *Broker) modern(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access) {
	if m.Kind != jsonrpc.Request {
		w.WriteHeader(http.StatusAccepted) // no notification of these revisions means anything over HTTP
		return
	}
	if name := r.Header.Get(wire.HeaderServer); name != "" && name != wire.BrokerServer {
		b.ownedModern(w, r, m, name, access)
		return
	}
	switch m.MethodName() {
	case "server/discover":
		b.see(w, r, m.ID.Of(m.Body), func(view *catalog.View) { b.discover(w, m, access, view) })
	case "subscriptions/listen":
		b.see(w, r, m.ID.Of(m.Body), func(view *catalog.View) { b.subscribe(w, r, m, access, view) })
	default:
		b.own(w, r, m, access, http.StatusNotFound)
	}
}

// ownedModern makes a call to the server that the router found to own what it names.
func (b *Broker) ownedModern(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, name string, access Access) {
	snap := b.opts.Snapshot()
	server := snap.Server(name)
	id := m.ID.Of(m.Body)
	if server == nil {
		b.fail(w, badGateway(id, http.StatusServiceUnavailable, name, "is no longer configured"))
		return
	}
	if isTaskMethod(m.MethodName()) {
		b.task(w, r, m, server, access)
		return
	}
	leave, ok := b.letIn(w, r, m, snap, server, access)
	if !ok {
		return
	}
	defer leave()
	b.carryModern(w, r, m, server, access)
}

type discoverResult struct {
	ResultType   string                     `json:"resultType"`
	Versions     []string                   `json:"supportedVersions"`
	Capabilities capabilities               `json:"capabilities"`
	Instructions string                     `json:"instructions,omitempty"`
	TTL          int64                      `json:"ttlMs"`
	Scope        string                     `json:"cacheScope"`
	Meta         map[string]json.RawMessage `json:"_meta"`
}

// discover says what the servers behind can do.
func (b *Broker) discover(w http.ResponseWriter, m *jsonrpc.Message, access Access, view *catalog.View) {
	welcome := b.welcome(wire.ModernRevisions()[0], access, view)
	if resources := welcome.Capabilities.Resources; resources != nil {
		resources.Subscribe = view.Features().Listen
	}
	if view.Features().Tasks {
		welcome.Capabilities.Extensions = map[string]struct{}{wire.ExtensionTasks: {}}
	}
	result, err := json.Marshal(discoverResult{
		ResultType: "complete", Versions: wire.Revisions(), Capabilities: welcome.Capabilities, Instructions: welcome.Instructions,
		TTL: defaultTTL.Milliseconds(), Scope: scope(access, false), Meta: map[string]json.RawMessage{wire.MetaServerInfo: b.identity(view)},
	})
	if err != nil {
		b.fail(w, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusInternalServerError, ID: m.ID.Of(m.Body), Message: err.Error()})
		return
	}
	b.result(w, m, result)
}

// identity is the serverInfo of an endpoint.
func (b *Broker) identity(view *catalog.View) json.RawMessage {
	info, _ := json.Marshal(b.info(view, wire.ModernRevisions()[0])) // strings can be written
	return info
}

// scope tells who may see a copy of an answer: nobody else, where it depends on who asks.
func scope(access Access, private bool) string {
	if _, all := access.(everything); all && !private {
		return "public"
	}
	return "private"
}

// hints are the members that the revision wants in the result of a list beside the list. They are the same on all pages.
func (b *Broker) hints(view *catalog.View, access Access, kind catalog.Kind) []byte {
	cache := view.Cache(kind)
	ttl := defaultTTL
	if cache.Told {
		ttl = min(cache.TTL, longestTTL)
	}
	out := strconv.AppendInt([]byte(`,"resultType":"complete","ttlMs":`), ttl.Milliseconds(), 10)
	out = append(append(append(out, `,"cacheScope":"`...), scope(access, cache.Private)...), '"')
	out = append(append(out, `,"_meta":{"`+wire.MetaServerInfo+`":`...), b.identity(view)...)
	return append(out, '}')
}
