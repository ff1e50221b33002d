package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// virtualBed is a gateway with virtual servers in front of a server that keeps sessions and one that does not.
type virtualBed struct {
	*testbed.Gateway

	docs, notes *testbed.Upstream
	choices     []config.VirtualServerSpec
}

func newVirtualBed(t *testing.T, o testbed.Options) *virtualBed {
	b := &virtualBed{
		docs: testbed.NewUpstream(t, testbed.Script{
			Capabilities: `{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}`, Methods: documents(),
			Tools: []testbed.Tool{{Name: "look", Annotations: `{"readOnlyHint":true}`}, {Name: "change"}},
		}),
		notes: testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{{Name: "read"}, {Name: "add"}}}),
		choices: []config.VirtualServerSpec{
			{
				Name: "reading", Description: "To look and not to touch.", Tools: []string{"*_look", "notes_read"}, Prompts: []string{"docs_ask"},
				Resources: []string{"file:///open/*", "file:///closed/c"},
			},
			{Name: "team/writing", Servers: []string{"notes"}},
			{Name: "empty"},
		},
	}
	o.Servers, o.VirtualServers = specs(map[string]*testbed.Upstream{"docs": b.docs, "notes": b.notes}), b.choices
	o.Flags = append(o.Flags, "--log-level", "debug", "--page-size", "1")
	b.Gateway = testbed.StartGateway(t, o)
	b.AwaitTools(t, "docs_look", "docs_change", "notes_read", "notes_add")
	return b
}

// at connects a client to a virtual server.
func (b *virtualBed) at(t *testing.T, segment string) *testbed.Client {
	t.Helper()
	c := testbed.NewClient(t, b.Endpoint+"/"+segment)
	c.Name += "." + segment
	c.Initialize(t, "{}")
	return c
}

// TestVirtualServers: a virtual server is like a gateway that has nothing but what is chosen, whether Envoy carries a call alone or with the broker.
func TestVirtualServers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newVirtualBed(t, testbed.Options{Mode: mode})
		t.Run("introduce themselves", b.introduces)
		t.Run("list", b.lists)
		t.Run("call", b.calls)
		t.Run("have documents", b.documents)
		t.Run("are unknown", b.unknown)
		t.Run("bind sessions", b.bindsSessions)
		t.Run("have metadata", b.metadata)
		t.Run("are counted", func(t *testing.T) {
			var got []string
			for _, v := range b.Status(t).VirtualServers {
				got = append(got, fmt.Sprint(v.Name, v.Path, v.Tools, v.Prompts, v.Resources, v.Templates))
			}
			assert.Equal(t, []string{"reading/mcp/reading2 1 1 0", "team/writing/mcp/writing2 0 0 0", "empty/mcp/empty0 0 0 0"}, got)
		})
	})
}

func (b *virtualBed) introduces(t *testing.T) {
	c := testbed.NewClient(t, b.Endpoint+"/reading")
	var r struct {
		Instructions string
		ServerInfo   struct{ Name, Title, Description string }
		Capabilities map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(c.Initialize(t, "{}").Result(t)), &r))
	assert.Equal(t, "reading", r.ServerInfo.Name)
	assert.Equal(t, "To look and not to touch.", r.ServerInfo.Description)
	assert.Equal(t, "To look and not to touch.", r.Instructions)
	assert.Contains(t, r.Capabilities, "prompts")
	c = testbed.NewClient(t, b.Endpoint)
	r.Capabilities = nil
	require.NoError(t, json.Unmarshal([]byte(c.Initialize(t, "{}", "X-Mcp-Virtualserver", "team/writing").Result(t)), &r))
	assert.Equal(t, "team/writing", r.ServerInfo.Name)
	assert.NotContains(t, r.Capabilities, "prompts", "none of its servers has any")
}

