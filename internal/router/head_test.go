package router

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// headWorld has servers of 2026-07-28 that compare headers with bodies, but for one.
func headWorld(o Options) *Router {
	listing := func(more string, compares ...string) *catalog.Listing {
		l := &catalog.Listing{Modern: wire.Revision20260728, Compares: compares, Capabilities: json.RawMessage(`{"tools":{},"prompts":{},"resources":{}` + more + `}`)}
		return l
	}
	all := []string{"tools/call", "prompts/get", "resources/read"}
	plain := listing("", all...)
	plain.Items = [4][]json.RawMessage{
		{
			json.RawMessage(`{"name":"look"}`), json.RawMessage(`{"name":"größe"}`),
			json.RawMessage(`{"name":"ask","inputSchema":{"type":"object","properties":{"city":{"type":"string","x-mcp-header":"City"}}}}`),
		},
		{json.RawMessage(`{"name":"brief"}`)},
		{json.RawMessage(`{"uri":"plain://today","name":"today"}`)},
		{json.RawMessage(`{"uriTemplate":"plain://day/{day}","name":"day"}`)},
	}
	careless, prefixed := listing(""), listing("", all...)
	careless.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"trust"}`)}
	prefixed.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"look"}`)}
	tasks := listing(`,"extensions":{"io.modelcontextprotocol/tasks":{}}`, all...)
	tasks.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"long"}`)}
	in := catalog.Input{States: map[string]catalog.State{}}
	for name, l := range map[string]*catalog.Listing{"plain": plain, "careless": careless, "prefixed": prefixed, "tasks": tasks} {
		s := config.Server{Name: name, Scheme: "http", Host: "10.0.0.1", Port: 80, Path: "/mcp", Hostname: name, Enabled: true}
		if name == "prefixed" {
			s.ToolPrefix = "p_"
		}
		in.Servers = append(in.Servers, s)
		in.States[name] = catalog.State{Health: catalog.HealthReady, Listing: l}
	}
	snap := catalog.Build(in)
	o.MaxBody, o.BrokerKey, o.HeadersSuffice = testMaxBody, testBrokerKey, true
	return New(o, nil, func() *catalog.Snapshot { return snap })
}

// TestHeadAgrees: a call that is decided by its head alone is decided as by its body, but for the id. What the body could change is not.
func TestHeadAgrees(t *testing.T) {
	r := headWorld(Options{TokenHeader: wire.HeaderToken, ToolSearch: true})
	for name, tt := range map[string]struct {
		method, member, name string
		more                 []string
		head                 bool
	}{
		"tool":                     {method: "tools/call", member: "name", name: "look", head: true},
		"name that is encoded":     {method: "tools/call", member: "name", name: "größe", head: true},
		"prompt":                   {method: "prompts/get", member: "name", name: "brief", head: true},
		"resource":                 {method: "resources/read", member: "uri", name: "plain://today", head: true},
		"token":                    {method: "tools/call", member: "name", name: "look", more: []string{"authorization", "Bearer a.b.c"}, head: true},
		"unknown parameter":        {method: "tools/call", member: "name", name: "look", more: []string{"mcp-param-x", "1"}, head: true},
		"last event":               {method: "tools/call", member: "name", name: "look", more: []string{"last-event-id", "1"}, head: true},
		"forged":                   {method: "tools/call", member: "name", name: "look", more: []string{"x-mcp-cluster", "other", "x-mcp-toolname", "other"}, head: true},
		"resource of a template":   {method: "resources/read", member: "uri", name: "plain://day/1"},
		"parameters":               {method: "tools/call", member: "name", name: "ask", more: []string{"mcp-param-city", "Oslo"}},
		"server that compares not": {method: "tools/call", member: "name", name: "trust"},
		"prefix":                   {method: "tools/call", member: "name", name: "p_look"},
		"tasks":                    {method: "tools/call", member: "name", name: "long"},
		"tool of the gateway":      {method: "tools/call", member: "name", name: wire.ToolSearch},
		"list":                     {method: "tools/list", member: "name", name: "look"},
		"unknown tool":             {method: "tools/call", member: "name", name: "none"},
		"older revision":           {method: "tools/call", member: "name", name: "look", more: []string{wire.HeaderProtocolVersion, wire.LatestSession}},
		"method twice":             {method: "tools/call", member: "name", name: "look", more: []string{wire.HeaderMCPMethod, "tools/call"}},
		"another origin":           {method: "tools/call", member: "name", name: "look", more: []string{"origin", "https://evil.example"}},
		"unknown virtual server":   {method: "tools/call", member: "name", name: "look", more: []string{wire.HeaderVirtualServer, "none"}},
		"compressed":               {method: "tools/call", member: "name", name: "look", more: []string{"content-encoding", "gzip"}},
	} {
		t.Run(name, func(t *testing.T) {
			req := stateless(new(Request), tt.method, headerValue(tt.name))
			for i := 0; i < len(tt.more); i += 2 {
				req.Add(tt.more[i], tt.more[i+1])
			}
			head := new(Decision)
			require.Equal(t, tt.head, r.RouteHead(req, head))
			if !tt.head {
				assert.Equal(t, new(Decision), normal(head), "nothing has been decided")
				return
			}
			whole := new(Decision)
			r.Route(req, []byte(`{"jsonrpc":"2.0","id":7,"method":`+strconv.Quote(tt.method)+`,"params":{`+requestMeta+`,"`+tt.member+`":`+strconv.Quote(tt.name)+`}}`), whole)
			require.Nil(t, whole.Reply)
			assert.Nil(t, whole.Body)
			require.Equal(t, Header{wire.KeyID, "7"}, whole.Metadata[0])
			whole.Metadata = whole.Metadata[1:]
			assert.Equal(t, normal(whole), normal(head))
		})
	}
}

// normal is a decision without the order in which headers are set, which means nothing.
func normal(d *Decision) *Decision {
	sorted := func(hs []Header) []Header {
		return slices.SortedFunc(slices.Values(hs), func(a, b Header) int { return cmp.Compare(a.Name, b.Name) })
	}
	n := &Decision{Reply: d.Reply, Body: d.Body, Watch: d.Watch, Track: d.Track}
	if len(d.Set) > 0 {
		n.Set = sorted(d.Set)
	}
	if len(d.Metadata) > 0 {
		n.Metadata = sorted(d.Metadata)
	}
	if len(d.Remove) > 0 {
		n.Remove = append(n.Remove, d.Remove...)
	}
	return n
}

// TestHeadNeeds: nothing is decided by a head that does not tell how long the body is, or that says too much, or where traces read the body.
func TestHeadNeeds(t *testing.T) {
	r := headWorld(Options{})
	req := new(Request)
	for name, change := range map[string]func(){
		"no length": func() { req.contentLength, req.seen = -1, req.seen&^seenLength },
		"too large": func() { req.contentLength = testMaxBody + 1 },
		"GET":       func() { req.Method = "GET" },
		"no name":   func() { req.seen &^= seenMCPName },
		"no JSON":   func() { req.contentType = "text/plain" },
		"elsewhere": func() { req.Path = "/other" },
		"bad name":  func() { req.mcpName = "=?base64?***?=" },
		"no stream": func() { req.accept = "application/json" },
	} {
		stateless(req, "tools/call", "look")
		require.True(t, r.RouteHead(req, new(Decision)))
		change()
		assert.False(t, r.RouteHead(req, new(Decision)), name)
	}
	stateless(req, "tools/call", "look")
	traced := headWorld(Options{Traces: tracecontext.Sampling{On: true}})
	assert.False(t, traced.RouteHead(req, new(Decision)))
}

// FuzzHead: whatever the headers are, what is decided by them alone is what is decided by a body that they repeat.
func FuzzHead(f *testing.F) {
	f.Add("tools/call", "look", "accept", "*/*")
	f.Add("tools/call", "=?base64?Z3LDtsOfZQ==?=", "x-mcp-toolname", "other")
	f.Add("prompts/get", " brief ", "mcp-param-a", "1")
	f.Add("resources/read", "plain://today", "last-event-id", "7")
	f.Add("resources/read", "plain://day/1", "authorization", "Bearer a, Bearer b")
	r := headWorld(Options{TokenHeader: wire.HeaderToken})
	f.Fuzz(func(t *testing.T, method, name, more, value string) {
		req := stateless(new(Request), method, name)
		req.Add(more, value)
		head := new(Decision)
		if !r.RouteHead(req, head) {
			assert.Equal(t, new(Decision), normal(head), "nothing has been decided")
			return
		}
		text, ok := decodeValue(req.mcpName)
		require.True(t, ok)
		member := "name"
		if req.mcpMethod == "resources/read" {
			member = "uri"
		}
		body := append([]byte(`{"jsonrpc":"2.0","id":7,"method":`), jsonrpc.AppendQuote(nil, req.mcpMethod)...)
		body = append(append(body, `,"params":{`+requestMeta+`,"`+member+`":`...), jsonrpc.AppendQuote(nil, text)...)
		whole := new(Decision)
		r.Route(req, append(body, "}}"...), whole)
		require.Nil(t, whole.Reply)
		require.Nil(t, whole.Body)
		whole.Metadata = whole.Metadata[1:] // the id
		assert.Equal(t, normal(whole), normal(head))
	})
}
