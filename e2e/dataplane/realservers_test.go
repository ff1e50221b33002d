package dataplane_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// realServers are one of each, by the names that the gateway knows them by.
func realServers(t *testing.T) map[string]*testbed.Server {
	t.Helper()
	return map[string]*testbed.Server{
		"everything": testbed.ServerEverything(t),
		"gosdk":      testbed.GoSDKEverything(t),
		"mcpgo":      testbed.MCPGoConformance(t),
		"weather":    testbed.Example(t, "weather"),
		"time":       testbed.Example(t, "time"),
	}
}

func specsOf(servers map[string]*testbed.Server) []config.ServerSpec {
	var specs []config.ServerSpec
	for _, name := range []string{"everything", "gosdk", "mcpgo", "weather", "time"} {
		specs = append(specs, spec(name, servers[name].URL))
	}
	return specs
}

type realCall struct {
	tool string
	args map[string]any
	want string
}

// realCalls are calls of every server, with a part of what each says.
func realCalls() []realCall {
	return []realCall{
		{"everything_echo", map[string]any{"message": "héllo"}, "Echo: héllo"},
		{"everything_get-sum", map[string]any{"a": 2, "b": 40}, "42"},
		{"gosdk_test_simple_text", map[string]any{}, "simple text response"},
		{"mcpgo_test_simple_text", map[string]any{}, "simple text response"},
		{"weather_get_forecast", map[string]any{"city": "Oslo"}, `"city":"Oslo"`},
		{"time_add_duration", map[string]any{"time": "2026-01-31T22:30:00Z", "duration": "36h"}, "2026-02-02T10:30:00Z"},
	}
}

// TestRealServers: servers that nobody made for this gateway, behind it, as clients that nobody made for it see them.
func TestRealServers(t *testing.T) {
	t.Parallel()
	servers := realServers(t)
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		// Few items to a page, so that clients have to follow the pages.
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specsOf(servers), Flags: []string{"--page-size", "7"}})
		for _, call := range realCalls() {
			g.AwaitTools(t, call.tool)
		}
		t.Run("go-sdk client", func(t *testing.T) { callAllWithGoSDK(t, g) })
		t.Run("mcp-go client", func(t *testing.T) { callAllWithMCPGo(t, g) })
		t.Run("definitions", func(t *testing.T) { compareDefinitions(t, g, servers) })
		for _, revision := range []string{legacyRevision, modernRevision} {
			t.Run("server requests to a client of "+revision, func(t *testing.T) { answerServerRequests(t, g, revision) })
		}
		t.Run("prompts and resources", func(t *testing.T) { readPromptsAndResources(t, g) })
		t.Run("resumed calls", func(t *testing.T) { resumeCalls(t, g) })
	})
}

// TestStdioServer: a server that speaks stdio alone is used through a proxy of others, as docs/guides/real-servers.md tells, by clients of either era.
func TestStdioServer(t *testing.T) {
	t.Parallel()
	server := testbed.BridgedEverything(t)
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("everything", server.URL)}})
		g.AwaitTools(t, "everything_echo") // each session is a process there, which may take longer to start than the gateway waits
		for _, revision := range []string{legacyRevision, modernRevision} {
			progress := make(chan float64, 16)
			s := goSDKClient(t, g.Endpoint, &gosdk.ClientOptions{ProgressNotificationHandler: func(_ context.Context, r *gosdk.ProgressNotificationClientRequest) {
				progress <- r.Params.Progress
			}}, revision)
			for range 2 { // by the broker, then straight through Envoy where the eras are the same
				params := &gosdk.CallToolParams{Name: "everything_echo", Arguments: map[string]any{"message": "héllo"}}
				res, err := s.CallTool(t.Context(), params)
				require.NoError(t, err, revision)
				text, ok := res.Content[0].(*gosdk.TextContent)
				require.True(t, ok)
				assert.Equal(t, "Echo: héllo", text.Text)
				// What the server says in the midst of a call comes through the proxy, too.
				params = &gosdk.CallToolParams{Name: "everything_trigger-long-running-operation", Arguments: map[string]any{"duration": 0.2, "steps": 2}}
				params.SetProgressToken("p")
				_, err = s.CallTool(t.Context(), params)
				require.NoError(t, err, revision)
				for _, want := range []float64{1, 2} {
					select { // the SDK may deliver it after the result
					case got := <-progress:
						assert.InDelta(t, want, got, 0)
					case <-time.After(testbed.Patience):
						t.Fatalf("no progress of %v came", want)
					}
				}
			}
		}
	})
}

