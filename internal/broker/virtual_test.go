package broker_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// of makes the request one to a virtual server, as the router labels it.
func (r request) of(virtualServer string) request {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("X-Mcp-Virtualserver", virtualServer)
	return r
}

// virtual is a broker with two servers and a few virtual servers.
func virtual(s setup) setup {
	s.servers = []server{
		offering("a", newScript(), "Use a with care.", "x1", "x2", "x3"), offering("b", newScript(), "Use b often.", "y1"),
	}
	s.virtual = []config.VirtualServer{
		{Name: "exes", Description: "Only x.", Tools: []string{"x1", "x3"}},
		{Name: "team/b", Servers: []string{"b"}},
	}
	return s
}

func initializeRequest(revision string) request {
	return request{body: `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + revision + `","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`}
}

func (f *fixture) initializeAt(virtualServer string) string {
	f.t.Helper()
	a := f.do(initializeRequest(wire.LatestSession).of(virtualServer))
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	return a.header.Get("Mcp-Session-Id")
}

func TestVirtualServersIntroduceThemselves(t *testing.T) {
	f := virtual(setup{}).start(t)
	for _, tt := range []struct{ name, revision, info, instructions string }{
		{"", wire.LatestSession, `{"name":"mcp-gateway","title":"MCP Gateway","version":"1.2.3"}`, "# a\n\nUse a with care.\n\n# b\n\nUse b often."},
		{
			"exes", wire.LatestSession, `{"name":"exes","title":"MCP Gateway: exes","version":"1.2.3","description":"Only x."}`,
			"Only x.\n\n# a\n\nUse a with care.",
		},
		{"exes", wire.Revision20250618, `{"name":"exes","title":"MCP Gateway: exes","version":"1.2.3"}`, "Only x.\n\n# a\n\nUse a with care."},
		{"team/b", wire.LatestSession, `{"name":"team/b","title":"MCP Gateway: team/b","version":"1.2.3"}`, "# b\n\nUse b often."},
	} {
		var m struct {
			Result struct {
				ServerInfo   json.RawMessage
				Instructions string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(f.do(initializeRequest(tt.revision).of(tt.name)).body), &m))
		assert.Equal(t, tt.info, string(m.Result.ServerInfo))
		assert.Equal(t, tt.instructions, m.Result.Instructions)
	}
}

func TestVirtualServersList(t *testing.T) {
	who := callers{"ann": only("x2", "x3", "y1", "b-ask"), "admin": func(policy.Request) bool { return true }}
	s := virtual(setup{options: who.options})
	f := s.start(t)
	for _, tt := range []struct{ caller, at, method, want string }{
		{"admin", "exes", "tools/list", `{"tools":[{"name":"x1"},{"name":"x3"}]}`},
		{"ann", "exes", "tools/list", `{"tools":[{"name":"x3"}]}`},
		{"ann", "team/b", "tools/list", `{"tools":[{"name":"y1"}]}`},
		{"ann", "", "tools/list", `{"tools":[{"name":"x2"},{"name":"x3"},{"name":"y1"}]}`},
		{"admin", "exes", "prompts/list", `{"prompts":[]}`},
		{"admin", "team/b", "prompts/list", `{"prompts":[{"name":"b-ask"},{"name":"b-tell"}]}`},
		{"ann", "team/b", "prompts/list", `{"prompts":[{"name":"b-ask"}]}`},
		{"admin", "team/b", "resources/list", `{"resources":[{"uri":"file:///b/a"},{"uri":"file:///b/b"}]}`},
		{"admin", "team/b", "resources/templates/list", `{"resourceTemplates":[{"uriTemplate":"db://b/{x}"},{"uriTemplate":"log://b/{x}"}]}`},
	} {
		token := f.do(initializeRequest(wire.LatestSession).of(tt.at).by(tt.caller)).header.Get("Mcp-Session-Id")
		a := f.do(ask(tt.method, "{}").in(token).of(tt.at).by(tt.caller))
		assert.Equal(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":`+tt.want+`}`, a.body, tt)
	}
	a := f.do(initializeRequest(wire.LatestSession).of("exes").by("somebody"))
	assert.Equal(t, `Bearer for="401exes"`, a.header.Get("WWW-Authenticate"), "the challenge is that of the virtual server")
	a = f.do(initializeRequest(wire.LatestSession).of("team/b").by("somebody"))
	assert.Equal(t, `Bearer for="401b"`, a.header.Get("WWW-Authenticate"))
}

