package dataplane_test

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	spanv1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// collector takes what is sent by OTLP.
type collector struct {
	URL string

	mu      sync.Mutex
	spans   []*spanv1.Span
	metrics map[string]bool
	service string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: map[string]bool{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, _ := io.ReadAll(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		var m tracev1.ExportTraceServiceRequest
		if proto.Unmarshal(data, &m) != nil {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		for _, rs := range m.GetResourceSpans() {
			c.service = attribute(rs.GetResource().GetAttributes(), "service.name")
			for _, s := range rs.GetScopeSpans() {
				c.spans = append(c.spans, s.GetSpans()...)
			}
		}
	case "/v1/metrics":
		var m metricsv1.ExportMetricsServiceRequest
		if proto.Unmarshal(data, &m) != nil {
			http.Error(w, "no metrics", http.StatusBadRequest)
			return
		}
		for _, rm := range m.GetResourceMetrics() {
			for _, s := range rm.GetScopeMetrics() {
				for _, metric := range s.GetMetrics() {
					c.metrics[metric.GetName()] = true
				}
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func attribute(list []*commonv1.KeyValue, key string) string {
	for _, kv := range list {
		if kv.GetKey() == key {
			return kv.GetValue().GetStringValue()
		}
	}
	return ""
}

// span waits for one of a name, among those of a trace.
func (c *collector) span(t *testing.T, trace, name string, n int) []*spanv1.Span {
	t.Helper()
	var found []*spanv1.Span
	testbed.Await(t, fmt.Sprintf("%d spans %q of trace %s", n, name, trace), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		found = nil
		for _, s := range c.spans {
			if s.GetName() == name && (trace == "" || hex.EncodeToString(s.GetTraceId()) == trace) {
				found = append(found, s)
			}
		}
		return len(found) >= n
	})
	return found
}

const (
	traceOfClient = "0af7651916cd43dd8448eb211c80319c"
	spanOfClient  = "b7ad6b7169203331"
	otherSpan     = "00f067aa0ba902b7"
	modernTrace   = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// TestTraces: one trace leads from the client, by its message or its header, through the gateway to the server, whoever carries the call.
func TestTraces(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		c := newCollector(t)
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u}), Env: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=200", "OTEL_SERVICE_NAME=my-gateway",
		}})
		g.AwaitTools(t, "u_tool")
		client := testbed.Connect(t, g.Endpoint)
		header := "00-" + traceOfClient + "-" + spanOfClient + "-01"
		for range 2 { // by the broker, then straight through Envoy
			client.Call(t, "u_tool", `{"argument":"do not tell"}`, "Traceparent", header, "Tracestate", "a=b").Result(t)
		}
		calls := u.Calls(client.Name, testbed.RPC("tools/call"))
		require.Len(t, calls, 2)
		spans := c.span(t, traceOfClient, "tools/call u_tool", 2)
		var ids []string
		for _, s := range spans {
			ids = append(ids, hex.EncodeToString(s.GetSpanId()))
			assert.Equal(t, spanOfClient, hex.EncodeToString(s.GetParentSpanId()))
			assert.Equal(t, spanv1.Span_SPAN_KIND_SERVER, s.GetKind())
			for key, want := range map[string]string{"mcp.method.name": "tools/call", "gen_ai.tool.name": "u_tool", "gen_ai.operation.name": "execute_tool", "mcp.gateway.server": "u"} {
				assert.Equal(t, want, attribute(s.GetAttributes(), key), key)
			}
			assert.Greater(t, s.GetEndTimeUnixNano(), s.GetStartTimeUnixNano())
			assert.NotContains(t, s.String(), "do not tell", "arguments are nobody's business")
		}
		for _, call := range calls {
			parts := strings.Split(call.Header.Get("Traceparent"), "-")
			require.Len(t, parts, 4, call.Header)
			assert.Equal(t, traceOfClient, parts[1])
			assert.True(t, slices.Contains(ids, parts[2]), "the server's parent %s is the gateway's own span, one of %v", parts[2], ids)
			assert.Equal(t, "a=b", call.Header.Get("Tracestate"))
		}
		// What the message says counts, and the message stays as it is.
		body := `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"u_tool","arguments":{},"_meta":{"traceparent":"00-` + traceOfClient + "-" + otherSpan + `-01"}}}`
		client.Post(t, body, "Traceparent", "00-ffffffffffffffffffffffffffffffff-"+spanOfClient+"-01").Result(t)
		spans = c.span(t, traceOfClient, "tools/call u_tool", 3)
		assert.Equal(t, otherSpan, hex.EncodeToString(spans[2].GetParentSpanId()))
		calls = u.Calls(client.Name, testbed.RPC("tools/call"))
		assert.Contains(t, string(calls[2].Body), `"_meta":{"traceparent":"00-`+traceOfClient+"-"+otherSpan+`-01"}`)
		// A client without a session, whose call is translated for this server.
		modern := `{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"u_tool","arguments":{},"_meta":{"traceparent":"00-` + modernTrace + "-" + otherSpan +
			`-01","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
		testbed.NewClient(t, g.Endpoint).Post(t, modern, "MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "u_tool").Result(t)
		span := c.span(t, modernTrace, "tools/call u_tool", 1)[0]
		assert.Equal(t, otherSpan, hex.EncodeToString(span.GetParentSpanId()))
		assert.Equal(t, "2026-07-28", attribute(span.GetAttributes(), "mcp.protocol.version"))
		assert.True(t, slices.ContainsFunc(u.AllCalls(), func(call *testbed.Call) bool {
			return call.RPC == "tools/call" && strings.Contains(call.Header.Get("Traceparent"), modernTrace)
		}), "the server is told of the trace")
		// A client that does not want a trace kept is followed; one that says nothing begins one.
		client.Call(t, "u_tool", "{}", "Traceparent", "00-11111111111111111111111111111111-"+spanOfClient+"-00").Result(t)
		client.Post(t, `{"jsonrpc":"2.0","id":3,"method":"tools/list"}`).Result(t)
		c.span(t, "", "tools/list", 1)
		testbed.Await(t, "metrics by their conventional names, and the gateway's own", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.metrics["mcp.server.operation.duration"] && c.metrics["mcp.client.operation.duration"] && c.metrics["mcp_gateway_sessions"]
		})
		c.mu.Lock()
		defer c.mu.Unlock()
		assert.Equal(t, "my-gateway", c.service)
		for _, s := range c.spans {
			assert.NotEqual(t, strings.Repeat("1", 32), hex.EncodeToString(s.GetTraceId()))
		}
	})
}

// TestCallDurations: Prometheus gets the conventional histograms where they are wanted; by default there are none, and a client's trace passes by.
func TestCallDurations(t *testing.T) {
	t.Parallel()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	on := testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: []string{"--envoy-call-reports"}})
	on.AwaitTools(t, "u_tool")
	c := testbed.Connect(t, on.Endpoint)
	for range 3 {
		c.Call(t, "u_tool", "{}").Result(t)
	}
	c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"made/up"}`)
	c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"made/up/again"}`)
	labels := `gen_ai_operation_name="execute_tool",gen_ai_tool_name="u_tool",mcp_gateway_server="u",mcp_method_name="tools/call",network_protocol_name="http",network_transport="tcp"`
	var got string
	testbed.Await(t, "every call", func() bool {
		got = testbed.Get(t, on.Admin+"/metrics").Body
		return strings.Contains(got, "mcp_server_operation_duration_seconds_count{"+labels+"} 3") && strings.Contains(got, `mcp_method_name="_OTHER",network_protocol_name="http",network_transport="tcp"} 2`)
	})
	assert.Contains(t, got, "mcp_client_operation_duration_seconds_count{"+labels+"} 2", "the first call was the broker's")
	assert.NotContains(t, got, "made/up")
	c.Do(t, http.MethodDelete, nil)
	testbed.Await(t, "the session to have been measured", func() bool {
		return strings.Contains(testbed.Get(t, on.Admin+"/metrics").Body, `mcp_server_session_duration_seconds_count{mcp_protocol_version="2025-11-25"`)
	})

	u = testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	off := testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u})})
	off.AwaitTools(t, "u_tool")
	c = testbed.Connect(t, off.Endpoint)
	header := "00-" + traceOfClient + "-" + spanOfClient + "-01"
	for range 2 {
		c.Call(t, "u_tool", "{}", "Traceparent", header).Result(t)
	}
	for _, call := range u.Calls(c.Name, testbed.RPC("tools/call")) {
		assert.Equal(t, header, call.Header.Get("Traceparent"))
	}
	assert.NotContains(t, testbed.Get(t, off.Admin+"/metrics").Body, "operation_duration")
}