// goSDKClient connects a client of the Go SDK.
func goSDKClient(t *testing.T, endpoint string, o *gosdk.ClientOptions, revision ...string) *gosdk.ClientSession {
	t.Helper()
	c := gosdk.NewClient(&gosdk.Implementation{Name: "go-sdk-client", Version: "1"}, o)
	var so *gosdk.ClientSessionOptions
	if len(revision) > 0 {
		so = &gosdk.ClientSessionOptions{ProtocolVersion: revision[0]}
	}
	s, err := c.Connect(t.Context(), &gosdk.StreamableClientTransport{Endpoint: endpoint}, so)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func callAllWithGoSDK(t *testing.T, g *testbed.Gateway) {
	s := goSDKClient(t, g.Endpoint, nil)
	var names []string
	for tool, err := range s.Tools(t.Context(), nil) {
		require.NoError(t, err)
		names = append(names, tool.Name)
	}
	assert.True(t, slices.IsSorted(names), "lists are in one order (Invariant 9): %v", names)
	for _, tt := range realCalls() {
		require.Contains(t, names, tt.tool)
		for _, way := range []string{"first, through the broker", "then, straight through Envoy"} {
			res, err := s.CallTool(t.Context(), &gosdk.CallToolParams{Name: tt.tool, Arguments: tt.args})
			require.NoError(t, err, "%s: %s", tt.tool, way)
			require.NotEmpty(t, res.Content)
			text, ok := res.Content[0].(*gosdk.TextContent)
			require.True(t, ok)
			assert.False(t, res.IsError, text.Text)
			assert.Contains(t, text.Text, tt.want, "%s: %s", tt.tool, way)
		}
	}
}

func callAllWithMCPGo(t *testing.T, g *testbed.Gateway) {
	c, err := client.NewStreamableHttpClient(g.Endpoint, transport.WithHTTPLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.Start(t.Context()))
	_, err = c.Initialize(t.Context(), mcpgo.InitializeRequest{Params: mcpgo.InitializeParams{
		ProtocolVersion: "2025-11-25", ClientInfo: mcpgo.Implementation{Name: "mcp-go-client", Version: "1"},
	}})
	require.NoError(t, err)
	list, err := c.ListTools(t.Context(), mcpgo.ListToolsRequest{})
	require.NoError(t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	for _, tt := range realCalls() {
		require.Contains(t, names, tt.tool)
		for range 2 {
			res, err := c.CallTool(t.Context(), mcpgo.CallToolRequest{Params: mcpgo.CallToolParams{Name: tt.tool, Arguments: tt.args}})
			require.NoError(t, err, tt.tool)
			require.NotEmpty(t, res.Content)
			assert.Contains(t, mcpgo.GetTextFromContent(res.Content[0]), tt.want, tt.tool)
		}
	}
}

// compareDefinitions: what the gateway lists is what the servers list, byte for byte but for the name (Invariants 1, 9).
func compareDefinitions(t *testing.T, g *testbed.Gateway, servers map[string]*testbed.Server) {
	through := definitions(t, testbed.Connect(t, g.Endpoint))
	count := 0
	for name, server := range servers {
		for tool, definition := range definitions(t, connectDirectly(t, server.URL)) {
			count++
			want := strings.Replace(definition, fmt.Sprintf("%q", tool), fmt.Sprintf("%q", name+"_"+tool), 1)
			assert.Equal(t, want, through[name+"_"+tool], "tool %q of server %q", tool, name)
		}
	}
	assert.Len(t, through, count, "no tool is listed that no server has")
}

// connectDirectly opens a session at a server, which may have none.
func connectDirectly(t *testing.T, url string) *testbed.Client {
	t.Helper()
	c := testbed.NewClient(t, url)
	a := c.Post(t, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"direct","version":"1"}}}`)
	require.Equal(t, http.StatusOK, a.Status, a.Body)
	c.Session = a.Header.Get("Mcp-Session-Id")
	c.Post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c
}

// definitions are all tools' definitions as raw JSON, by name, through all pages.
func definitions(t *testing.T, c *testbed.Client) map[string]string {
	t.Helper()
	out := map[string]string{}
	for cursor := ""; ; {
		params := "{}"
		if cursor != "" {
			params = fmt.Sprintf(`{"cursor":%q}`, cursor)
		}
		var page struct {
			Tools      []json.RawMessage
			NextCursor string
		}
		result := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":%s}`, c.NextID(), params)).Result(t)
		require.NoError(t, json.Unmarshal([]byte(result), &page))
		for _, raw := range page.Tools {
			var tool struct{ Name string }
			require.NoError(t, json.Unmarshal(raw, &tool))
			out[tool.Name] = string(raw)
		}
		if cursor = page.NextCursor; cursor == "" {
			return out
		}
	}
}

