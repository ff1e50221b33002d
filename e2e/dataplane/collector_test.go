package dataplane_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// These tests read what programs got that nobody made for this gateway: OpenTelemetry's collector, and Prometheus. What others take for a span or a
// metric is what counts, not what our own test takes for one.

const (
	secretArgument = "argument that is nobody's business"
	secretResult   = "result that is nobody's business"
)

// watched are two gateways that are looked at, one by each of OTLP's protocols, with servers of all kinds.
type watched struct {
	collector *testbed.Collector
	old       *testbed.Upstream // with sessions
	gateways  map[string]*testbed.Gateway
}

func newWatched(t *testing.T) *watched {
	w := &watched{collector: testbed.NewCollector(t), gateways: map[string]*testbed.Gateway{}}
	w.old = testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool", Call: func(rw http.ResponseWriter, c *testbed.Call) { c.Text(rw, secretResult) }}, {Name: "again"}}})
	servers := []config.ServerSpec{spec("old", w.old.URL), spec("new", greetingServer(t)), spec("dead", "http://"+testbed.FreeAddress(t)+"/mcp")}
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(policies, []byte(`policies: {acl: [{everyone: true, allow: ["*"]}]}`), 0o600))
	env := func(service, protocol, endpoint string) []string {
		return []string{
			"OTEL_SERVICE_NAME=" + service, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol, "OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint,
			"OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=200", "MCP_GATEWAY_SESSION_KEY=" + strings.Repeat("k", 32),
		}
	}
	w.gateways["by-http"] = testbed.StartGateway(t, testbed.Options{Servers: servers, Env: env("by-http", "http/protobuf", w.collector.HTTP)})
	redis := testbed.FreeAddress(t)
	testbed.Redis(t, redis)
	w.gateways["by-grpc"] = testbed.StartGateway(t, testbed.Options{
		Mode: testbed.Fed, Servers: servers, Policies: policies, Store: "redis://" + redis, Env: env("by-grpc", "grpc", w.collector.GRPC),
	})
	for _, g := range w.gateways {
		g.AwaitTools(t, "new_greet", "old_again", "old_tool")
	}
	return w
}

// greetingServer speaks no revision with sessions.
func greetingServer(t *testing.T) string {
	t.Helper()
	return testbed.NewStatelessServer(t, `[{"name":"greet","inputSchema":{"type":"object"}}]`, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var m struct{ ID json.RawMessage }
		_ = json.NewDecoder(r.Body).Decode(&m)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[]}}`, m.ID)
	}).URL
}

// traced makes a call in a trace of its own, as the message's _meta has it, and returns the traceparent that the server got.
func (w *watched) traced(t *testing.T, client *testbed.Client, trace string) string {
	t.Helper()
	before := len(w.old.Calls(client.Name, testbed.RPC("tools/call")))
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"old_tool","arguments":{"a":%q},"_meta":{"traceparent":"00-%s-%s-01"}}}`,
		client.NextID(), secretArgument, trace, spanOfClient)
	assert.Contains(t, client.Post(t, body).Text(t), secretResult)
	calls := w.old.Calls(client.Name, testbed.RPC("tools/call"))
	require.Len(t, calls, before+1)
	return calls[before].Header.Get("Traceparent")
}

// TestRealCollectors: what an OpenTelemetry collector and a Prometheus make of what the gateway sends and serves.
func TestRealCollectors(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(rules, alertsOfTheChart(t), 0o600))
	var targets []string
	for _, g := range w.gateways {
		targets = append(targets, strings.TrimPrefix(g.Admin, "http://"))
	}
	prometheus := testbed.NewPrometheus(t, targets, rules)
	for service, g := range w.gateways {
		client := testbed.Connect(t, g.Endpoint)
		for i, way := range []string{"by the broker", "straight through Envoy"} {
			trace := fmt.Sprintf("%032x", len(service)*1000+len(way)*10+i+int(service[3])) // one for each call
			got := strings.Split(w.traced(t, client, trace), "-")
			require.Len(t, got, 4, "%s, %s", service, way)
			assert.Equal(t, trace, got[1], "one trace from the client to the server")
			w.spanOf(t, service, trace, got[2])
		}
		client.Call(t, "new_greet", "{}").Result(t)
		client.Call(t, "no_tool", "{}").Error(t)
		testbed.NewStateless(t, g.Endpoint).Ask(t, "tools/call", `{"name":"old_tool","arguments":{}}`).Result(t)
		client.Do(t, http.MethodDelete, nil)
		w.untilCounted(t, g)
	}
	t.Run("metrics of the collector", func(t *testing.T) { w.metrics(t) })
	t.Run("metrics of Prometheus", func(t *testing.T) { w.scraped(t, prometheus) })
	t.Run("alerts", func(t *testing.T) { alertsFire(t, prometheus) })
	t.Run("dashboard", func(t *testing.T) { dashboardShows(t, prometheus) })
	t.Run("no arguments and no results", func(t *testing.T) {
		places := map[string]string{"the collector": w.collector.Written(t)}
		for service, g := range w.gateways {
			places["metrics "+service], places["log "+service] = testbed.Get(t, g.Admin+"/metrics").Body, g.Process.Output()
		}
		for place, text := range places {
			assert.NotContains(t, text, "nobody's business", place)
		}
	})
}

