package broker

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about callers that may have more tools than a model should be shown. They get two tools of the gateway's own in place of the list: one to search
// for tools, and one to call what was found, for clients that call nothing that is not in their list. The router makes the call of the very tool of the latter.

const (
	defaultFound  = 10
	mostFound     = 50
	maxQuery      = 1 << 10  // bytes
	maxFoundBytes = 64 << 10 // of definitions in one answer, unless it is a single one
	maxNamed      = 50       // servers in the description
)

// tooMany tells whether the caller may have more tools at an endpoint than are listed, and of which servers, in the order of the tools' names.
func (b *Broker) tooMany(view *catalog.View, access Access) (servers []string, many bool) {
	if b.opts.ToolSearchThreshold <= 0 || view.Len(catalog.Tool) <= b.opts.ToolSearchThreshold {
		return nil, false
	}
	count, known := 0, map[*catalog.Server]bool{}
	for it := range view.After(catalog.Tool, "") {
		if !access.Allows(requestOf(it)) {
			continue
		}
		count++
		if !known[it.Server] {
			known[it.Server] = true
			servers = append(servers, it.Server.Name)
		}
	}
	return servers, count > b.opts.ToolSearchThreshold
}

type object map[string]any

// metaTools are the definitions of the gateway's own tools, joined by a comma.
func metaTools(servers []string) []byte {
	more := ""
	if len(servers) > maxNamed {
		servers, more = servers[:maxNamed], " and others"
	}
	call, _ := json.Marshal(object{ // nothing here cannot be written
		"name": wire.ToolCall, "title": "Call a tool",
		"description": "Calls a tool that " + wire.ToolSearch + " has found. The result is that of the tool.",
		"inputSchema": object{"type": "object", "required": []string{"name", "arguments"}, "properties": object{
			"name":      object{"type": "string", "description": "The tool's name, as it was found."},
			"arguments": object{"type": "object", "description": "The tool's arguments, as its inputSchema wants them."},
		}},
	})
	search, _ := json.Marshal(object{
		"name": wire.ToolSearch, "title": "Search for tools",
		"description": "There are more tools than are listed. Finds those that fit what is to be done, with their input schemas. Call what is found by its name or, " +
			"if only listed tools can be called, with " + wire.ToolCall + ". The tools are of these servers: " + strings.Join(servers, ", ") + more + ".",
		"inputSchema": object{"type": "object", "required": []string{"query"}, "properties": object{
			"query":  object{"type": "string", "description": "A few words that tell what the tool does. With an empty text all tools are found, in the order of their names."},
			"server": object{"type": "string", "description": "The name of the one server whose tools are to be found."},
			"limit":  object{"type": "integer", "minimum": 1, "maximum": mostFound, "default": defaultFound, "description": "How many tools to find at most."},
		}},
		"annotations": object{"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
	})
	return append(append(call, ','), search...)
}

// callOwn answers a call of a tool that is the gateway's own.
func (b *Broker) callOwn(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access) {
	name, _ := jsonrpc.Unquote(m.Param("name").Of(m.Body))
	if b.opts.ToolSearchThreshold <= 0 || name != wire.ToolSearch {
		b.fail(w, badParams(m, "unknown tool; tools/list gives those on offer"))
		return
	}
	b.see(w, r, m.ID.Of(m.Body), func(view *catalog.View) {
		q, problem := searchOf(m)
		var result []byte
		if problem != "" {
			result, _ = json.Marshal(object{"content": []object{{"type": "text", "text": problem}}, "isError": true})
		} else {
			found := search(view, access, q)
			result = append([]byte(`{"content":[{"type":"text","text":`), jsonrpc.AppendQuote(nil, string(found))...)
			result = append(append(append(result, `}],"structuredContent":`...), found...), '}')
		}
		if isModern(r) {
			result = append(append(result[:len(result)-1], `,"resultType":"complete","_meta":{"`+wire.MetaServerInfo+`":`...), b.identity(view)...)
			result = append(result, "}}"...)
		}
		b.result(w, m, result)
	})
}

type toolQuery struct {
	Query, Server string
	Limit         int
}

// searchOf reads what is looked for. What is wrong with it is for the model to read, which can do better.
func searchOf(m *jsonrpc.Message) (q toolQuery, problem string) {
	q.Limit = defaultFound
	for _, p := range []struct {
		name string
		to   any
		want string
	}{{"query", &q.Query, "a string"}, {"server", &q.Server, "a string"}, {"limit", &q.Limit, "an integer"}} {
		span, err := m.Lookup("arguments", p.name)
		if err != nil {
			return q, err.Error()
		}
		if span.Present() && json.Unmarshal(span.Of(m.Body), p.to) != nil {
			return q, p.name + " must be " + p.want
		}
	}
	switch {
	case len(q.Query) > maxQuery:
		return q, "query is too long; a few words will do"
	case q.Limit < 1:
		return q, "limit must be at least 1"
	}
	q.Limit = min(q.Limit, mostFound)
	return q, ""
}

// search is what was found of what the caller may have. What the caller may not have leaves no trace.
func search(view *catalog.View, access Access, q toolQuery) []byte {
	out, n, more := []byte(`{"tools":[`), 0, false
	for _, it := range view.Search(q.Query, q.Server) {
		if !access.Allows(requestOf(it)) {
			continue
		}
		tool := appendFound(nil, it)
		if more = n == q.Limit || n > 0 && len(out)+len(tool) > maxFoundBytes; more {
			break
		}
		if n > 0 {
			out = append(out, ',')
		}
		out, n = append(out, tool...), n+1
	}
	if more {
		return append(out, `],"more":true}`...)
	}
	return append(out, `],"more":false}`...)
}

// appendFound writes what a model needs to know of a tool, verbatim: icons and schemas of results are not for reading.
func appendFound(out []byte, it *catalog.Item) []byte {
	out = jsonrpc.AppendQuote(append(out, `{"name":`...), it.PublicName)
	out = jsonrpc.AppendQuote(append(out, `,"server":`...), it.Server.Name)
	for _, member := range []string{"title", "description", "inputSchema", "annotations"} {
		span, err := jsonrpc.Lookup(it.Definition, jsonrpc.Span{Start: 0, End: len(it.Definition)}, member)
		if err == nil && span.Present() {
			out = append(append(append(append(out, `,"`...), member...), `":`...), span.Of(it.Definition)...)
		}
	}
	return append(out, '}')
}
