package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
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
		assert.Equal(t, tt.traces, SendsTraces(lookup), tt.env)
	}
	for name, value := range map[string]string{"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_TRACES_SAMPLER_ARG": "2", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"} {
		_, _, err := observed(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value})
		require.ErrorContains(t, err, name)
	}
}

// TestBegin: the gateway's span is a new one in the client's trace, kept if the client keeps its own.
func TestBegin(t *testing.T) {
	_, o, err := observed(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"})
	require.NoError(t, err)
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for parent, want := range map[string]string{
		"00-" + id + "-" + span + "-01": "01", "00-" + id + "-" + span + "-00": "00", "01-" + id + "-" + span + "-03-more": "01",
	} {
		parts := strings.Split(o.Begin(parent), "-")
		require.Len(t, parts, 4)
		assert.Equal(t, []string{"00", id, want}, []string{parts[0], parts[1], parts[3]}, parent)
		assert.NotEqual(t, span, parts[2])
	}
	for _, bad := range []string{"", "x", "00-" + id + "-" + span, "ff-" + id + "-" + span + "-01", "00-" + id + "-" + span + "-01-x", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", "00-" + id + "-" + span + "-zz"} {
		begun := o.Begin(bad)
		assert.NotContains(t, begun, id, bad)
		_, ok := parseTraceparent(begun)
		assert.True(t, ok, begun)
	}
	one, other := o.Begin(""), o.Begin("")
	assert.NotEqual(t, one, other)
}

// TestSeriesAreBounded: neither clients' inventions nor a huge catalog make more series than there may be.
func TestSeriesAreBounded(t *testing.T) {
	m, o, err := observed(t, nil)
	require.NoError(t, err)
	assert.False(t, o.Traces())
	for i := range 3 * maxSeries {
		o.Took(Call{Start: time.Now(), Duration: time.Second, Status: 200, Facts: map[string]string{wire.KeyMethod: fmt.Sprintf("made/up/%d", i)}})
	}
	for i := range 3 * maxSeries {
		name := fmt.Sprintf("tool_%d", i)
		o.Took(Call{Start: time.Now(), Duration: time.Second, Status: 200, Facts: map[string]string{wire.KeyMethod: "tools/call", wire.KeyTool: name, wire.KeyPublicName: name, wire.KeyServer: "s"}})
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
		for _, a := range attributesOf(&Call{Status: status, Facts: map[string]string{}}) {
			if a.Key == "error.type" {
				got = a.Value.AsString()
			}
		}
		assert.Equal(t, want, got)
	}
}