func (b *virtualBed) lists(t *testing.T) {
	whole, reading, empty := testbed.Connect(t, b.Endpoint), b.at(t, "reading"), b.at(t, "empty")
	assert.Equal(t, []string{"docs_change", "docs_look", "notes_add", "notes_read"}, whole.ToolNames(t))
	assert.Equal(t, []string{"docs_look", "notes_read"}, reading.ToolNames(t))
	assert.Equal(t, []string{"notes_add", "notes_read"}, b.at(t, "writing").ToolNames(t))
	assert.Empty(t, empty.ToolNames(t))
	assert.JSONEq(t, `{"prompts":[{"name":"docs_ask"}]}`, result(t, reading, "prompts/list", "{}"))
	assert.JSONEq(t, `{"resources":[{"uri":"file:///open/a","name":"a"}]}`, result(t, reading, "resources/list", "{}"))
	assert.JSONEq(t, `{"resourceTemplates":[]}`, result(t, reading, "resources/templates/list", "{}"))
	assert.JSONEq(t, `{"prompts":[]}`, result(t, empty, "prompts/list", "{}"))

	// A page belongs to the list that it was cut from.
	var page struct{ NextCursor string }
	require.NoError(t, json.Unmarshal([]byte(result(t, whole, "tools/list", "{}")), &page))
	require.NotEmpty(t, page.NextCursor)
	a := reading.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":%q}}`, page.NextCursor))
	assert.Equal(t, -32602, a.Error(t).Code)
}

func (b *virtualBed) calls(t *testing.T) {
	c := b.at(t, "reading")
	for range 3 { // the first one by the broker, the others straight to the server
		c.Call(t, "docs_look", "{}").Result(t)
		c.Call(t, "notes_read", "{}").Result(t)
		for _, outside := range []string{"docs_change", "notes_add", "look", "nothing"} {
			body, id := c.ToolCall(outside, "{}")
			a := c.Post(t, body)
			e := a.Error(t)
			assert.Equal(t, http.StatusOK, a.Status)
			assert.Equal(t, -32602, e.Code)
			assert.Equal(t, fmt.Sprint(id), e.ID)
			assert.Contains(t, e.Message, "unknown tool", "Invariant 5")
		}
	}
	seen := b.docs.Calls(c.Name, testbed.RPC("tools/call"))
	require.Len(t, seen, 3)
	for _, call := range seen {
		assert.Equal(t, "look", call.Tool)
	}
	assert.Equal(t, []string{"reading"}, seen[2].Header.Values("X-Mcp-Virtualserver"), "a call that Envoy carries alone has what the router said")
	// By the header it is the same virtual server, and what the client says is not what the server gets.
	byHeader := testbed.NewClient(t, b.Endpoint)
	byHeader.Initialize(t, "{}", "X-Mcp-Virtualserver", "team/writing")
	byHeader.Call(t, "notes_add", "{}", "X-Mcp-Virtualserver", "team/writing").Result(t)
	a := byHeader.Call(t, "docs_look", "{}", "X-Mcp-Virtualserver", "team/writing")
	assert.Equal(t, -32602, a.Error(t).Code)
}

func (b *virtualBed) documents(t *testing.T) {
	c := b.at(t, "reading")
	for range 2 {
		result(t, c, "prompts/get", `{"name":"docs_ask"}`)
		result(t, c, "resources/read", `{"uri":"file:///open/a"}`)
		result(t, c, "resources/subscribe", `{"uri":"file:///open/a"}`)
		// It is chosen by itself of what a template gives.
		result(t, c, "resources/read", `{"uri":"file:///closed/c"}`)
		result(t, c, "completion/complete", `{"ref":{"type":"ref/prompt","name":"docs_ask"},"argument":{"name":"x","value":""}}`)
		for method, params := range map[string]string{
			"prompts/get":         `{"name":"docs_order"}`,
			"resources/read":      `{"uri":"file:///closed/b"}`,
			"resources/subscribe": `{"uri":"file:///closed/d"}`,
			"completion/complete": `{"ref":{"type":"ref/resource","uri":"file:///closed/{x}"},"argument":{"name":"x","value":""}}`,
		} {
			c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)).Error(t)
		}
	}
	for _, call := range b.docs.Calls(c.Name, func(*testbed.Call) bool { return true }) {
		assert.NotContains(t, string(call.Params), "order")
		assert.NotContains(t, string(call.Params), "file:///closed/b")
	}
}

