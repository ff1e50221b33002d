package router

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about the gateway's own tools, by which clients find and call those of servers that their lists do not show. Policies never hear of them: a search is
// to them the list that it answers in place of, and a call is the call of the very tool.

// ownTool tells whether a tool is the gateway's own. Such a call cannot be the argument of another.
func (x *exchange) ownTool(name string) bool {
	return x.search && !x.unwrapped && (name == wire.ToolSearch || name == wire.ToolCall)
}

func (x *exchange) own(name string) *jsonrpc.Error {
	if name == wire.ToolCall {
		return x.unwrap()
	}
	x.searchTools()
	return nil
}

// searchTools leaves a search to the broker.
func (x *exchange) searchTools() {
	const list = "tools/list"
	for _, h := range [][]Header{x.d.Set, x.d.Metadata} {
		for i := range h {
			if h[i].Name == wire.HeaderMethod || h[i].Name == wire.KeyMethod {
				h[i].Value = list
			}
		}
	}
	x.broker()
}

// unwrap makes the call of a tool of the call of wire.ToolCall that names it, before anything else is decided. All other parameters stay as they are.
func (x *exchange) unwrap() *jsonrpc.Error {
	tool, err := x.m.Lookup("arguments", "name")
	if err != nil {
		return x.ambiguous(err)
	}
	arguments, err := x.m.Lookup("arguments", "arguments")
	if err != nil {
		return x.ambiguous(err)
	}
	if raw := tool.Of(x.m.Body); len(raw) == 0 || raw[0] != '"' {
		return badParams(x.id, "params.arguments.name must be the name of a tool")
	}
	given := arguments.Of(x.m.Body)
	switch {
	case len(given) == 0:
		given = []byte("{}")
	case given[0] != '{':
		return badParams(x.id, "params.arguments.arguments must be an object")
	}
	body, err := jsonrpc.Splice(x.m.Body,
		jsonrpc.Edit{Span: x.m.Param("name"), New: tool.Of(x.m.Body)}, jsonrpc.Edit{Span: x.m.Param("arguments"), New: given})
	if err != nil {
		return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusInternalServerError, ID: x.id, Message: err.Error()}
	}
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	if fault != nil {
		return fault
	}
	x.m, x.d.Body, x.unwrapped = m, body, true
	return x.named(catalog.Tool, wire.HeaderTool, wire.KeyTool)
}

// repeatParams sets the headers that repeat arguments of a tool, which a client that does not know its schema could not. Headers of the client's own say nothing of
// these arguments.
func (x *exchange) repeatParams(params []catalog.Param) {
	x.req.params = x.req.params[:0]
	for i := range params {
		span, err := x.m.Lookup(params[i].Path...)
		if err != nil {
			continue // what is there twice is the server's to refuse
		}
		if value, ok := headerText(span.Of(x.m.Body)); ok && !slices.ContainsFunc(x.req.params, func(h Header) bool { return h.Name == params[i].Header }) {
			x.req.params = append(x.req.params, Header{params[i].Header, headerValue(value)})
		}
	}
}

// headerText is a string, an integer or a boolean as a header repeats it.
func headerText(raw []byte) (string, bool) {
	if !given(raw) {
		return "", false
	}
	if raw[0] == '"' {
		text, err := jsonrpc.Unquote(raw)
		return text, err == nil
	}
	text := string(raw)
	if raw[0] == 't' || raw[0] == 'f' || !strings.ContainsAny(text, ".eE") {
		return text, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return "", false
	}
	return strconv.FormatInt(int64(f), 10), true
}
