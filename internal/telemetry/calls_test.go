package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
)

func observed(t *testing.T, env map[string]string) (*Metrics, *Observed, error) {
	t.Helper()
	m := NewMetrics("1", Sources{Snapshot: func() *catalog.Snapshot { return nil }, Sessions: func() int { return 0 }})
	o, err := m.NewObserved(t.Context(), "1", func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	return m, o, err
}

// TestSends: nothing is sent that was not asked for.
func TestSends(t *testing.T) {
	for _, tt := range []struct {
		env             string
		metrics, traces bool
	}{
		{"", false, false},
		{"OTEL_TRACES_EXPORTER=otlp", false, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c", true, true},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_TRACES_EXPORTER=none", true, false},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c", false, true},
		{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://c", true, false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://c OTEL_SDK_DISABLED=true", false, false},
	} {
		env := map[string]string{}
		for _, one := range strings.Fields(tt.env) {
			name, value, _ := strings.Cut(one, "=")
			env[name] = value
		}
		lookup := otelEnv(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
		assert.Equal(t, tt.metrics, lookup.sends("METRICS"), tt.env)
		assert.Equal(t, tt.traces, lookup.sends("TRACES"), tt.env)
		assert.Equal(t, tt.metrics || tt.traces, SendsOTLP(lookup), tt.env)
	}
	for name, value := range map[string]string{"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_TRACES_SAMPLER_ARG": "NaN", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"} {
		_, _, err := observed(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value})
		require.ErrorContains(t, err, name)
	}
}

// TestSampling: routers are told what the environment says, of which the default follows the client and keeps what no client has decided on.
func TestSampling(t *testing.T) {
	for env, want := range map[string]tracecontext.Sampling{
		"":                                   {On: true, FollowParent: true, Ratio: 1},
		"parentbased_always_on":              {On: true, FollowParent: true, Ratio: 1},
		"parentbased_always_off .5":          {On: true, FollowParent: true},
		"parentbased_traceidratio":           {On: true, FollowParent: true, Ratio: 1},
		"parentbased_traceidratio 0.25":      {On: true, FollowParent: true, Ratio: .25},
		"always_on":                          {On: true, Ratio: 1},
		"always_off":                         {On: true},
		"traceidratio 0":                     {On: true},
		"traceidratio 1e-3":                  {On: true, Ratio: 1e-3},
		"none, since metrics alone are sent": {},
	} {
		name, arg, _ := strings.Cut(env, " ")
		vars := map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": arg}
		if name == "none," {
			vars = map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"}
		}
		_, o, err := observed(t, vars)
		require.NoError(t, err, env)
		assert.Equal(t, want, o.Sampling(), env)
	}
	assert.False(t, (*Observed)(nil).Sampling().On, "where nothing is observed, nobody wants traces")
}

// TestSeriesAreBounded: neither clients' inventions nor a huge catalog make more series than there may be.
func TestSeriesAreBounded(t *testing.T) {
	m, o, err := observed(t, nil)
	require.NoError(t, err)
	for i := range 3 * maxSeries {
		o.Took(&Call{Start: time.Now(), Duration: time.Second, Status: 200, Kind: callreport.Kind{Method: fmt.Sprintf("made/up/%d", i)}})
	}
	for i := range 3 * maxSeries {
		name := fmt.Sprintf("tool_%d", i)
		o.Took(&Call{Start: time.Now(), Duration: time.Second, Status: 200, Kind: callreport.Kind{Method: "tools/call", Tool: name, PublicName: name, Server: "s"}})
	}
	families, err := m.histograms.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	assert.LessOrEqual(t, len(families[0].GetMetric()), maxSeries)
}

// TestErrorTypes: what went wrong is told by a word of which there are few.
func TestErrorTypes(t *testing.T) {
	for status, want := range map[int]string{0: "cancelled", 200: "", 202: "", 403: "403", 503: "503"} {
		got := ""
		for _, a := range attributesOf(&Call{Status: status}) {
			if a.Key == "error.type" {
				got = a.Value.AsString()
			}
		}
		assert.Equal(t, want, got)
	}
}
