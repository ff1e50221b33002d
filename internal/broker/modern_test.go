package broker_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

const clientMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}`

// fresh is a request of a client without a session, as the router labels it. Members are those of params beside _meta.
func fresh(method, members string) request {
	if members != "" {
		members += ","
	}
	r := ask(method, "{"+members+clientMeta+"}")
	r.header = http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {method}}
	return r
}

// stateless is a scripted server that speaks no session-based revision.
func stateless(name string, s *script) server {
	out := offering(name, s, "", name+"-tool")
	out.listing.Revision, out.listing.Modern, out.listing.Sessions = "", "2026-07-28", false
	out.listing.Capabilities = json.RawMessage(`{"tools":{},"prompts":{},"resources":{"subscribe":true}}`)
	return out
}

const gatewayMeta = `"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"mcp-gateway","title":"MCP Gateway","version":"1.2.3"}}`

func TestDiscover(t *testing.T) {
	f := start(t, offering("a", newScript(), "Use a.", "x"), stateless("b", newScript()))
	a := f.do(fresh("server/discover", ""))
	assert.Equal(t, http.StatusOK, a.status)
	assert.Empty(t, a.header.Get("Mcp-Session-Id"))
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],`+
		`"capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"logging":{}},`+
		`"instructions":"# a\n\nUse a.","ttlMs":60000,"cacheScope":"public",`+gatewayMeta+`}}`, a.body)
}

// TestDiscoverTellsTheTruth: what no server behind can do is not offered, and what depends on the caller is nobody else's.
func TestDiscoverTellsTheTruth(t *testing.T) {
	f := setup{servers: []server{scripted("a", newScript())}, options: callers{"alice": only("x")}.options}.start(t)
	a := f.do(fresh("server/discover", "").by("alice"))
	assert.Contains(t, a.body, `"capabilities":{"tools":{"listChanged":true},"logging":{}},"ttlMs":60000,"cacheScope":"private"`)
	wantError(t, f.do(fresh("server/discover", "")), http.StatusUnauthorized, hugeID, 401, "token")
}

func TestListsWithoutASession(t *testing.T) {
	one, two := offering("a", newScript(), "", "x"), stateless("b", newScript())
	two.listing.Cache[catalog.Tool] = catalog.Cache{Told: true, TTL: 90 * time.Second}
	two.listing.Cache[catalog.Prompt] = catalog.Cache{Told: true, TTL: time.Hour, Private: true}
	f := setup{servers: []server{one, two}, options: func(o *broker.Options) { o.PageSize = 1 }}.start(t)
	first := f.do(fresh("tools/list", ""))
	next := cursorOf(t, first.body)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"tools":[{"name":"b-tool"}],"nextCursor":"`+next+`","resultType":"complete","ttlMs":90000,"cacheScope":"public",`+gatewayMeta+`}}`, first.body)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"tools":[{"name":"x"}],"resultType":"complete","ttlMs":90000,"cacheScope":"public",`+gatewayMeta+`}}`,
		f.do(fresh("tools/list", `"cursor":"`+next+`"`)).body)
	for method, want := range map[string]string{
		"prompts/list":             `"ttlMs":300000,"cacheScope":"private"`,
		"resources/list":           `"ttlMs":60000,"cacheScope":"public"`,
		"resources/templates/list": `"ttlMs":60000,"cacheScope":"public"`,
	} {
		a := f.do(fresh(method, ""))
		assert.Contains(t, a.body, `"resultType":"complete",`+want, method)
	}
	wantError(t, f.do(fresh("tools/list", `"cursor":"eA"`)), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "cursor")
}

func cursorOf(t *testing.T, body string) string {
	t.Helper()
	var m struct{ Result struct{ NextCursor string } }
	require.NoError(t, json.Unmarshal([]byte(body), &m))
	require.NotEmpty(t, m.Result.NextCursor, body)
	return m.Result.NextCursor
}

