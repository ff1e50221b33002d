package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// realServer is a server that others made, with a tool "echo". addTool has it tell of a changed list.
type realServer struct {
	handler http.Handler
	addTool func(name string)
	stop    func()
}

func goSDKServer(opts gosdk.StreamableHTTPOptions) func() realServer {
	return func() realServer {
		srv := gosdk.NewServer(&gosdk.Implementation{Name: "go-sdk", Version: "1"}, nil)
		add := func(name string) {
			srv.AddTool(&gosdk.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)},
				func(ctx context.Context, req *gosdk.CallToolRequest) (*gosdk.CallToolResult, error) {
					if token := req.Params.GetProgressToken(); token != nil {
						_ = req.Session.NotifyProgress(ctx, &gosdk.ProgressNotificationParams{ProgressToken: token, Progress: 1})
					}
					return &gosdk.CallToolResult{Content: []gosdk.Content{&gosdk.TextContent{Text: string(req.Params.Arguments)}}}, nil
				})
		}
		add("echo")
		stop := func() {
			for session := range srv.Sessions() {
				_ = session.Close()
			}
		}
		return realServer{gosdk.NewStreamableHTTPHandler(func(*http.Request) *gosdk.Server { return srv }, &opts), add, stop}
	}
}

func mcpGoServer() realServer {
	srv := mcpgoserver.NewMCPServer("mcp-go", "1", mcpgoserver.WithToolCapabilities(true))
	add := func(name string) {
		srv.AddTool(mcpgo.NewTool(name), func(ctx context.Context, req mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			if meta := req.Params.Meta; meta != nil && meta.ProgressToken != nil {
				_ = srv.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": meta.ProgressToken, "progress": 1})
			}
			text, _ := json.Marshal(req.GetArguments())
			return mcpgo.NewToolResultText(string(text)), nil
		})
	}
	add("echo")
	return realServer{mcpgoserver.NewStreamableHTTPServer(srv, mcpgoserver.WithStateful(true)), add, func() {}}
}

// TestRealServers: the broker in front of servers that nobody made for it.
func TestRealServers(t *testing.T) {
	for name, start := range map[string]func() realServer{
		"go-sdk with event streams":  goSDKServer(gosdk.StreamableHTTPOptions{}),
		"go-sdk with an event store": goSDKServer(gosdk.StreamableHTTPOptions{EventStore: gosdk.NewMemoryEventStore(nil)}),
		"go-sdk with documents":      goSDKServer(gosdk.StreamableHTTPOptions{JSONResponse: true}),
		"mcp-go":                     mcpGoServer,
	} {
		t.Run(name, func(t *testing.T) {
			real := start()
			defer func() { real.stop() }()
			var handler atomic.Pointer[http.Handler]
			handler.Store(&real.handler)
			var opened atomic.Int32
			f := setup{servers: []server{{
				name: "real", listing: catalog.Listing{Sessions: true, Capabilities: json.RawMessage(`{"tools":{"listChanged":true}}`)},
				handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Mcp-Session-Id") == "" {
						opened.Add(1)
					}
					(*handler.Load()).ServeHTTP(w, r)
				}),
			}}}.start(t)
			token := f.initialize()
			e := f.listen(token)
			call := func(id, meta string) string {
				t.Helper()
				a := f.do(request{session: token, server: "real", body: `{"jsonrpc":"2.0","id":` + id +
					`,"method":"tools/call","params":{"name":"echo","arguments":{"city":"Málaga"}` + meta + `}}`})
				require.Equal(t, http.StatusOK, a.status, a.body)
				assert.Contains(t, a.body, `{\"city\":\"Málaga\"}`)
				assert.Contains(t, a.body, `"id":`+id)
				return a.body
			}
			call("1", "")
			call(`"two"`, "")
			assert.EqualValues(t, 1, opened.Load())
			body := call("3", `,"_meta":{"progressToken":"p"}`)
			if strings.HasPrefix(name, "go-sdk with event") { // the other ones send it elsewhere or not at all
				assert.Contains(t, body, "notifications/progress")
			}

			real.addTool("another")
			assert.Equal(t, "real", await(t, f.poked), "its list_changed is for the gateway")

			again := start()
			handler.Store(&again.handler)
			real.stop()
			real = again
			call("4", "")
			assert.EqualValues(t, 2, opened.Load(), "forgotten by the next process, opened again")
			e.close()

			s, err := f.sessions.Lookup(token)
			require.NoError(t, err)
			be, ok := s.Backend("real", f.snapshot.Load().Server("real").Fingerprint)
			require.True(t, ok)
			assert.Equal(t, http.StatusNoContent, f.do(request{method: http.MethodDelete, session: token}).status)
			body = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
			require.Eventually(t, func() bool {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://%s/mcp", f.config[0].Address()), strings.NewReader(body))
				if err != nil {
					return false
				}
				req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Mcp-Session-Id": {be.ID}}
				resp, err := f.client.Do(req)
				if err != nil {
					return false
				}
				_ = resp.Body.Close()
				return resp.StatusCode == http.StatusNotFound
			}, patience, time.Millisecond, "the server's session is over")
		})
	}
}
