package dataplane_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestStatelessClients: clients of 2026-07-28, ours and a real one, with a real server that speaks it.
func TestStatelessClients(t *testing.T) {
	t.Parallel()
	server := testbed.GoSDKStateless(t)
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		g := testbed.StartGateway(t, testbed.Options{
			Mode: mode, Servers: []config.ServerSpec{spec("gosdk", server.URL)},
			VirtualServers: []config.VirtualServerSpec{{Name: "one", Tools: []string{"gosdk_test_simple_text"}}},
		})
		g.AwaitTools(t, "gosdk_test_simple_text")
		c := testbed.NewStateless(t, g.Endpoint)
		t.Run("discovery", func(t *testing.T) {
			a := c.Ask(t, "server/discover", "{}")
			assert.Contains(t, a.Result(t), `"supportedVersions":["2026-07-28","2025-11-25"`)
			assert.Empty(t, a.Header.Get("Mcp-Session-Id"))
		})
		t.Run("calls", func(t *testing.T) {
			assert.Contains(t, c.Ask(t, "tools/call", `{"name":"gosdk_test_simple_text","arguments":{}}`).Text(t), "simple text")
			assert.Contains(t, c.Ask(t, "prompts/get", `{"name":"gosdk_test_simple_prompt"}`).Result(t), `"resultType":"complete"`)
			assert.Contains(t, c.Ask(t, "resources/read", `{"uri":"test://static-text"}`).Result(t), `"resultType":"complete"`)
			a := c.Ask(t, "resources/read", `{"uri":"none://"}`)
			assert.Equal(t, -32602, a.Error(t).Code)
		})
		t.Run("input", func(t *testing.T) {
			result := c.Ask(t, "tools/call", `{"name":"gosdk_test_input_required_result_request_state","arguments":{}}`).Message(t)
			assert.NotContains(t, result, "-32603", "whatever the server makes of a client without capabilities, it is the server's answer")
		})
		t.Run("refusals", func(t *testing.T) { statelessRefusals(t, c) })
		t.Run("virtual server", func(t *testing.T) {
			one := testbed.NewStateless(t, g.Endpoint+"/one")
			assert.Equal(t, 1, strings.Count(one.Ask(t, "tools/list", "{}").Result(t), `"inputSchema"`))
			assert.Equal(t, -32602, one.Ask(t, "tools/call", `{"name":"gosdk_test_image_content","arguments":{}}`).Error(t).Code)
		})
		t.Run("go-sdk client", func(t *testing.T) { statelessGoSDK(t, g) })
		t.Run("client with a session", func(t *testing.T) {
			old := testbed.Connect(t, g.Endpoint)
			assert.Contains(t, old.Call(t, "gosdk_test_simple_text", "{}").Text(t), "simple text")
		})
		t.Run("changes", func(t *testing.T) { statelessChanges(t, c) })
	})
}

// statelessGoSDK: a client that nobody made for this gateway chooses the newest revision by itself.
func statelessGoSDK(t *testing.T, g *testbed.Gateway) {
	s := goSDKClient(t, g.Endpoint, nil)
	require.NotNil(t, s.InitializeResult())
	assert.Equal(t, "2026-07-28", s.InitializeResult().ProtocolVersion)
	res, err := s.CallTool(t.Context(), &gosdk.CallToolParams{Name: "gosdk_test_simple_text"})
	require.NoError(t, err)
	assert.False(t, res.IsError)
}

func statelessRefusals(t *testing.T, c *testbed.Stateless) {
	const call = `{"name":"gosdk_test_simple_text","arguments":{}}`
	for name, tt := range map[string]struct {
		method, params string
		headers        []string
		status, code   int
	}{
		"other name":        {"tools/call", call, []string{"Mcp-Name", "gosdk_other"}, 400, -32020},
		"no name":           {"tools/call", call, []string{"Mcp-Name", ""}, 400, -32020},
		"no method":         {"tools/call", call, []string{"Mcp-Method", ""}, 400, -32020},
		"no version":        {"tools/call", call, []string{"Mcp-Protocol-Version", ""}, 400, -32020},
		"session's version": {"tools/call", call, []string{"Mcp-Protocol-Version", "2025-11-25"}, 400, -32020},
		"unknown version":   {"tools/call", call, []string{"Mcp-Protocol-Version", "2099-01-01"}, 400, -32022},
		"unknown method":    {"tasks/list", "{}", nil, 404, -32601},
		"initialize":        {"initialize", "{}", nil, 404, -32601},
		"unknown tool":      {"tools/call", `{"name":"none"}`, nil, 200, -32602},
	} {
		a := c.Ask(t, tt.method, tt.params, tt.headers...)
		assert.Equal(t, tt.status, a.Status, name)
		assert.Equal(t, tt.code, a.Error(t).Code, name)
		assert.NotEmpty(t, a.Error(t).ID, name)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		a := c.Do(t, method, nil, "Mcp-Protocol-Version", "2026-07-28")
		assert.Equal(t, http.StatusMethodNotAllowed, a.Status)
		assert.Equal(t, "POST", a.Header.Get("Allow"))
	}
}