// TestFilteredListsArePrivate: all pages are, as soon as it matters who asks.
func TestFilteredListsArePrivate(t *testing.T) {
	f := setup{
		servers: []server{offering("a", newScript(), "", "x", "y", "z")},
		options: func(o *broker.Options) {
			callers{"alice": only("x", "z")}.options(o)
			o.PageSize = 1
		},
	}.start(t)
	first := f.do(fresh("tools/list", "").by("alice"))
	second := f.do(fresh("tools/list", `"cursor":"`+cursorOf(t, first.body)+`"`).by("alice"))
	assert.Contains(t, first.body, `"tools":[{"name":"x"}]`)
	assert.Contains(t, second.body, `"tools":[{"name":"z"}]`)
	for _, a := range []answer{first, second} {
		assert.Contains(t, a.body, `"cacheScope":"private"`)
	}
}

func TestUnknownMethodWithoutASession(t *testing.T) {
	f := start(t, scripted("a", newScript()))
	for _, method := range []string{"initialize", "ping", "logging/setLevel", "resources/subscribe", "none"} {
		wantError(t, f.do(fresh(method, "")), http.StatusNotFound, hugeID, jsonrpc.CodeMethodNotFound, "unknown method")
	}
	r := fresh("notifications/cancelled", "")
	r.body = `{"jsonrpc":"2.0","method":"notifications/cancelled"}`
	a := f.do(r)
	assert.Equal(t, http.StatusAccepted, a.status)
	assert.Empty(t, a.body)
}

// TestCarriedWithoutASession: the broker makes the call with what the router says of it, and passes the answer on as it comes.
func TestCarriedWithoutASession(t *testing.T) {
	s := newScript()
	more := make(chan struct{})
	s.does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		event(w, "7", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"n":`+hugeID+`}}`)
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
		event(w, "", resultOf(m, `{"resultType":"complete"}`))
	})
	f := start(t, stateless("b", s))
	r := fresh("tools/call", `"name":"größe"`).at("b")
	r.header["Mcp-Name"], r.header["Mcp-Param-X"], r.header["Mcp-Session-Id"] = []string{"=?base64?Z3LDtsOfZQ==?="}, []string{"1"}, []string{"forged"}
	e := f.stream(r)
	assert.Contains(t, string(e.next().Data), hugeID)
	close(more)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"resultType":"complete"}}`, string(e.next().Data))
	got := s.requests("tools/call")[0]
	wantBytes(t, r.body, got.body)
	assert.Equal(t, "2026-07-28", got.header.Get("Mcp-Protocol-Version"))
	assert.Equal(t, "tools/call", got.header.Get("Mcp-Method"))
	assert.Equal(t, "=?base64?Z3LDtsOfZQ==?=", got.header.Get("Mcp-Name"))
	assert.Equal(t, "1", got.header.Get("Mcp-Param-X"))
	assert.Empty(t, got.session)
	assert.Empty(t, got.header.Get("X-Mcp-Router-Key"))
}

// TestLeavingEndsACall proves Invariant 11 for a call that the broker carries.
func TestLeavingEndsACall(t *testing.T) {
	s, ended := newScript(), make(chan struct{})
	s.does("tools/call", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/progress"}`)
		<-r.Context().Done()
		close(ended)
	})
	f := start(t, stateless("b", s))
	e := f.stream(fresh("tools/call", `"name":"x"`).at("b"))
	e.next()
	e.close()
	await(t, ended)
}

func TestAnswersToCarriedCalls(t *testing.T) {
	refusal := `{"jsonrpc":"2.0","id":` + hugeID + `,"error":{"code":-32021,"message":"no session of that kind","data":{"requiredCapabilities":{"sampling":{}}}}}`
	for name, tt := range map[string]struct {
		reply  reply
		status int
		want   string // of the body, else the words of a gateway's error
		own    bool
	}{
		"refusal with 400":       {status(400, "application/json", refusal), 400, refusal, false},
		"refusal without a type": {status(400, "", refusal), 400, refusal, false},
		"unknown method":         {status(404, "application/json", strings.Replace(refusal, "-32021", "-32601", 1)), 404, strings.Replace(refusal, "-32021", "-32601", 1), false},
		"html":                   {status(404, "text/html", "<p>"), 502, "no JSON-RPC", true},
		"error page":             {status(500, "text/plain", "oops"), 502, "HTTP status 500", true},
		"redirect":               {status(302, "", ""), 502, "redirect", true},
		"credential":             {status(401, "", ""), 502, "credential", true},
		"nothing":                {status(202, "", ""), 502, "without an answer", true},
		"a request":              {status(200, "application/json", `{"jsonrpc":"2.0","id":1,"method":"ping"}`), 502, "no response", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, stateless("b", newScript().does("tools/call", tt.reply)))
			a := f.do(fresh("tools/call", `"name":"x"`).at("b"))
			if tt.own {
				wantError(t, a, tt.status, hugeID, jsonrpc.CodeInternalError, tt.want)
				return
			}
			assert.Equal(t, tt.status, a.status)
			assert.Equal(t, "application/json", a.header.Get("Content-Type"))
			wantBytes(t, tt.want, a.body)
		})
	}
}

