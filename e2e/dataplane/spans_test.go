package dataplane_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// spanCase is one request and what its trace must be.
type spanCase struct {
	name string
	ask  func(t *testing.T, c *testbed.Client, traceparent string)
	// span is the name of the gateway's span, attributes are those that it must have beside those of every span.
	span       string
	attributes map[string]string
	// served is how many calls a server gets of the trace.
	served int
}

// slowTool is how long a tool takes, which its span must be longer than.
const slowTool = 30 * time.Millisecond

func spanCases(u *testbed.Upstream) []spanCase {
	call := func(tool string) func(*testing.T, *testbed.Client, string) {
		return func(t *testing.T, c *testbed.Client, traceparent string) {
			c.Call(t, tool, fmt.Sprintf(`{"a":%q}`, secretArgument), "Traceparent", traceparent).Message(t)
		}
	}
	tool := func(status string) map[string]string {
		return map[string]string{
			"mcp.method.name": "tools/call", "gen_ai.tool.name": "u_read", "gen_ai.operation.name": "execute_tool", "mcp.gateway.server": "u", "http.response.status_code": status,
		}
	}
	modern := tool("200")
	modern["mcp.protocol.version"] = "2026-07-28"
	return []spanCase{
		{"the first call, by the broker", func(t *testing.T, c *testbed.Client, traceparent string) {
			testbed.Connect(t, c.Endpoint).Call(t, "u_read", "{}", "Traceparent", traceparent).Result(t)
		}, "tools/call u_read", tool("200"), 1},
		{"straight through Envoy", call("u_read"), "tools/call u_read", tool("200"), 1},
		{"the trace is in the message", func(t *testing.T, c *testbed.Client, traceparent string) {
			c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"u_read","_meta":{"traceparent":%q}}}`, c.NextID(), traceparent)).Result(t)
		}, "tools/call u_read", tool("200"), 1},
		{"made again, since the server has forgotten the session", func(t *testing.T, c *testbed.Client, traceparent string) {
			u.Forget()
			c.Call(t, "u_read", "{}", "Traceparent", traceparent).Result(t)
		}, "tools/call u_read", tool("200"), 2},
		{"translated for the server", func(t *testing.T, c *testbed.Client, traceparent string) {
			testbed.NewStateless(t, c.Endpoint).Ask(t, "tools/call", `{"name":"u_read","arguments":{}}`, "Traceparent", traceparent).Result(t)
		}, "tools/call u_read", modern, 1},
		{"a list of the broker's", func(t *testing.T, c *testbed.Client, traceparent string) {
			c.Post(t, `{"jsonrpc":"2.0","id":"text","method":"tools/list"}`, "Traceparent", traceparent).Result(t)
		}, "tools/list", map[string]string{"mcp.method.name": "tools/list", "jsonrpc.request.id": "text", "http.response.status_code": "200"}, 0},
		{"refused by the router", call("u_none"), "tools/call", map[string]string{"mcp.method.name": "tools/call", "http.response.status_code": "200"}, 0},
		{"a method that there is not", func(t *testing.T, c *testbed.Client, traceparent string) {
			c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"made/up"}`, "Traceparent", traceparent).Error(t)
		}, "_OTHER", map[string]string{"mcp.method.name": "_OTHER", "http.response.status_code": "200"}, 0},
		{"a session that there is not", func(t *testing.T, c *testbed.Client, traceparent string) {
			c.Call(t, "u_read", "{}", "Traceparent", traceparent, "Mcp-Session-Id", "none").Error(t)
		}, "tools/call", map[string]string{"mcp.method.name": "tools/call", "http.response.status_code": "404", "error.type": "404"}, 0},
	}
}

// sampled says of a traceparent's flag and a trace's id whether the trace is kept.
type sampled struct {
	name string
	env  []string
	kept func(flag string, high bool) bool
}

