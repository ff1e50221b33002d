package router

import (
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about calls that need not be read to be routed. In a revision without sessions their headers say what they use, and a server that compares
// these with the body makes that the truth (MCP 2026-07-28, Streamable HTTP, "Server Validation").

// RouteHead decides on a call whose body has not come yet. It says no, and has decided nothing, wherever the body could matter: what is to be changed in it,
// what the gateway has to compare itself, and what is refused, since the refusal has to bear the id.
func (r *Router) RouteHead(req *Request, d *Decision) bool {
	if !r.heads || r.traces.On || !wire.IsModernRevision(req.protocolVersion) || !r.headIsWhole(req) {
		return false
	}
	name, ok := decodeValue(req.mcpName)
	if !ok {
		return false
	}
	x := exchange{Router: r, req: req, d: d, snap: r.snapshot(), stateless: true}
	if !x.ownTool(name) && x.head(name) {
		return true
	}
	d.Reset()
	return false
}

// headIsWhole tells whether a head has all that a call needs, each once.
func (r *Router) headIsWhole(req *Request) bool {
	const needed = seenLength | seenMCPMethod | seenMCPName
	return req.Method == http.MethodPost && req.seen&needed == needed && req.contentLength <= r.maxBody && req.twice == "" &&
		isEndpoint(req.Path) && isJSON(req.contentType) && !req.encoded &&
		accepts(req.accept, "application/json") && accepts(req.accept, "text/event-stream")
}

// head labels a call for the server of what its headers name, if that is all there is to do.
func (x *exchange) head(name string) bool {
	r, req, d := x.Router, x.req, x.d
	r.begin(req, d)
	var err *jsonrpc.Error
	if x.view, err = r.checkHead(req, nil, x.snap, d); err != nil {
		return false
	}
	d.fact(wire.HeaderMethod, wire.KeyMethod, req.mcpMethod)
	it, header, key := x.headItem(name)
	if it == nil || len(it.Params) > 0 {
		return false
	}
	server := it.Server
	if server.Modern() != req.protocolVersion || server.Carried || !server.Compares(req.mcpMethod) || it.Kind == catalog.Tool && server.Tasks() {
		return false
	}
	x.beginModern()
	d.Metadata = append(d.Metadata, Header{wire.KeyRevision, req.protocolVersion})
	x.facts(it, header, key, name, name)
	x.mirror(req.mcpMethod, name)
	x.send(it, session.Backend{Revision: req.protocolVersion})
	return true
}

// headItem is what the headers name, where its server has the same name for it.
func (x *exchange) headItem(name string) (it *catalog.Item, header, key string) {
	switch x.req.mcpMethod {
	case "tools/call":
		it, header, key = x.view.Find(catalog.Tool, name), wire.HeaderTool, wire.KeyTool
	case "prompts/get":
		it, header, key = x.view.Find(catalog.Prompt, name), wire.HeaderPrompt, wire.KeyPrompt
	case "resources/read":
		it, header, key = x.view.FindResource(name), wire.HeaderResource, wire.KeyResource
		if it == nil || len(name) > maxURI || it.Kind != catalog.Resource || it.Server.OwnURI(name) != name {
			return nil, "", ""
		}
		return it, header, key
	}
	if it == nil || it.Name != name {
		return nil, "", ""
	}
	return it, header, key
}
