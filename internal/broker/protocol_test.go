package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// TestOnlyRouters: nothing but what a router labelled is believed (Invariant 3), and no key is no key (Invariant 5).
func TestOnlyRouters(t *testing.T) {
	for name, tc := range map[string]struct{ configured, given string }{
		"no key":                      {routerKey, ""},
		"another key":                 {routerKey, "the router's kez"},
		"a part of the key":           {routerKey, routerKey[:5]},
		"the broker has none either":  {"", ""},
		"the broker has none at all":  {"", routerKey},
		"the key with something more": {routerKey, routerKey + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup{options: func(o *broker.Options) { o.RouterKey = tc.configured }}.start(t)
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
				a := f.do(request{method: method, body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`, header: http.Header{"X-Mcp-Router-Key": {tc.given}}})
				wantError(t, a, http.StatusForbidden, "", -32600, "router")
			}
			assert.Zero(t, f.sessions.Count())
		})
	}
}

func TestResourceMetadataIsPublic(t *testing.T) {
	f := start(t)
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"} {
		resp, err := f.client.Get(f.url + path)
		require.NoError(t, err)
		_ = resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode)
	}
	resp, err := f.client.Get(f.url + "/.well-known/oauth-protected-resourceful")
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
}

func TestInitialize(t *testing.T) {
	weather := server{"weather", newScript(), catalog.Listing{
		Sessions: true, Instructions: " Look out of the window. ",
		Capabilities: json.RawMessage(`{"tools":{},"resources":{"subscribe":true},"logging":{}}`),
	}}
	clock := server{"clock", newScript(), catalog.Listing{
		Sessions: true, Instructions: "Look at the wall.", Capabilities: json.RawMessage(`{"prompts":{},"completions":{}}`),
	}}
	instructions := `,"instructions":"# weather\n\nLook out of the window.\n\n# clock\n\nLook at the wall."`
	for name, tc := range map[string]struct {
		servers             []server
		requested, revision string
		capabilities        string
		instructions        string
	}{
		"no server": {nil, "2025-11-25", "2025-11-25", `{"tools":{"listChanged":true}}`, ""},
		"two servers": {
			[]server{weather, clock}, "2025-06-18", "2025-06-18", `{"tools":{"listChanged":true},"prompts":{"listChanged":true},` +
				`"resources":{"listChanged":true,"subscribe":true},"completions":{},"logging":{}}`, instructions,
		},
		"the oldest revision":  {nil, "2025-03-26", "2025-03-26", `{"tools":{"listChanged":true}}`, ""},
		"a revision of others": {nil, "2024-11-05", "2025-11-25", `{"tools":{"listChanged":true}}`, ""},
		"a stateless revision": {nil, "2026-07-28", "2025-11-25", `{"tools":{"listChanged":true}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, tc.servers...)
			a := f.do(request{body: `{"jsonrpc":"2.0","id":"i\u00e9","method":"initialize","params":{"protocolVersion":"` + tc.requested + `","capabilities":{}}}`})
			require.Equal(t, http.StatusOK, a.status)
			wantBytes(t, `{"jsonrpc":"2.0","id":"i\u00e9","result":{"protocolVersion":"`+tc.revision+`","capabilities":`+tc.capabilities+
				`,"serverInfo":{"name":"mcp-gateway","title":"MCP Gateway","version":"1.2.3"}`+tc.instructions+`}}`, a.body)
			s, err := f.sessions.Lookup(a.header.Get("Mcp-Session-Id"))
			require.NoError(t, err)
			assert.Equal(t, tc.revision, s.Revision())
		})
	}
}

func TestInitializeRefused(t *testing.T) {
	f := setup{session: session.Options{Max: 1}}.start(t)
	for _, params := range []string{``, `,"params":{}`, `,"params":{"protocolVersion":20251125}`, `,"params":{"protocolVersion":null}`} {
		a := f.do(request{body: `{"jsonrpc":"2.0","id":1,"method":"initialize"` + params + `}`})
		wantError(t, a, http.StatusOK, "1", -32602, "protocolVersion")
		assert.Empty(t, a.header.Get("Mcp-Session-Id"))
	}
	f.initialize()
	a := f.do(request{body: `{"jsonrpc":"2.0","id":` + hugeID + `,"method":"initialize","params":` + initParams + `}`})
	wantError(t, a, http.StatusServiceUnavailable, hugeID, -32603, "too many sessions")
}

// TestInitParams: a server gets the client's own params, byte for byte but for the revision (Invariant 1).
func TestInitParams(t *testing.T) {
	weather := newScript()
	f := start(t, scripted("weather", weather))
	a := f.do(request{body: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{ "x":9007199254740993, "protocolVersion" : "2099-01-01" ,"capabilities":{"roots":{},"new":1.10},"clientInfo":{"name":"\u00e9"}}}`})
	require.Equal(t, http.StatusOK, a.status)
	f.do(callOf(a.header.Get("Mcp-Session-Id"), "weather", "1", "t"))
	opened := weather.requests("initialize")
	require.Len(t, opened, 1)
	assert.Contains(t, opened[0].body, `"params":{ "x":9007199254740993, "protocolVersion" : "2025-11-25" ,"capabilities":{"roots":{},"new":1.10},"clientInfo":{"name":"\u00e9"}}}`)
	assert.Empty(t, opened[0].header.Get("Authorization"))
}

func TestOwnMethods(t *testing.T) {
	f := start(t)
	token := f.initialize()
	for name, tc := range map[string]struct {
		body, want string
	}{
		"ping":                   {`{"jsonrpc":"2.0","id":` + hugeID + `,"method":"ping"}`, `{"jsonrpc":"2.0","id":` + hugeID + `,"result":{}}`},
		"empty tools/list":       {`{"jsonrpc":"2.0","id":"a","method":"tools/list"}`, `{"jsonrpc":"2.0","id":"a","result":{"tools":[]}}`},
		"empty prompts/list":     {`{"jsonrpc":"2.0","id":"a","method":"prompts/list"}`, `{"jsonrpc":"2.0","id":"a","result":{"prompts":[]}}`},
		"empty resources/list":   {`{"jsonrpc":"2.0","id":"a","method":"resources/list"}`, `{"jsonrpc":"2.0","id":"a","result":{"resources":[]}}`},
		"empty list of patterns": {`{"jsonrpc":"2.0","id":"a","method":"resources/templates/list"}`, `{"jsonrpc":"2.0","id":"a","result":{"resourceTemplates":[]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.do(request{session: token, body: tc.body})
			assert.Equal(t, http.StatusOK, a.status)
			assert.Equal(t, "application/json", a.header.Get("Content-Type"))
			assert.Equal(t, tc.want, a.body)
		})
	}
}

