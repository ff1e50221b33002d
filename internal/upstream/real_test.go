package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// realServer is a server that others made. It has the tools t0 to t6, one prompt p, one resource r:1 and one template
// r:{id}, in pages of 3.
type realServer struct {
	handler http.Handler
	addTool func(name string)
	stop    func() // ends what the server remembers of its sessions
}

func goSDKServer(opts gosdk.StreamableHTTPOptions) func() realServer {
	return func() realServer {
		srv := gosdk.NewServer(&gosdk.Implementation{Name: "go-sdk", Version: "1"}, &gosdk.ServerOptions{PageSize: 3, Instructions: "Be kind."})
		add := func(name string) {
			srv.AddTool(&gosdk.Tool{Name: name, InputSchema: raw(`{"type":"object"}`)},
				func(_ context.Context, req *gosdk.CallToolRequest) (*gosdk.CallToolResult, error) {
					return &gosdk.CallToolResult{Content: []gosdk.Content{&gosdk.TextContent{Text: string(req.Params.Arguments)}}}, nil
				})
		}
		for i := range 7 {
			add(fmt.Sprintf("t%d", i))
		}
		srv.AddPrompt(&gosdk.Prompt{Name: "p"}, nil)
		srv.AddResource(&gosdk.Resource{Name: "r", URI: "r:1"}, nil)
		srv.AddResourceTemplate(&gosdk.ResourceTemplate{Name: "r", URITemplate: "r:{id}"}, nil)
		stop := func() {
			for session := range srv.Sessions() {
				_ = session.Close()
			}
		}
		return realServer{gosdk.NewStreamableHTTPHandler(func(*http.Request) *gosdk.Server { return srv }, &opts), add, stop}
	}
}

func mcpGoServer(opts ...mcpgoserver.StreamableHTTPOption) func() realServer {
	return func() realServer {
		srv := mcpgoserver.NewMCPServer("mcp-go", "1", mcpgoserver.WithToolCapabilities(true), mcpgoserver.WithPromptCapabilities(true),
			mcpgoserver.WithResourceCapabilities(true, true), mcpgoserver.WithPaginationLimit(3), mcpgoserver.WithInstructions("Be kind."))
		add := func(name string) {
			srv.AddTool(mcpgo.NewTool(name), func(_ context.Context, req mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
				return mcpgo.NewToolResultText(fmt.Sprint(req.GetArguments())), nil
			})
		}
		for i := range 7 {
			add(fmt.Sprintf("t%d", i))
		}
		srv.AddPrompt(mcpgo.NewPrompt("p"), nil)
		srv.AddResource(mcpgo.NewResource("r:1", "r"), nil)
		srv.AddResourceTemplate(mcpgo.NewResourceTemplate("r:{id}", "r"), nil)
		return realServer{mcpgoserver.NewStreamableHTTPServer(srv, opts...), add, func() {}}
	}
}

// TestRealServers: the gateway's worker against servers that nobody made for it.
func TestRealServers(t *testing.T) {
	for name, tc := range map[string]struct {
		start    func() realServer
		sessions bool
	}{
		"go-sdk with event streams":  {goSDKServer(gosdk.StreamableHTTPOptions{}), true},
		"go-sdk with an event store": {goSDKServer(gosdk.StreamableHTTPOptions{EventStore: gosdk.NewMemoryEventStore(nil)}), true},
		"go-sdk with documents":      {goSDKServer(gosdk.StreamableHTTPOptions{JSONResponse: true}), true},
		"go-sdk without sessions":    {goSDKServer(gosdk.StreamableHTTPOptions{Stateless: true}), false},
		"mcp-go":                     {mcpGoServer(mcpgoserver.WithStateful(true)), true},
		"mcp-go without sessions":    {mcpGoServer(mcpgoserver.WithStateLess(true)), false},
	} {
		t.Run(name, func(t *testing.T) {
			real := tc.start()
			defer real.stop()
			var handler atomic.Pointer[http.Handler]
			handler.Store(&real.handler)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load()).ServeHTTP(w, r) }))
			defer srv.Close()
			b := newBoard()
			m := NewManager(ManagerOptions{Logger: testLog(t), Publish: b.publish})
			defer m.Close(context.WithoutCancel(t.Context()))
			m.Apply(&config.Config{Servers: []config.Server{configOf(t, "weather", srv.URL)}})

			st := b.await(t, "weather", isReady)
			assert.Equal(t, []string{"t0", "t1", "t2", "t3", "t4", "t5", "t6"}, names(st, catalog.Tool), "every page (Invariant 9)")
			assert.Equal(t, []string{"p"}, names(st, catalog.Prompt))
			assert.Equal(t, []string{"r:1"}, names(st, catalog.Resource))
			assert.Equal(t, []string{"r:{id}"}, names(st, catalog.Template))
			assert.Equal(t, "Be kind.", st.Listing.Instructions)
			assert.Equal(t, "2025-11-25", st.Listing.Revision)
			assert.Equal(t, tc.sessions, st.Listing.Sessions)
			assert.Empty(t, st.Listing.Problems)

			e := m.Endpoint("weather")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			o, err := e.Open(ctx, raw(`{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}`))
			require.NoError(t, err)
			assert.Equal(t, "2025-06-18", o.Revision)
			result, err := e.Call(ctx, o.Session, "tools/call", raw(`{"name":"t3","arguments":{"n":7}}`))
			require.NoError(t, err)
			assert.Contains(t, string(result), `"type":"text"`)
			require.NoError(t, e.Delete(ctx, o.Session))
			if tc.sessions {
				_, err = e.Call(ctx, o.Session, "tools/list", nil)
				require.ErrorIs(t, err, ErrSessionUnknown)
				awaitStream(t, real, b)
			}

			real.addTool("added")
			if !tc.sessions {
				m.Poke("weather")
			}
			b.await(t, "weather", func(st catalog.State) bool { return slices.Contains(names(st, catalog.Tool), "added") })

			again := tc.start()
			defer again.stop()
			again.addTool("of the next process")
			handler.Store(&again.handler)
			srv.CloseClientConnections()
			m.Poke("weather")
			b.await(t, "weather", func(st catalog.State) bool { return slices.Contains(names(st, catalog.Tool), "of the next process") })
		})
	}
}

// awaitStream waits until the server tells of a change.
func awaitStream(t *testing.T, real realServer, b *board) {
	t.Helper()
	real.addTool("announced")
	b.await(t, "weather", func(st catalog.State) bool { return slices.Contains(names(st, catalog.Tool), "announced") })
}