// answerServerRequests: what servers ask of the client in the midst of a call reaches it and is answered to the server that
// asked, in the first call, which the broker makes, and in the second, which goes straight to the server.
func answerServerRequests(t *testing.T, g *testbed.Gateway, revision string) {
	progress := make(chan float64, 16)
	s := goSDKClient(t, g.Endpoint, &gosdk.ClientOptions{
		ElicitationHandler: func(context.Context, *gosdk.ElicitRequest) (*gosdk.ElicitResult, error) {
			return &gosdk.ElicitResult{Action: "accept", Content: map[string]any{"response": "of the user", "username": "eve", "email": "eve@example.com"}}, nil
		},
		CreateMessageHandler: func(context.Context, *gosdk.CreateMessageRequest) (*gosdk.CreateMessageResult, error) { //nolint:staticcheck // the session-based revisions have it
			return &gosdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &gosdk.TextContent{Text: "of the model"}}, nil //nolint:staticcheck // likewise
		},
		ProgressNotificationHandler: func(_ context.Context, r *gosdk.ProgressNotificationClientRequest) {
			progress <- r.Params.Progress
		},
	}, revision)
	calls := []realCall{
		{"gosdk_test_elicitation", map[string]any{"message": "who?"}, "eve"},
		{"gosdk_test_sampling", map[string]any{"prompt": "say it"}, "of the model"},
	}
	if revision == legacyRevision { // the other one speaks both, and these tools of its refuse clients of the newer one
		calls = append(calls,
			realCall{"mcpgo_test_elicitation", map[string]any{"message": "who?"}, "eve"},
			realCall{"mcpgo_test_sampling", map[string]any{"prompt": "say it"}, "of the model"})
	}
	for _, tt := range calls {
		for range 2 {
			res, err := s.CallTool(t.Context(), &gosdk.CallToolParams{Name: tt.tool, Arguments: tt.args})
			require.NoError(t, err, tt.tool)
			text, err := json.Marshal(res.Content)
			require.NoError(t, err)
			assert.Contains(t, string(text), tt.want, tt.tool)
		}
	}
	for range 2 {
		params := &gosdk.CallToolParams{Name: "gosdk_test_tool_with_progress"}
		params.SetProgressToken("p")
		_, err := s.CallTool(t.Context(), params)
		require.NoError(t, err)
		for _, want := range []float64{0, 50, 100} {
			select { // the SDK may deliver it after the result
			case got := <-progress:
				assert.InDelta(t, want, got, 0)
			case <-time.After(testbed.Patience):
				t.Fatalf("no progress of %v came", want)
			}
		}
	}
}

func readPromptsAndResources(t *testing.T, g *testbed.Gateway) {
	s := goSDKClient(t, g.Endpoint, nil)
	for range 2 {
		prompt, err := s.GetPrompt(t.Context(), &gosdk.GetPromptParams{Name: "time_plan_meeting", Arguments: map[string]string{"here": "Europe/Oslo", "there": "UTC"}})
		require.NoError(t, err)
		text, ok := prompt.Messages[0].Content.(*gosdk.TextContent)
		require.True(t, ok)
		assert.Contains(t, text.Text, "Europe/Oslo")
		resource, err := s.ReadResource(t.Context(), &gosdk.ReadResourceParams{URI: "time://zones/Europe/Oslo"})
		require.NoError(t, err, "the owner is found by template")
		assert.Contains(t, resource.Contents[0].Text, "Europe/Oslo")
		resource, err = s.ReadResource(t.Context(), &gosdk.ReadResourceParams{URI: "time://zones"})
		require.NoError(t, err, "the owner is found by URI")
		assert.Contains(t, resource.Contents[0].Text, "UTC")
	}
}

// resumeCalls: a call outlives its client's connection (Invariant 11), and the client that comes back to its stream finds
// what it has missed.
func resumeCalls(t *testing.T, g *testbed.Gateway) {
	c := testbed.Connect(t, g.Endpoint)
	for _, way := range []string{"through the broker", "straight"} {
		id := c.NextID()
		s := c.Open(t, http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"everything_trigger-long-running-operation",`+
			`"arguments":{"duration":0.6,"steps":3},"_meta":{"progressToken":"token of %s"}}}`, id, way))
		last := ""
		for last == "" {
			last = s.Next(t).ID
		}
		s.Close()
		// This server replays what has been said by now, and does not go on with what it says later.
		testbed.Await(t, "the rest of the call that was made "+way, func() bool {
			resumed := c.Listen(t, "Last-Event-ID", last)
			defer resumed.Close()
			ev, found := resumed.FindWithin(time.Second/4, fmt.Sprintf(`"id":%d`, id))
			return found && strings.Contains(ev.Data, "completed")
		})
	}
}