// statelessChanges: subscriptions say first what they are for, and all that comes names them.
func statelessChanges(t *testing.T, c *testbed.Stateless) {
	s := c.Begin(t, "subscriptions/listen", `{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["test://watched-resource","no URI"]}}`)
	require.Equal(t, http.StatusOK, s.Status)
	first := s.Next(t).Data
	assert.Contains(t, first, `"method":"notifications/subscriptions/acknowledged"`)
	assert.NotContains(t, first, "no URI")
	c.Ask(t, "tools/call", `{"name":"gosdk_test_trigger_tool_change","arguments":{}}`).Result(t)
	changed := s.Find(t, "notifications/tools/list_changed").Data
	var m struct {
		Params struct {
			Meta map[string]json.RawMessage `json:"_meta"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(changed), &m))
	assert.Contains(t, first, string(m.Params.Meta["io.modelcontextprotocol/subscriptionId"]))
	s.Close()
}

// TestStatelessCalls: what reaches a server that speaks 2026-07-28 alone is the client's message with the server's names, in the body as in the headers;
// the answer streams; and a client that leaves ends the call at the server (Invariants 1, 3, 10, 11).
func TestStatelessCalls(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		seen, left := make(chan struct{}), make(chan struct{}, 10)
		server := testbed.NewStatelessServer(t, `[{"name":"größe","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]`,
			func(w http.ResponseWriter, r *http.Request) {
				var m struct{ ID json.RawMessage }
				_ = json.NewDecoder(r.Body).Decode(&m)
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Mcp-Session-Id", "none of the client's business")
				_, _ = io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"n\":9007199254740993}}\n\n")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-seen:
					_, _ = fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"resultType\":\"complete\",\"content\":[]}}\n\n", m.ID)
				case <-r.Context().Done():
					left <- struct{}{}
				}
			})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("s", server.URL)}})
		g.AwaitTools(t, "s_größe")
		c := testbed.NewStateless(t, g.Endpoint)
		body, headers := c.Message("tools/call", `{"name":"s_größe","arguments":{"region":"süd","n":9007199254740993}}`)
		headers[len(headers)-1] = "=?base64?c19ncsO2w59l?="
		headers = append(headers, "Mcp-Param-Region", "=?base64?c8O8ZA==?=", "X-Mcp-Toolname", "forged", "Mcp-Session-Id", "forged")
		s := c.Open(t, http.MethodPost, body, headers...)
		require.Equal(t, http.StatusOK, s.Status)
		assert.Empty(t, s.Header.Get("Mcp-Session-Id"))
		assert.Contains(t, s.Next(t).Data, "9007199254740993")
		seen <- struct{}{}
		assert.Contains(t, s.Next(t).Data, `"complete"`)
		got := server.Calls()[0]
		assert.Equal(t, strings.Replace(body, "s_größe", "größe", 1), got.Body)
		assert.Equal(t, []string{"2026-07-28", "tools/call", "=?base64?Z3LDtsOfZQ==?=", "=?base64?c8O8ZA==?=", ""}, []string{
			got.Header.Get("Mcp-Protocol-Version"), got.Header.Get("Mcp-Method"), got.Header.Get("Mcp-Name"), got.Header.Get("Mcp-Param-Region"), got.Header.Get("Mcp-Session-Id"),
		})

		other := c.Open(t, http.MethodPost, body, headers...)
		other.Next(t)
		other.Close()
		testbed.Await(t, "the server to hear that the client has left", func() bool {
			select {
			case <-left:
				return true
			default:
				return false
			}
		})
	})
}
