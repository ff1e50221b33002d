package dataplane_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	legacyRevision = "2025-11-25"
	modernRevision = "2026-07-28"
)

// askingSDKServer is a server of the Go SDK that speaks one revision. Its tool "survey" needs to know a name, then a text of the model and the roots.
func askingSDKServer(t *testing.T, revision string) string {
	t.Helper()
	s := gosdk.NewServer(&gosdk.Implementation{Name: "survey-server", Version: "1"}, &gosdk.ServerOptions{SupportedProtocolVersions: []string{revision}})
	tool := &gosdk.Tool{Name: "survey", InputSchema: json.RawMessage(`{"type":"object"}`)}
	if revision == modernRevision {
		s.AddTool(tool, surveyByResults)
	} else {
		s.AddTool(tool, surveyByRequests)
	}
	handler := gosdk.NewStreamableHTTPHandler(func(*http.Request) *gosdk.Server { return s }, &gosdk.StreamableHTTPOptions{Stateless: revision == modernRevision})
	address := testbed.FreeAddress(t)
	testbed.Serve(t, address, handler)
	return "http://" + address + "/mcp"
}

func whoIsIt() *gosdk.ElicitParams {
	return &gosdk.ElicitParams{Message: "Who?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}}}`)}
}

func ofTheModel() *gosdk.CreateMessageParams { //nolint:staticcheck // both revisions have it
	return &gosdk.CreateMessageParams{MaxTokens: 7, Messages: []*gosdk.SamplingMessage{{Role: "user", Content: &gosdk.TextContent{Text: "say it"}}}} //nolint:staticcheck // likewise
}

func told(name any, text string, roots int) *gosdk.CallToolResult {
	return &gosdk.CallToolResult{Content: []gosdk.Content{&gosdk.TextContent{Text: fmt.Sprintf("%v says %q, %d roots", name, text, roots)}}}
}

// surveyByRequests asks in the middle of the call.
func surveyByRequests(ctx context.Context, r *gosdk.CallToolRequest) (*gosdk.CallToolResult, error) {
	who, err := r.Session.Elicit(ctx, whoIsIt())
	if err != nil {
		return nil, err
	}
	text, err := r.Session.CreateMessage(ctx, ofTheModel()) //nolint:staticcheck // the revision has it
	if err != nil {
		return nil, err
	}
	roots, err := r.Session.ListRoots(ctx, nil) //nolint:staticcheck // likewise
	if err != nil {
		return nil, err
	}
	return told(who.Content["name"], text.Content.(*gosdk.TextContent).Text, len(roots.Roots)), nil
}

// surveyByResults asks by results, and remembers nothing.
func surveyByResults(_ context.Context, r *gosdk.CallToolRequest) (*gosdk.CallToolResult, error) {
	answers := r.Params.InputResponses
	if who, ok := answers["who"].(*gosdk.ElicitResult); ok {
		name, _ := who.Content["name"].(string)
		return &gosdk.CallToolResult{RequestState: name, InputRequests: gosdk.InputRequestMap{"text": ofTheModel(), "roots": &gosdk.ListRootsParams{}}}, nil //nolint:staticcheck // likewise
	}
	if text, ok := answers["text"].(*gosdk.CreateMessageWithToolsResult); ok { //nolint:staticcheck // likewise
		roots, _ := answers["roots"].(*gosdk.ListRootsResult) //nolint:staticcheck // likewise
		return told(r.Params.RequestState, text.Content[0].(*gosdk.TextContent).Text, len(roots.Roots)), nil
	}
	return &gosdk.CallToolResult{InputRequests: gosdk.InputRequestMap{"who": whoIsIt()}}, nil
}

// surveyed is a client of the Go SDK that speaks one revision and has an answer to everything.
func surveyed(t *testing.T, endpoint, revision string) *gosdk.ClientSession {
	t.Helper()
	c := gosdk.NewClient(&gosdk.Implementation{Name: "surveyed", Version: "1"}, &gosdk.ClientOptions{
		ElicitationHandler: func(context.Context, *gosdk.ElicitRequest) (*gosdk.ElicitResult, error) {
			return &gosdk.ElicitResult{Action: "accept", Content: map[string]any{"name": "eve"}}, nil
		},
		CreateMessageHandler: func(context.Context, *gosdk.CreateMessageRequest) (*gosdk.CreateMessageResult, error) { //nolint:staticcheck // likewise
			return &gosdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &gosdk.TextContent{Text: "of the model"}}, nil //nolint:staticcheck // likewise
		},
	})
	c.AddRoots(&gosdk.Root{URI: "file:///home"}) //nolint:staticcheck // likewise
	s, err := c.Connect(t.Context(), &gosdk.StreamableClientTransport{Endpoint: endpoint}, &gosdk.ClientSessionOptions{ProtocolVersion: revision})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.Equal(t, revision, s.InitializeResult().ProtocolVersion)
	return s
}

