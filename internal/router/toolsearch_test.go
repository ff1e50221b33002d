package router

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// searching is a router that has the gateway's own tools.
func searching(t *testing.T) (*world, *Router) {
	t.Helper()
	w := newWorld(t)
	return w, New(Options{BrokerKey: testBrokerKey, ToolSearch: true}, w.sessions, func() *catalog.Snapshot { return w.snap })
}

func call(params string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":` + params + `}`)
}

func facts(d *Decision) map[string]string {
	out := map[string]string{}
	for _, h := range d.Metadata {
		out[h.Name] = h.Value
	}
	return out
}

// TestACallOfAnotherToolIsThatToolsCall proves that nobody gets round a policy by the tool that calls others: what is decided, told to policies and sent is the same,
// to the last byte, as without it.
func TestACallOfAnotherToolIsThatToolsCall(t *testing.T) {
	w, r := searching(t)
	for name, c := range map[string]struct{ wrapped, plain string }{
		"with a session at its server":    {`{"arguments":{"name":"weather_alert","arguments":{"n":9007199254740993,"x":[ 1 ]}},"name":"call_tool"}`, `{"arguments":{"n":9007199254740993,"x":[ 1 ]},"name":"weather_alert"}`},
		"of a server without sessions":    {`{"name":"call_tool","arguments":{"arguments":{"a":1},"name":"add"},"_meta":{"progressToken":1}}`, `{"name":"add","arguments":{"a":1},"_meta":{"progressToken":1}}`},
		"of a server of another revision": {`{"name":"call_tool","arguments":{"name":"era_look","arguments":{}}}`, `{"name":"era_look","arguments":{}}`},
		"without arguments":               {`{"name":"call_tool","arguments":{"name":"add"}}`, `{"name":"add","arguments":{}}`},
		"of a name with escapes":          {`{"name":"call_tool","arguments":{"name":"weather_gr\u00f6\u00dfe","reason":"none","arguments":{}}}`, `{"name":"weather_gr\u00f6\u00dfe","arguments":{}}`},
		"of an unknown tool":              {`{"name":"call_tool","arguments":{"name":"nothing","arguments":{}}}`, `{"name":"nothing","arguments":{}}`},
		"of one that cannot be reached":   {`{"name":"call_tool","arguments":{"name":"unreachable","arguments":{}}}`, `{"name":"unreachable","arguments":{}}`},
	} {
		want, got := new(Decision), new(Decision)
		r.Route(post(w.open.Token()), call(c.plain), want)
		r.Route(post(w.open.Token()), call(c.wrapped), got)
		if want.Body == nil && want.Reply == nil {
			want.Body = call(c.plain)
		}
		if want.Reply != nil {
			assert.Equal(t, string(want.Reply.Body), string(got.Reply.Body), name)
			continue
		}
		require.Nil(t, got.Reply, name)
		assert.Equal(t, string(want.Body), string(got.Body), name)
		assert.Equal(t, want.Set, got.Set, name)
		assert.Equal(t, want.Metadata, got.Metadata, name)
		assert.ElementsMatch(t, want.Remove, got.Remove, name)
		assert.Equal(t, want.Watch == nil, got.Watch == nil, name)
		if got.Watch != nil {
			assert.Equal(t, string(got.Body), string(got.Watch.Body), "what is made again is the tool's call")
		}
	}
}

// TestACallOfAnotherToolHasItsHeaders: a client that does not know a tool's schema cannot repeat its arguments, and cannot lie about them either.
func TestACallOfAnotherToolHasItsHeaders(t *testing.T) {
	_, r := searching(t)
	req := stateless(new(Request), "tools/call", "call_tool")
	req.Add("mcp-param-region", "lie")
	req.Add("mcp-param-other", "lie")
	d := new(Decision)
	r.Route(req, call(`{"name":"call_tool","arguments":{"name":"era_look","arguments":{"region":"Zürich","limit":{"rows":4.2e1}}},`+requestMeta+`}`), d)
	require.Nil(t, d.Reply)
	got := labels(d)
	assert.Equal(t, "look", got[wire.HeaderMCPName])
	assert.Equal(t, "=?base64?WsO8cmljaA==?=", got["mcp-param-region"])
	assert.Equal(t, "42", got["mcp-param-rows"])
	assert.NotContains(t, got, "mcp-param-all")
	assert.NotContains(t, got, "mcp-param-other")
	assert.Equal(t, string(call(`{"name":"look","arguments":{"region":"Zürich","limit":{"rows":4.2e1}},`+requestMeta+`}`)), string(d.Body))

	d = new(Decision)
	r.Route(stateless(new(Request), "tools/call", "era_look"), call(`{"name":"call_tool","arguments":{"name":"era_look"},`+requestMeta+`}`), d)
	require.NotNil(t, d.Reply)
	assert.Equal(t, http.StatusBadRequest, d.Reply.Status, "Mcp-Name repeats the name in the body as it came")
}