// unknown: what is no virtual server shows nothing (Invariant 5), and one request has one virtual server.
func (b *virtualBed) unknown(t *testing.T) {
	c := b.at(t, "reading")
	const ping = `{"jsonrpc":"2.0","id":"p","method":"ping"}`
	refused := func(status int, path string, headers ...string) {
		t.Helper()
		a := c.At(b.Endpoint+path).Post(t, ping, headers...)
		assert.Equal(t, status, a.Status, "%s %v", path, headers)
		assert.Equal(t, testbed.RPCError{ID: `"p"`, Code: -32600, Message: a.Error(t).Message}, a.Error(t))
	}
	refused(http.StatusNotFound, "/other")
	refused(http.StatusNotFound, "/reading/more")
	refused(http.StatusNotFound, "/team/writing")
	refused(http.StatusNotFound, "/Reading")
	refused(http.StatusNotFound, "", "X-Mcp-Virtualserver", "other")
	refused(http.StatusNotFound, "", "X-Mcp-Virtualserver", "writing")
	refused(http.StatusBadRequest, "/reading", "X-Mcp-Virtualserver", "team/writing")
	refused(http.StatusBadRequest, "/reading", "X-Mcp-Virtualserver", "other")
	refused(http.StatusBadRequest, "", "X-Mcp-Virtualserver", "reading", "X-Mcp-Virtualserver", "reading")
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		a := c.At(b.Endpoint+"/other").Do(t, method, nil)
		assert.Equal(t, http.StatusNotFound, a.Status)
		a.Error(t)
	}
	a := testbed.NewClient(t, b.Endpoint+"/other").Post(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
	assert.Equal(t, http.StatusNotFound, a.Status)
	assert.Empty(t, a.Header.Get("Mcp-Session-Id"))
	assert.Equal(t, "{}", c.Post(t, ping, "X-Mcp-Virtualserver", "reading").Result(t), "a header that agrees is no harm")
}

// bindsSessions: a session is of use only where it was begun.
func (b *virtualBed) bindsSessions(t *testing.T) {
	whole, reading := testbed.Connect(t, b.Endpoint), b.at(t, "reading")
	for _, stolen := range []*testbed.Client{whole.At(b.Endpoint + "/reading"), reading.At(b.Endpoint), reading.At(b.Endpoint + "/writing")} {
		for _, a := range []*testbed.Answer{
			stolen.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`),
			stolen.Call(t, "notes_read", "{}"),
			stolen.Do(t, http.MethodGet, nil),
			stolen.Do(t, http.MethodDelete, nil),
		} {
			assert.Equal(t, http.StatusNotFound, a.Status, "%s", stolen.Endpoint)
			a.Error(t)
		}
	}
	assert.Len(t, whole.ToolNames(t), 4)
	assert.Len(t, reading.ToolNames(t), 2)
	assert.Equal(t, http.StatusNoContent, reading.Do(t, http.MethodDelete, nil).Status)
	assert.Equal(t, http.StatusNotFound, reading.Do(t, http.MethodGet, nil).Status)
}

func (b *virtualBed) metadata(t *testing.T) {
	const wellKnown = "/.well-known/oauth-protected-resource"
	for path, resource := range map[string]string{"": "/mcp", "/mcp": "/mcp", "/mcp/reading": "/mcp/reading", "/mcp/writing": "/mcp/writing"} {
		a := testbed.Get(t, b.Base+wellKnown+path)
		require.Equal(t, http.StatusOK, a.Status, path)
		var m struct{ Resource string }
		require.NoError(t, json.Unmarshal([]byte(a.Body), &m))
		assert.Equal(t, b.Base+resource, m.Resource)
		assert.Equal(t, "*", a.Header.Get("Access-Control-Allow-Origin"))
	}
	for _, path := range []string{"/mcp/other", "/mcp/team/writing", "/reading", "/mcp/reading/"} {
		assert.Equal(t, http.StatusNotFound, testbed.Get(t, b.Base+wellKnown+path).Status, path)
	}
}

// TestVirtualServersWithPolicies: what a virtual server has and what a caller may are two questions, and both must be answered by yes.
func TestVirtualServersWithPolicies(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		issuer, file := testbed.NewIssuer(t), filepath.Join(t.TempDir(), "policies.yaml")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
policies:
  authentication: {issuer: %q, jwksURI: %q, audiences: [mcp-gateway]}
  acl: [{users: [ann], allow: [docs_look, docs_change, notes_add]}]
`, issuer.URL, issuer.URL+"/keys"), 0o600))
		b := newVirtualBed(t, testbed.Options{Mode: mode, Policies: file})
		metadata := fmt.Sprintf("resource_metadata=%q", b.Base+"/.well-known/oauth-protected-resource/mcp/reading")

		c := testbed.ConnectAs(t, b.Endpoint+"/reading", "ann", issuer.Token(t, "ann", nil))
		assert.Equal(t, []string{"docs_look"}, c.ToolNames(t))
		for range 2 {
			c.Call(t, "docs_look", "{}").Result(t)
			a := c.Call(t, "notes_read", "{}")
			assert.Equal(t, http.StatusForbidden, a.Status, "it is there, and ann may not have it")
			assert.Equal(t, http.StatusForbidden, a.Error(t).Code)
			assert.Contains(t, a.Header.Get("Www-Authenticate"), metadata)
			assert.Equal(t, -32602, c.Call(t, "notes_add", "{}").Error(t).Code, "ann may have it, and it is not there")
		}
		assert.JSONEq(t, `{"prompts":[]}`, result(t, c, "prompts/list", "{}"))

		for name, authorization := range map[string]string{"no token": "", "a bad one": "Bearer e30.e30.e30"} {
			stranger := testbed.NewClient(t, b.Endpoint+"/reading")
			stranger.Authorization = authorization
			a := stranger.Post(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
			assert.Equal(t, http.StatusUnauthorized, a.Status, name)
			assert.Equal(t, "1", a.Error(t).ID, name)
			assert.Contains(t, a.Header.Get("Www-Authenticate"), metadata, name)
			stranger.Endpoint = b.Endpoint
			a = stranger.Post(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
			assert.Contains(t, a.Header.Get("Www-Authenticate"), strings.TrimSuffix(metadata, `/reading"`)+`"`, name)
		}
		document := testbed.Get(t, b.Base+"/.well-known/oauth-protected-resource/mcp/reading").Body
		assert.Contains(t, document, issuer.URL)
		assert.Contains(t, document, b.Base+"/mcp/reading")
	})
}