// TestBetweenTheEras: any client calls any server, and whatever the server needs to know in between reaches the client in the way of the client's
// revision, and the answer the server in the way of its own.
func TestBetweenTheEras(t *testing.T) {
	t.Parallel()
	urls := map[string]string{"old": askingSDKServer(t, legacyRevision), "new": askingSDKServer(t, modernRevision)}
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("old", urls["old"]), spec("new", urls["new"])}})
		for _, revision := range []string{legacyRevision, modernRevision} {
			t.Run("client of "+revision, func(t *testing.T) {
				s := surveyed(t, g.Endpoint, revision)
				for _, server := range []string{"old", "new"} {
					for range 2 { // the first call of a session may go another way than those after it
						res, err := s.CallTool(t.Context(), &gosdk.CallToolParams{Name: server + "_survey", Arguments: map[string]any{}})
						require.NoError(t, err, server)
						assert.Equal(t, `eve says "of the model", 1 roots`, res.Content[0].(*gosdk.TextContent).Text, server)
					}
				}
			})
		}
		t.Run("concurrent calls", func(t *testing.T) {
			s := surveyed(t, g.Endpoint, modernRevision)
			results := make(chan string, 20)
			for range 20 {
				go func() {
					res, err := s.CallTool(context.WithoutCancel(t.Context()), &gosdk.CallToolParams{Name: "old_survey", Arguments: map[string]any{}})
					if err != nil {
						results <- err.Error()
						return
					}
					results <- res.Content[0].(*gosdk.TextContent).Text
				}()
			}
			for range 20 {
				assert.Equal(t, `eve says "of the model", 1 roots`, <-results)
			}
		})
		t.Run("nobody to ask", func(t *testing.T) {
			c := testbed.NewStateless(t, g.Endpoint)
			assert.Contains(t, c.Ask(t, "tools/call", `{"name":"old_survey","arguments":{}}`).Message(t), "does not support")
			old := testbed.Connect(t, g.Endpoint)
			assert.NotContains(t, old.Call(t, "new_survey", "{}").Message(t), "eve")
		})
	})
}

// TestEndsBetweenTheEras: what ends a call and what does not is the client's revision's to say, and the server hears of it in the way of its own
// (Invariant 11).
func TestEndsBetweenTheEras(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		step, gone := make(chan struct{}), make(chan struct{}, 1)
		modern := testbed.NewStatelessServer(t, `[{"name":"slow","inputSchema":{"type":"object"}}]`, func(w http.ResponseWriter, r *http.Request) {
			var m struct{ ID json.RawMessage }
			_ = json.NewDecoder(r.Body).Decode(&m) // it was read before
			send := testbed.SSE(w)
			send(`data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"begun"}}` + "\n\n")
			select {
			case <-step:
				send(fmt.Sprintf(`data: {"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"type":"text","text":"done"}]}}`, m.ID) + "\n\n")
			case <-r.Context().Done():
				gone <- struct{}{}
			}
		})
		legacy := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "slow", Call: func(w http.ResponseWriter, c *testbed.Call) {
			testbed.SSE(w)(`data: {"jsonrpc":"2.0","method":"notifications/example"}` + "\n\n")
			<-c.Context().Done()
		}}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("modern", modern.URL), spec("legacy", legacy.URL)}})

		old := testbed.Connect(t, g.Endpoint)
		body, _ := old.ToolCall("modern_slow", "{}")
		s := old.Open(t, http.MethodPost, body)
		last := s.Next(t).ID
		require.NotEmpty(t, last)
		s.Close()
		step <- struct{}{}
		resumed := old.Listen(t, "Last-Event-Id", last)
		assert.Contains(t, resumed.Next(t).Data, "done", "a lost connection cancels nothing")

		body, id := old.ToolCall("modern_slow", "{}")
		s = old.Open(t, http.MethodPost, body)
		s.Next(t)
		assert.Equal(t, http.StatusAccepted, old.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id)).Status)
		testbed.Await(t, "the server to see the end of the call", func() bool { return len(gone) > 0 })

		fresh := testbed.NewStateless(t, g.Endpoint)
		s = fresh.Begin(t, "tools/call", `{"name":"legacy_slow","arguments":{}}`)
		s.Next(t)
		s.Close()
		testbed.Await(t, "the server to be told of the end of the call", func() bool {
			return len(legacy.Calls(fresh.Name, testbed.RPC("notifications/cancelled"))) > 0
		})
	})
}
