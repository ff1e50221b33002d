package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// What calls name that are made to see whether a server compares headers with bodies. Nothing is called so.
const (
	probeName  = "mcp-gateway-probe:a"
	otherProbe = "mcp-gateway-probe:b"
)

// named is a method that names what it uses in a header.
type named struct {
	kind           catalog.Kind
	method, member string
}

func allNamed() []named {
	return []named{{catalog.Tool, "tools/call", "name"}, {catalog.Prompt, "prompts/get", "name"}, {catalog.Resource, "resources/read", "uri"}}
}

// compares finds out of which methods a server compares the headers that repeat the body with it, as each has to (MCP 2026-07-28, Streamable HTTP,
// "Server Validation"): only of those may a call be judged before its body has come. What is asked for is nowhere, so that a server which
// compares nothing does nothing.
func (w *worker) compares(ctx context.Context, s Session, lists kindSet) []string {
	if !w.opts.CompareHeaders {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, min(probeTimeout, w.opts.DiscoveryTimeout))
	defer cancel()
	var out []string
	for _, n := range allNamed() {
		if !lists.has(n.kind) {
			continue
		}
		params := json.RawMessage(`{"` + n.member + `":"` + probeName + `"}`)
		if w.ep.mismatched(asking, s, n.method, n.method, otherProbe, params) && w.ep.mismatched(asking, s, n.method, methodDiscover, probeName, params) {
			out = append(out, n.method)
		}
	}
	return out
}

// mismatched tells whether a server refuses a request for headers that say something else than its body.
func (e *Endpoint) mismatched(ctx context.Context, s Session, method, headerMethod, headerName string, params json.RawMessage) bool {
	x := e.exchange(s, method)
	x.extra = http.Header{wire.HeaderMCPMethod: {headerMethod}, wire.HeaderMCPName: {headerName}}
	err := x.do(ctx, params)
	rpc, status := (*jsonrpc.Error)(nil), (*StatusError)(nil)
	return errors.As(err, &rpc) && rpc.Code == jsonrpc.CodeHeaderMismatch || errors.As(err, &status) && status.Code == jsonrpc.CodeHeaderMismatch
}