// A cursor is of use only for the list that gave it (Invariant 9).
func TestVirtualServersHaveTheirOwnCursors(t *testing.T) {
	f := virtual(setup{options: func(o *broker.Options) { o.PageSize = 1 }}).start(t)
	here, all := f.initializeAt("exes"), f.initialize()
	page := func(a answer) (cursor string) {
		var m struct{ Result struct{ NextCursor string } }
		require.NoError(t, json.Unmarshal([]byte(a.body), &m))
		return m.Result.NextCursor
	}
	cursor, foreign := page(f.do(ask("tools/list", "{}").in(here).of("exes"))), page(f.do(ask("tools/list", "{}").in(all)))
	require.NotEmpty(t, cursor)
	a := f.do(ask("tools/list", `{"cursor":"`+cursor+`"}`).in(here).of("exes"))
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"tools":[{"name":"x3"}]}}`, a.body)
	wantError(t, f.do(ask("tools/list", `{"cursor":"`+foreign+`"}`).in(here).of("exes")), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "cursor")
	wantError(t, f.do(ask("tools/list", `{"cursor":"`+cursor+`"}`).in(all)), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "cursor")
}

// Invariant 5, also for what changed between the router's look and the broker's.
func TestVirtualServersThatAreNotThere(t *testing.T) {
	f := virtual(setup{}).start(t)
	here, all := f.initializeAt("exes"), f.initialize()
	wantError(t, f.do(initializeRequest(wire.LatestSession).of("gone")), http.StatusNotFound, "0", jsonrpc.CodeInvalidRequest, "no such virtual server")
	for _, r := range []request{ask("tools/list", "{}").in(all).of("exes"), ask("tools/list", "{}").in(here), ask("ping", "{}").in(here).of("team/b")} {
		wantError(t, f.do(r), http.StatusNotFound, hugeID, jsonrpc.CodeInvalidRequest, "unknown or expired session")
	}
	wantError(t, f.do(request{method: http.MethodDelete, session: here}), http.StatusNotFound, "", jsonrpc.CodeInvalidRequest, "unknown or expired session")
	f.virtual = nil
	f.rebuild() // and nobody has been told yet
	wantError(t, f.do(ask("tools/list", "{}").in(here).of("exes")), http.StatusNotFound, hugeID, jsonrpc.CodeInvalidRequest, "no such virtual server")
}

// TestVirtualServersChange: only those hear of a change who see it, and who sees nothing any more is sent away.
func TestVirtualServersChange(t *testing.T) {
	f := virtual(setup{}).start(t)
	tokens := map[string]string{"exes": f.initializeAt("exes"), "team/b": f.initializeAt("team/b"), "": f.initialize()}
	streams := map[string]*events{}
	for name, token := range tokens {
		streams[name] = f.stream(request{method: http.MethodGet, session: token, header: http.Header{"Accept": {"text/event-stream"}}}.of(name))
	}
	change := func(prepare func()) {
		prepare()
		f.broker.SnapshotChanged(f.rebuild())
	}
	told := func(name, list string) {
		t.Helper()
		assert.JSONEq(t, `{"jsonrpc":"2.0","method":"notifications/`+list+`/list_changed"}`, string(streams[name].next().Data), "at %q", name)
	}
	listing := func(server string, f func(*catalog.Listing), states map[string]catalog.State) {
		st := states[server]
		next := *st.Listing
		f(&next)
		st.Listing = &next
		states[server] = st
	}
	change(func() { f.virtual = []config.VirtualServer{{Name: "exes", Tools: []string{"x2"}}, f.virtual[1]} })
	told("exes", "tools")
	change(func() {
		listing("b", func(l *catalog.Listing) { l.Items[catalog.Prompt] = l.Items[catalog.Prompt][:1] }, f.states)
	})
	told("team/b", "prompts")
	told("", "prompts")
	change(func() {
		listing("a", func(l *catalog.Listing) { l.Items[catalog.Tool] = l.Items[catalog.Tool][1:] }, f.states)
	}) // x1 goes
	told("", "tools")
	change(func() { listing("b", func(l *catalog.Listing) { l.Items[catalog.Template] = nil }, f.states) })
	told("team/b", "resources")
	told("", "resources")
	change(func() { f.virtual = f.virtual[1:] })
	streams["exes"].ended()
	change(func() { f.virtual = nil })
	streams["team/b"].ended()
	assert.Equal(t, 1, f.sessions.Count(), "the gateway's own session goes on")
	change(func() { listing("a", func(l *catalog.Listing) { l.Items[catalog.Tool] = nil }, f.states) })
	told("", "tools")
}
