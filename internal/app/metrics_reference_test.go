package app

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/telemetry/metricsdoc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const metricsReference = "../../docs/reference/metrics.md"

// TestMetricsReference: the reference has what broker and router serve; this test makes it anew with -update.
func TestMetricsReference(t *testing.T) {
	var snap *catalog.Snapshot
	m := telemetry.NewMetrics("1", telemetry.Sources{
		Snapshot: func() *catalog.Snapshot { return snap }, Sessions: func() int { return 1 },
		Calls: func() map[string]telemetry.Calls { return map[string]telemetry.Calls{"a": {}} },
	})
	snap = catalog.Build(catalog.Input{
		Servers: []config.Server{{Name: "a", Enabled: true}}, Counting: catalog.Counting{Set: m.Tools().Set()},
		States: map[string]catalog.State{"a": {Health: catalog.HealthReady, Listing: &catalog.Listing{Items: [4][]json.RawMessage{{json.RawMessage(`{"name":"x"}`)}}}}},
	})
	snap.Tool("a", "x").Calls.Called(1)
	observed, err := m.NewObserved(t.Context(), "1", func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	for _, prompt := range []bool{false, true} {
		for _, status := range []int{http.StatusOK, http.StatusForbidden} {
			kind := callreport.Kind{Method: "tools/call", Revision: "2026-07-28", Server: "a", PublicName: "x"}
			if prompt {
				kind.Prompt = "x"
			} else {
				kind.Tool = "x"
			}
			observed.Took(&telemetry.Call{Start: time.Now(), Duration: 1, Upstream: 1, Status: status, Kind: kind})
		}
	}
	observed.SessionEnded(time.Second, wire.LatestSession)
	m.Listed("a")
	m.Called("a", nil)(http.StatusOK)
	m.Router().Decided("server", 0)
	m.Policies().Taken(time.Now(), 1)
	m.Replicas()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	byName, err := parser.TextToMetricFamilies(rec.Body)
	require.NoError(t, err)
	var families []*dto.MetricFamily
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		families = append(families, byName[name])
	}
	heldTo(t, metricsReference, "broker and router", metricsdoc.Table(families, "mcp_"))
}

// heldTo compares a part of a document, or makes it anew.
func heldTo(t *testing.T, path, part, want string) {
	t.Helper()
	document, err := os.ReadFile(path)
	require.NoError(t, err)
	got, err := metricsdoc.Replace(string(document), part, want)
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	require.Equal(t, got, string(document), "run go test ./internal/app -run TestMetricsReference -update")
}