func TestSearchesAreListsToPolicies(t *testing.T) {
	w, r := searching(t)
	for name, req := range map[string]*Request{"session": post(w.open.Token()), "stateless": stateless(new(Request), "tools/call", "search_tools")} {
		d := new(Decision)
		r.Route(req, call(`{"name":"search_tools","arguments":{"query":"x"},`+requestMeta+`}`), d)
		if name == "session" { // _meta tells of another revision
			d = new(Decision)
			r.Route(req, call(`{"name":"search_tools","arguments":{"query":"x"}}`), d)
		}
		require.Nil(t, d.Reply, name)
		assert.Equal(t, wire.BrokerServer, facts(d)[wire.KeyServer], name)
		assert.Equal(t, "tools/list", facts(d)[wire.KeyMethod], name)
		assert.Equal(t, "tools/list", labels(d)[wire.HeaderMethod], name)
		assert.NotContains(t, facts(d), wire.KeyTool, name)
		assert.Equal(t, wire.BrokerCluster, labels(d)[wire.HeaderCluster], name)
		assert.Nil(t, d.Body, name)
	}
}

func TestOwnToolsThatCannotBeCalled(t *testing.T) {
	w, r := searching(t)
	for params, words := range map[string]string{
		`{"name":"call_tool"}`:                                                                      "params.arguments.name",
		`{"name":"call_tool","arguments":[]}`:                                                       "params.arguments.name",
		`{"name":"call_tool","arguments":{"name":7}}`:                                               "params.arguments.name",
		`{"name":"call_tool","arguments":{"name":"add","arguments":"{}"}}`:                          "must be an object",
		`{"name":"call_tool","arguments":{"name":"add","name":"weather_alert"}}`:                    "twice",
		`{"name":"call_tool","arguments":{"name":"add","Name":"weather_alert"}}`:                    "case",
		`{"name":"call_tool","arguments":{"name":"add","arguments":{},"arguments":{"a":1}}}`:        "twice",
		`{"name":"call_tool","arguments":{"name":"call_tool","arguments":{"name":"add"}}}`:          "unknown tool",
		`{"name":"call_tool","arguments":{"name":"search_tools","arguments":{"query":"x"}}}`:        "unknown tool",
		`{"name":"call_tool","arguments":{"name":"","arguments":{}}}`:                               "unknown tool",
		`{"name":"call_tool","arguments":{"name":"weather_get_forecast\ud800","arguments":{"":1}}}`: "",
	} {
		d := new(Decision)
		r.Route(post(w.open.Token()), call(params), d)
		require.NotNil(t, d.Reply, params)
		assert.Contains(t, string(d.Reply.Body), words, params)
		assert.NotContains(t, facts(d), wire.KeyTool, params)
	}
	// At a virtual server, what it has not cannot be called by another name either (Invariant 5).
	d := new(Decision)
	req := post(w.forecasts.Token())
	req.Add(wire.HeaderVirtualServer, "forecasts")
	r.Route(req, call(`{"name":"call_tool","arguments":{"name":"weather_alert","arguments":{}}}`), d)
	require.NotNil(t, d.Reply)
	assert.Contains(t, string(d.Reply.Body), "unknown tool")
	// Where the gateway has no tools itself, they are nobody's.
	for _, name := range []string{"call_tool", "search_tools"} {
		d := new(Decision)
		w.router.Route(post(w.open.Token()), call(`{"name":"`+name+`","arguments":{"name":"add","arguments":{}}}`), d)
		require.NotNil(t, d.Reply)
		assert.Contains(t, string(d.Reply.Body), "unknown tool")
	}
}