func samplers() []sampled {
	return []sampled{
		{"by default", nil, func(flag string, _ bool) bool { return flag == "01" }},
		{"by half of the ids", []string{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.5"}, func(_ string, high bool) bool { return !high }},
	}
}

// TestSpans: whatever becomes of a request, and whichever adapter asks the router, there is one span of the gateway's, which is all that a real
// collector gets of it: between the client's and the server's, of one name, with the same attributes. What is not to be kept has none anywhere.
func TestSpans(t *testing.T) {
	t.Parallel()
	adapters := []string{"extproc"}
	if testbed.Module() {
		adapters = append(adapters, "module")
	}
	collector := testbed.NewCollector(t)
	for i, adapter := range adapters {
		for j, s := range samplers() {
			t.Run(adapter+", "+s.name, func(t *testing.T) {
				t.Parallel()
				tracesOf(t, collector, 16*i+j, adapter, s) // the number makes its traces its own
			})
		}
	}
}

func tracesOf(t *testing.T, collector *testbed.Collector, number int, adapter string, s sampled) {
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{
		Name: "read", Annotations: `{"readOnlyHint":true}`, Call: func(w http.ResponseWriter, c *testbed.Call) {
			time.Sleep(slowTool)
			c.Text(w, secretResult)
		},
	}}})
	g := testbed.StartGateway(t, testbed.Options{
		Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: []string{"--router=" + adapter},
		Env: append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.HTTP, "OTEL_BSP_SCHEDULE_DELAY=100"}, s.env...),
	})
	g.AwaitTools(t, "u_read")
	client := testbed.Connect(t, g.Endpoint)
	kept := map[string]spanCase{}
	var all []string
	for i, c := range spanCases(u) {
		for j, flag := range []string{"01", "00"} {
			for k, high := range []string{"0", "f"} {
				trace := fmt.Sprintf("%014x%02x%s%015x", i+1, number, high, 2*j+k+1)
				c.ask(t, client, "00-"+trace+"-"+spanOfClient+"-"+flag)
				all = append(all, trace)
				if s.kept(flag, high == "f") {
					kept[trace] = c
				} else if c.served > 0 {
					assertNotKept(t, u, trace)
				}
			}
		}
	}
	of := func() map[string][]testbed.CollectedSpan {
		got := map[string][]testbed.CollectedSpan{}
		for _, span := range collector.Spans(t) {
			if slices.Contains(all, span.TraceID) {
				got[span.TraceID] = append(got[span.TraceID], span)
			}
		}
		return got
	}
	testbed.Await(t, "the spans of all traces that are kept", func() bool { return len(of()) >= len(kept) })
	got := of()
	for trace, c := range kept {
		t.Run(c.name, func(t *testing.T) {
			require.Len(t, got[trace], 1, "a request has one span of the gateway's")
			c.check(t, u, got[trace][0])
		})
	}
	assert.Len(t, got, len(kept), "nothing else is kept")
	assert.NotContains(t, collector.Written(t), "nobody's business")
}

// traceparents are those that a server got with the calls of a trace, in their order.
func traceparents(u *testbed.Upstream, trace string) (out [][]string) {
	for _, call := range u.AllCalls() {
		if parts := strings.Split(call.Header.Get("Traceparent"), "-"); len(parts) == 4 && parts[1] == trace && call.RPC == "tools/call" {
			out = append(out, parts)
		}
	}
	return out
}

func assertNotKept(t *testing.T, u *testbed.Upstream, trace string) {
	t.Helper()
	got := traceparents(u, trace)
	assert.NotEmpty(t, got, "the server is told of the trace all the same")
	for _, parts := range got {
		assert.Equal(t, "00", parts[3], "and that it is not kept")
	}
}

func (c *spanCase) check(t *testing.T, u *testbed.Upstream, span testbed.CollectedSpan) {
	assert.Equal(t, spanOfClient, span.ParentSpanID, "the client's span")
	assert.Equal(t, c.span, span.Name)
	const serverKind = 2
	assert.Equal(t, serverKind, span.Kind)
	got := span.Attributes.Map()
	assert.NotEmpty(t, got["jsonrpc.request.id"])
	want := map[string]string{"jsonrpc.request.id": got["jsonrpc.request.id"], "network.transport": "tcp", "network.protocol.name": "http"}
	for key, value := range c.attributes {
		want[key] = value
	}
	assert.Equal(t, want, got)
	begin, end := nanoseconds(t, span.StartTimeUnixNano), nanoseconds(t, span.EndTimeUnixNano)
	assert.True(t, begin.Before(end))
	served := traceparents(u, span.TraceID)
	assert.Len(t, served, c.served)
	for _, parts := range served {
		assert.Equal(t, []string{"00", span.TraceID, span.SpanID, "01"}, parts, "the gateway's span is the server's parent")
	}
	if c.served > 0 {
		assert.GreaterOrEqual(t, end.Sub(begin), slowTool, "it is as long as the call")
	}
}

func nanoseconds(t *testing.T, text string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return time.Unix(0, n)
}