func TestForbiddenWithoutASession(t *testing.T) {
	s := newScript()
	f := setup{servers: []server{stateless("b", s)}, options: callers{"alice": only("x")}.options}.start(t)
	a := f.do(fresh("tools/call", `"name":"y"`).at("b").by("alice"))
	wantError(t, a, http.StatusForbidden, hugeID, 403, "not allowed")
	assert.Equal(t, `Bearer for="403"`, a.header.Get("WWW-Authenticate"))
	assert.Empty(t, s.requests("tools/call"))
	wantError(t, f.do(fresh("tools/call", `"name":"x"`).at("gone").by("alice")), http.StatusServiceUnavailable, hugeID, jsonrpc.CodeInternalError, "no longer configured")
}

// TestAskingForACredentialWithoutASession: a result that asks for input stands where a session's client gets an error; the client calls again.
func TestAskingForACredentialWithoutASession(t *testing.T) {
	s := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		answerJSON(w, m, `{"resultType":"complete"}`)
	})
	f, k := asking(t, s)
	listing := *f.states["acme"].Listing
	listing.Revision, listing.Modern = "", "2026-07-28"
	f.states["acme"] = catalog.State{Health: catalog.HealthReady, Listing: &listing}
	f.rebuild()
	call := func(members, body string) request {
		r := fresh("tools/call", `"name":"x"`+members).at("acme").by("Bearer alice")
		if body != "" {
			r.body = strings.Replace(r.body, `{"elicitation":{"url":{}}}`, body, 1)
		}
		return r
	}
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"inputRequests":{"mcp-gateway/credential":{"method":"elicitation/create",`+
		`"params":{"mode":"url","url":"https://mcp.example.com/credentials/for/e-1","message":"Give a key."}}},"resultType":"input_required"}}`, f.do(call("", "")).body)
	a := f.do(call("", `{"elicitation":{}}`))
	wantError(t, a, http.StatusBadRequest, hugeID, jsonrpc.CodeMissingCapability, "https://mcp.example.com/credentials/for/e-1")
	assert.Contains(t, a.body, `"data":{"requiredCapabilities":{"elicitation":{"url":{}}}}`)
	wantError(t, f.do(call(`,"inputResponses":{"mcp-gateway/credential":{"action":"decline"}}`, "")), http.StatusOK, hugeID, jsonrpc.CodeInternalError, "did not want to give")
	assert.Empty(t, s.requests("tools/call"))

	k.give("alice", "key-1")
	assert.Contains(t, f.do(call(`,"inputResponses":{"mcp-gateway/credential":{"action":"accept"}}`, "")).body, `"complete"`)
	got := s.requests("tools/call")[0]
	assert.Equal(t, "key key-1", got.header.Get("X-Api-Key"))
	assert.Contains(t, got.body, `"inputResponses":{}`, "what the gateway asked for is no concern of the server's")
}

func listenTo(f *fixture, filter string) *events {
	f.t.Helper()
	return f.stream(fresh("subscriptions/listen", `"notifications":`+filter))
}

const subscribed = `"_meta":{"io.modelcontextprotocol/subscriptionId":` + hugeID + `}`

func acknowledged(filter string) string {
	return `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{` + subscribed + `,"notifications":` + filter + `}}`
}

func told(method string) string {
	return `{"jsonrpc":"2.0","method":"notifications/` + method + `","params":{` + subscribed + `}}`
}

func TestSubscriptions(t *testing.T) {
	f := start(t, offering("a", newScript(), "", "x"), offering("b", newScript(), "", "y"))
	all := listenTo(f, `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}`)
	wantBytes(t, acknowledged(`{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}`), string(all.next().Data))
	prompts := listenTo(f, `{"promptsListChanged":true,"toolsListChanged":false}`)
	wantBytes(t, acknowledged(`{"promptsListChanged":true}`), string(prompts.next().Data))

	listing := *f.states["a"].Listing
	listing.Items[catalog.Tool] = []json.RawMessage{[]byte(`{"name":"other"}`)}
	f.states["a"] = catalog.State{Health: catalog.HealthReady, Listing: &listing}
	f.broker.SnapshotChanged(f.rebuild())
	wantBytes(t, told("tools/list_changed"), string(all.next().Data))
	f.broker.Unchanged("b", []catalog.Kind{catalog.Prompt, catalog.Resource, catalog.Template})
	wantBytes(t, told("prompts/list_changed"), string(all.next().Data))
	wantBytes(t, told("resources/list_changed"), string(all.next().Data))
	wantBytes(t, told("prompts/list_changed"), string(prompts.next().Data))
	f.broker.Unchanged("none", []catalog.Kind{catalog.Prompt})

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f.broker.Close(ctx)
	for _, e := range []*events{all, prompts} {
		wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"resultType":"complete",`+subscribed+`}}`, string(e.next().Data))
		e.ended()
	}
	wantError(t, f.do(fresh("subscriptions/listen", `"notifications":{}`)), http.StatusServiceUnavailable, hugeID, jsonrpc.CodeInternalError, "try again later")
}