// untilCounted calls a server until Envoy has told of it: what comes before its first report may be missing there.
func (w *watched) untilCounted(t *testing.T, g *testbed.Gateway) {
	t.Helper()
	client := testbed.Connect(t, g.Endpoint)
	testbed.Await(t, "Envoy to tell of calls", func() bool {
		client.Call(t, "old_again", "{}").Result(t)
		time.Sleep(100 * time.Millisecond)
		return strings.Contains(testbed.Get(t, g.Admin+"/metrics").Body, `mcp_gateway_server_calls_total{carrier="envoy",result="success",server="old"}`)
	})
}

// spanOf waits for the gateway's span of a call, which is between the client's and the server's.
func (w *watched) spanOf(t *testing.T, service, trace, id string) {
	t.Helper()
	var spans []testbed.CollectedSpan
	testbed.Await(t, "the span of trace "+trace, func() bool {
		spans = slices.DeleteFunc(w.collector.Spans(t), func(s testbed.CollectedSpan) bool { return s.TraceID != trace })
		return len(spans) > 0
	})
	require.Len(t, spans, 1)
	span := spans[0]
	assert.Equal(t, service, span.Service)
	assert.Equal(t, spanOfClient, span.ParentSpanID, "the client's span")
	assert.Equal(t, id, span.SpanID, "what the server got as its parent")
	assert.Equal(t, "tools/call old_tool", span.Name)
	const serverKind = 2
	assert.Equal(t, serverKind, span.Kind)
	got := span.Attributes.Map()
	assert.NotEmpty(t, got["jsonrpc.request.id"])
	delete(got, "jsonrpc.request.id")
	assert.Equal(t, map[string]string{ // of OpenTelemetry's conventions for MCP, but for the gateway's own
		"mcp.method.name": "tools/call", "gen_ai.tool.name": "old_tool", "gen_ai.operation.name": "execute_tool", "network.transport": "tcp",
		"network.protocol.name": "http", "http.response.status_code": "200", "mcp.gateway.server": "old",
	}, got)
}

// metric is a row of the reference.
type metric struct {
	kind   string
	labels []string
}

// referenceMetrics are what docs/reference/metrics.md has of broker and router.
func referenceMetrics(t *testing.T) map[string]metric {
	t.Helper()
	document, err := os.ReadFile("../../docs/reference/metrics.md")
	require.NoError(t, err)
	_, part, _ := strings.Cut(string(document), "<!-- broker and router -->")
	part, _, ok := strings.Cut(part, "<!-- end of broker and router -->")
	require.True(t, ok)
	out := map[string]metric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(mcp_\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(part, -1) {
		m := metric{kind: row[2]}
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1) {
			m.labels = append(m.labels, label[1])
		}
		out[row[1]] = m
	}
	require.Greater(t, len(out), 20)
	return out
}

// conventional are the metrics with names of OpenTelemetry's, by those that Prometheus has for them.
func conventional() map[string]string {
	return map[string]string{
		"mcp_server_operation_duration_seconds": "mcp.server.operation.duration", "mcp_client_operation_duration_seconds": "mcp.client.operation.duration",
		"mcp_server_session_duration_seconds": "mcp.server.session.duration",
	}
}

// metrics: every metric of the reference comes by either protocol, of its kind, with its unit.
func (w *watched) metrics(t *testing.T) {
	reference := referenceMetrics(t)
	shared := regexp.MustCompile(`_(policy|store|adopted|handed_over)_|_adopted_`)
	for service := range w.gateways {
		expected := map[string]metric{}
		for name, want := range reference {
			if service == "by-grpc" || !shared.MatchString(name) { // the other one has neither policies nor other replicas
				expected[cmp.Or(conventional()[name], name)] = want
			}
		}
		var got map[string]testbed.CollectedMetric
		testbed.Await(t, "all metrics of "+service, func() bool {
			got = w.collector.Metrics(t, service)
			for name := range expected {
				if _, ok := got[name]; !ok {
					return false
				}
			}
			return true
		})
		for name, want := range expected {
			m, unit := got[name], ""
			if strings.HasSuffix(name, "duration") { // of the conventions; what Prometheus names has its unit there
				unit = "s"
			}
			assert.Equal(t, unit, m.Unit, name)
			assert.Equal(t, map[string]bool{"gauge": want.kind == "gauge", "counter": want.kind == "counter", "histogram": want.kind == "histogram"},
				map[string]bool{"gauge": m.Gauge != nil, "counter": m.Sum != nil, "histogram": m.Histogram != nil}, name)
		}
		calls := got["mcp.server.operation.duration"].Histogram.DataPoints
		assert.True(t, slices.ContainsFunc(calls, func(p testbed.CollectedPoint) bool {
			a := p.Attributes.Map()
			return a["gen_ai.tool.name"] == "old_tool" && a["mcp.method.name"] == "tools/call" && a["mcp.gateway.server"] == "old" && p.Count == "2"
		}), "%v", calls)
		assert.NotEmpty(t, got["mcp_gateway_sessions"].Resource["service.version"])
	}
}

