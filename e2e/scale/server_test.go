package scale_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// server is an MCP server of 2025-11-25 that keeps sessions and remembers nothing of them but their number. It offers no event stream, so that a stream of
// a client costs no connection here: what is measured is the gateway.
type server struct {
	url                  string
	tools                atomic.Pointer[string] // the result of tools/list
	opened, ended, calls atomic.Int64
}

func startServer(t testing.TB) *server {
	t.Helper()
	s := &server{}
	s.tools.Store(new(`{"tools":[{"name":"tool","inputSchema":{"type":"object"}}]}`))
	address := testbed.FreeAddress(t)
	s.url = "http://" + address + "/mcp"
	testbed.Serve(t, address, s)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
	case http.MethodDelete:
		s.ended.Add(1)
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	if fault != nil || m.Kind == jsonrpc.Request && m.MethodName() != "initialize" && r.Header.Get("Mcp-Session-Id") == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.Kind != jsonrpc.Request {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result := "{}"
	switch m.MethodName() {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", "session-"+strconv.FormatInt(s.opened.Add(1), 10))
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"scale","version":"1"}}`
	case "tools/list":
		result = *s.tools.Load()
	case "tools/call":
		s.calls.Add(1)
		result = `{"content":[{"type":"text","text":"done"}]}`
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID.Of(body), result)
}