func TestBadFilters(t *testing.T) {
	f := start(t, scripted("a", newScript()))
	for _, members := range []string{"", `"notifications":null`, `"notifications":[]`, `"notifications":{"toolsListChanged":1}`, `"notifications":{"resourceSubscriptions":"x"}`} {
		wantError(t, f.do(fresh("subscriptions/listen", members)), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "params.notifications")
	}
}

// TestSubscriptionsOfVirtualServers: they hear of what their endpoint shows, and end with it.
func TestSubscriptionsOfVirtualServers(t *testing.T) {
	f := virtual(setup{}).start(t)
	exes := f.stream(fresh("subscriptions/listen", `"notifications":{"toolsListChanged":true}`).of("exes"))
	exes.next()
	change := func(tool string) {
		listing := *f.states["b"].Listing
		if tool != "" {
			listing = *f.states["a"].Listing
			listing.Items[catalog.Tool] = append([]json.RawMessage{[]byte(`{"name":"x1","title":"` + tool + `"}`)}, listing.Items[catalog.Tool][1:]...)
			f.states["a"] = catalog.State{Health: catalog.HealthReady, Listing: &listing}
		} else {
			listing.Items[catalog.Tool] = nil
			f.states["b"] = catalog.State{Health: catalog.HealthReady, Listing: &listing}
		}
		f.broker.SnapshotChanged(f.rebuild())
	}
	change("")
	change("new")
	wantBytes(t, told("tools/list_changed"), string(exes.next().Data))
	f.virtual = []config.VirtualServer{{Name: "team/b", Servers: []string{"b"}}}
	f.broker.SnapshotChanged(f.rebuild())
	assert.Contains(t, string(exes.next().Data), `"result":{"resultType":"complete"`)
	exes.ended()
}

// TestToolsOfOtherErasInLists: clients with sessions, whatever they may have, get no schema that their revisions do not have.
func TestToolsOfOtherErasInLists(t *testing.T) {
	for name, options := range map[string]func(*broker.Options){"everything": nil, "by rules": callers{"": only("t")}.options} {
		t.Run(name, func(t *testing.T) {
			const modern = `{"name":"t","outputSchema":{"type":"array"}}`
			srv := stateless("b", newScript())
			srv.listing.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(modern)}
			f := setup{servers: []server{srv}, options: options}.start(t)
			wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"tools":[{"name":"t"}]}}`, f.do(ask("tools/list", "{}").in(f.initialize())).body)
			assert.Contains(t, f.do(fresh("tools/list", "")).body, `"tools":[`+modern+`]`)
		})
	}
}