func TestBadRequests(t *testing.T) {
	f := setup{options: func(o *broker.Options) { o.MaxBody = 1000 }}.start(t)
	token := f.initialize()
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for name, tc := range map[string]struct {
		request request
		status  int
		id      string
		code    int
	}{
		"not JSON":            {request{session: token, body: `{`}, 400, "", -32700},
		"a batch":             {request{session: token, body: `[` + ping + `]`}, 400, "", -32600},
		"too large":           {request{session: token, body: strings.Repeat(" ", 1001)}, 413, "", 413},
		"unknown method":      {request{session: token, body: `{"jsonrpc":"2.0","id":"x","method":"tools/sing"}`}, 200, `"x"`, -32601},
		"a response":          {request{session: token, body: `{"jsonrpc":"2.0","id":1,"result":{}}`}, 400, "", -32600},
		"no session":          {request{body: ping}, 404, "1", -32600},
		"a forged session":    {request{session: token[:len(token)-1] + "~", body: ping}, 404, "1", -32600},
		"GET, no session":     {request{method: http.MethodGet}, 404, "", -32600},
		"DELETE, no session":  {request{method: http.MethodDelete, session: "x"}, 404, "", -32600},
		"PUT":                 {request{method: http.MethodPut, session: token, body: ping}, 405, "", -32600},
		"an unknown server":   {callOf(token, "nobody", hugeID, "t"), 503, hugeID, -32603},
		"a bad level":         {request{session: token, body: `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"loud"}}`}, 200, "1", -32602},
		"a level of no words": {request{session: token, body: `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel"}`}, 200, "1", -32602},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, f.do(tc.request), tc.status, tc.id, tc.code, "")
		})
	}
	assert.Equal(t, http.StatusAccepted, f.do(request{session: token, body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`}).status)
}

// TestLists: every item comes once, in one order and as its server wrote it (Invariants 1 and 9).
func TestLists(t *testing.T) {
	var tools []json.RawMessage
	var want []string
	for i := range 7 {
		tools = append(tools, json.RawMessage(fmt.Sprintf(`{ "name":"t%d","x":9007199254740993,"y":1.10}`, i)))
		want = append(want, string(tools[i]))
	}
	srv := server{name: "weather", handler: newScript(), listing: catalog.Listing{Capabilities: json.RawMessage(`{"tools":{}}`)}}
	srv.listing.Items[catalog.Tool] = tools
	srv.listing.Items[catalog.Prompt] = []json.RawMessage{[]byte(`{"name":"a"}`), []byte(`{"name":"b"}`), []byte(`{"name":"c"}`), []byte(`{"name":"d"}`)}
	f := setup{servers: []server{srv}, options: func(o *broker.Options) { o.PageSize = 3 }}.start(t)
	token := f.initialize()
	list := func(method, cursor string) answer {
		params := ""
		if cursor != "" {
			params = `,"params":{"cursor":` + cursor + `}`
		}
		return f.do(request{session: token, body: `{"jsonrpc":"2.0","id":` + hugeID + `,"method":"` + method + `"` + params + `}`})
	}
	var got, cursors []string
	for cursor := ""; ; {
		a := list("tools/list", cursor)
		var page struct {
			ID     json.RawMessage
			Result struct {
				Tools      []json.RawMessage
				NextCursor string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(a.body), &page), a.body)
		assert.Equal(t, hugeID, string(page.ID))
		for _, tool := range page.Result.Tools {
			got = append(got, string(tool))
		}
		if page.Result.NextCursor == "" {
			break
		}
		cursor = `"` + page.Result.NextCursor + `"`
		cursors = append(cursors, cursor)
	}
	assert.Equal(t, want, got)
	require.Len(t, cursors, 2)
	other := start(t, srv)
	changed := []byte(cursors[0])
	changed[8] = map[bool]byte{true: 'B', false: 'A'}[changed[8] == 'A']
	for name, cursor := range map[string]string{
		"empty": `""`, "no text": `7`, "null": `null`, "made up": `"t3"`, "changed": string(changed), "cut": cursors[0][:10] + `"`,
	} {
		t.Run(name, func(t *testing.T) { wantError(t, list("tools/list", cursor), http.StatusOK, hugeID, -32602, "cursor") })
	}
	wantError(t, list("prompts/list", cursors[0]), http.StatusOK, hugeID, -32602, "cursor")
	wantError(t, other.do(request{session: other.initialize(), body: `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":` + cursors[0] + `}}`}),
		http.StatusOK, "1", -32602, "cursor")
}

// TestSetLevel: the level reaches the servers that are open and those that open later, and only those that log.
func TestSetLevel(t *testing.T) {
	early, late, mute := newScript(), newScript(), newScript()
	silent := scripted("mute", mute)
	silent.listing.Capabilities = json.RawMessage(`{"tools":{}}`)
	f := start(t, scripted("early", early), scripted("late", late), silent)
	token := f.initialize()
	f.do(callOf(token, "early", "1", "t"))
	f.do(callOf(token, "mute", "2", "t"))
	params := `{"level":"warning","_meta":{"n":9007199254740993}}`
	a := f.do(request{session: token, body: `{"jsonrpc":"2.0","id":3,"method":"logging/setLevel","params":` + params + `}`})
	wantBytes(t, `{"jsonrpc":"2.0","id":3,"result":{}}`, a.body)
	f.do(callOf(token, "late", "4", "t"))
	for _, s := range []*script{early, late} {
		got := s.requests("logging/setLevel")
		require.Len(t, got, 1)
		assert.Contains(t, got[0].body, `"params":`+params)
		assert.Equal(t, "s-1", got[0].session)
	}
	assert.Empty(t, mute.requests("logging/setLevel"))
}

// TestRootsChanged: what concerns all servers is told to all that are open.
func TestRootsChanged(t *testing.T) {
	one, two, closed := newScript(), newScript(), newScript()
	f := start(t, scripted("one", one), scripted("two", two), scripted("closed", closed))
	token := f.initialize()
	f.do(callOf(token, "one", "1", "t"))
	f.do(callOf(token, "two", "2", "t"))
	a := f.do(request{session: token, body: `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`})
	assert.Equal(t, http.StatusAccepted, a.status)
	one.await(t, "notifications/roots/list_changed", 1)
	two.await(t, "notifications/roots/list_changed", 1)
	assert.Empty(t, closed.requests("initialize"))
}
