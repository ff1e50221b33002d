package dataplane_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// mute takes connections and never says anything.
func mute(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// stopsWithin is far less than the time for draining, and far more than what a busy machine adds to the two seconds that telemetry may take.
const stopsWithin = 6 * time.Second

// TestStopsWithoutCollector: a collector that is away, or does not answer, costs a stopping gateway two seconds at most, and the log tells what was lost. Envoy's
// stream of reports, which has no end, costs it nothing.
func TestStopsWithoutCollector(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(t *testing.T) string{
		"mute": mute, "away": func(t *testing.T) string { return testbed.FreeAddress(t) },
	} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			for _, mode := range []testbed.Mode{testbed.Standalone, testbed.Fed} {
				t.Run(name+"/"+protocol+"/"+string(mode), func(t *testing.T) {
					t.Parallel()
					endpoint := address(t)
					g, client := reporting(t, mode, "OTEL_EXPORTER_OTLP_ENDPOINT=http://user:secret@"+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
					client.Call(t, "u_tool", `{}`).Result(t)
					testbed.Await(t, "the call to be reported", func() bool {
						return strings.Contains(testbed.Get(t, g.Admin+"/metrics").Body, `mcp_server_operation_duration_seconds_count{gen_ai_operation_name="execute_tool"`)
					})
					stops(t, g)
					for _, want := range []string{"telemetry was lost", "what=spans", "what=metrics", "endpoint=http://" + endpoint, "spans="} {
						assert.Contains(t, g.Process.Output(), want)
					}
				})
			}
		}
	}
}

// reporting is a gateway whose Envoy reports calls to it, with a client in a session.
func reporting(t *testing.T, mode testbed.Mode, env ...string) (*testbed.Gateway, *testbed.Client) {
	t.Helper()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u}), Env: env})
	g.AwaitTools(t, "u_tool")
	return g, testbed.Connect(t, g.Endpoint)
}

func stops(t *testing.T, g *testbed.Gateway) {
	t.Helper()
	began := time.Now()
	g.Process.Signal(syscall.SIGTERM)
	assert.Zero(t, g.Process.ExitCode(t))
	took := time.Since(began)
	t.Logf("it took %v to stop", took)
	assert.Less(t, took, stopsWithin)
}

// TestLastReports: the span of a call comes that ended just before the gateway was stopped, while Envoy goes on.
func TestLastReports(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	g, client := reporting(t, testbed.Fed, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL)
	client.Call(t, "u_tool", `{}`, "Traceparent", "00-"+traceOfClient+"-"+spanOfClient+"-01").Result(t)
	c.span(t, traceOfClient, "tools/call u_tool", 1)
	client.Call(t, "u_tool", `{}`, "Traceparent", "00-"+modernTrace+"-"+spanOfClient+"-01").Result(t)
	stops(t, g)
	assert.Len(t, c.span(t, modernTrace, "tools/call u_tool", 1), 1)
	assert.NotContains(t, g.Process.Output(), "telemetry was lost")
}