// TestVirtualServersChange: who listens at a virtual server hears of changes there and of no others, and one that is taken away is gone at once.
func TestVirtualServersChange(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newVirtualBed(t, testbed.Options{Mode: mode})
		reading, writing, whole := b.at(t, "reading"), b.at(t, "writing"), testbed.Connect(t, b.Endpoint)
		reading.Call(t, "docs_look", "{}").Result(t)
		here, there, all := reading.Listen(t), writing.Listen(t), whole.Listen(t)
		const changed = "notifications/tools/list_changed"

		// What is chosen changes: only those who see it hear of it.
		b.choices[0].Tools = []string{"docs_*"}
		b.rewrite(t)
		here.Find(t, changed)
		assert.Equal(t, []string{"docs_change", "docs_look"}, reading.ToolNames(t))
		reading.Call(t, "docs_change", "{}").Result(t)
		assert.Equal(t, -32602, reading.Call(t, "notes_read", "{}").Error(t).Code)

		// A server changes: those who see that hear of it, the gateway's own clients among them.
		b.docs.Change(func(s *testbed.Script) { s.Tools = append(s.Tools, testbed.Tool{Name: "new"}) })
		b.docs.Push(reading.Name, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\""+changed+"\"}\n\n")
		here.Find(t, changed)
		all.Find(t, changed)
		assert.Equal(t, []string{"docs_change", "docs_look", "docs_new"}, reading.ToolNames(t))

		// One that goes away takes its sessions with it, and leaves the others alone.
		b.choices = b.choices[1:]
		b.rewrite(t)
		for open := true; open; {
			_, open = here.TryNext(t)
		}
		a := reading.Call(t, "docs_look", "{}")
		assert.Equal(t, http.StatusNotFound, a.Status)
		a.Error(t)
		assert.Equal(t, http.StatusNotFound, testbed.Get(t, b.Base+"/.well-known/oauth-protected-resource/mcp/reading").Status)
		testbed.Await(t, "the backend session to be closed", func() bool { return len(b.docs.Sessions(reading.Name)) == 0 })
		writing.Call(t, "notes_add", "{}").Result(t)
		// A change that this client is told of comes after all that it was not told of.
		b.choices[0].Servers = []string{"docs"}
		b.rewrite(t)
		first := there.Next(t)
		assert.Contains(t, first.Data, "list_changed")
		assert.Equal(t, []string{"docs_change", "docs_look", "docs_new"}, writing.ToolNames(t), "the first that it heard of")
	})
}

func (b *virtualBed) rewrite(t *testing.T) {
	t.Helper()
	testbed.WriteFile(t, b.Config, config.File{
		Servers: specs(map[string]*testbed.Upstream{"docs": b.docs, "notes": b.notes}), VirtualServers: b.choices,
	})
}