// scraped: Prometheus finds what the reference has, no more and no less, of the same type and with the same labels.
func (w *watched) scraped(t *testing.T, p *testbed.Prometheus) {
	for service, g := range w.gateways {
		instance := strings.TrimPrefix(g.Admin, "http://")
		testbed.Await(t, "the sessions' durations of "+service+" to be scraped", func() bool {
			return len(p.Query(t, fmt.Sprintf(`mcp_server_session_duration_seconds_count{instance=%q} > 0`, instance))) > 0
		})
		for _, tt := range []struct {
			expr string
			want string
		}{
			{`mcp_server_operation_duration_seconds_count{%s, gen_ai_tool_name="old_tool", mcp_protocol_version=""}`, "2"},
			{`mcp_gateway_translated_calls_total{%s, server_era="sessions", outcome="answered"}`, "1"},
			{`mcp_gateway_translated_calls_total{%s, server_era="stateless", outcome="answered"}`, "1"},
			{`mcp_gateway_server_state{%s, server="dead", state="failing"}`, "1"},
		} {
			expr := fmt.Sprintf(tt.expr, fmt.Sprintf("instance=%q", instance))
			var got []testbed.Sample
			testbed.Await(t, expr, func() bool {
				got = p.Query(t, expr)
				return len(got) == 1 && got[0].Value[1] == tt.want
			})
		}
	}
	reference := referenceMetrics(t)
	var about map[string][]struct{ Type, Help string }
	require.True(t, p.Ask(t, "metadata", &about))
	var found []string
	for name, variants := range about {
		if !strings.HasPrefix(name, "mcp_") {
			continue
		}
		found = append(found, name)
		require.Len(t, variants, 1, name)
		assert.Equal(t, reference[name].kind, variants[0].Type, name)
		assert.NotEmpty(t, variants[0].Help, name)
		series := p.Query(t, fmt.Sprintf(`{__name__=~"%s(_count)?"}`, name))
		assert.NotEmpty(t, series, name)
		for _, s := range series {
			for label := range s.Metric {
				if !slices.Contains([]string{"__name__", "instance", "job", "namespace", "pod"}, label) {
					assert.Contains(t, reference[name].labels, label, name)
				}
			}
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(reference)), found)
	assert.Empty(t, p.Query(t, `up == 0`))
}

// alertsOfTheChart are its rules, as a file of Prometheus' own.
func alertsOfTheChart(t *testing.T) []byte {
	t.Helper()
	file, err := os.Open("../../charts/testdata/golden/observability.yaml")
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	for documents := yaml.NewDecoder(file); ; {
		var object struct {
			Kind string
			Spec struct {
				Groups []any
			}
		}
		require.NoError(t, documents.Decode(&object), "no PrometheusRule is left")
		if object.Kind == "PrometheusRule" {
			out, err := yaml.Marshal(map[string]any{"groups": object.Spec.Groups})
			require.NoError(t, err)
			return out
		}
	}
}

// alertsFire: Prometheus can evaluate every rule of the chart, and sees what is wrong here and nothing else.
func alertsFire(t *testing.T, p *testbed.Prometheus) {
	var got struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	var states map[string]string
	testbed.Await(t, "the alert of the dead server", func() bool {
		states = map[string]string{}
		if !p.Ask(t, "rules?type=alert", &got) {
			return false
		}
		for _, group := range got.Groups {
			for _, rule := range group.Rules {
				states[rule.Name] = rule.Health + rule.LastError + ", " + rule.State
			}
		}
		return states["MCPGatewayServerFailing"] == "ok, pending"
	})
	assert.Greater(t, len(states), 8)
	for name, state := range states {
		want := "ok, inactive"
		if name == "MCPGatewayServerFailing" || name == "MCPGatewayControllerAbsent" { // a server is dead, and there is no controller
			want = "ok, pending"
		}
		assert.Equal(t, want, state, name)
	}
}

// dashboardShows: Prometheus has an answer to every question of the dashboard that is not about the controller.
func dashboardShows(t *testing.T, p *testbed.Prometheus) {
	file, err := os.ReadFile("../../charts/mcp-gateway/charts/observability/files/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(file, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$namespace", ".*", "$__rate_interval", "1m").Replace(target.Expr)
			var got struct{ Result []testbed.Sample }
			require.True(t, p.Ask(t, "query?query="+url.QueryEscape(expr), &got), "%s: %s", panel.Title, expr)
			if !strings.Contains(expr, "mcp_gateway_controller_") && !strings.Contains(expr, `result="error"`) {
				// A rate takes two scrapes.
				testbed.Await(t, panel.Title+": "+expr, func() bool { return len(p.Query(t, expr)) > 0 })
			}
		}
	}
}
