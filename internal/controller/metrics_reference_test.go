package controller

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/guicassolato/mcp-gateway/internal/telemetry/metricsdoc"
)

const metricsReference = "../../docs/reference/metrics.md"

// TestMetricsReference: the reference has what the controller serves. UPDATE_REFERENCE=1 makes it anew.
func TestMetricsReference(t *testing.T) {
	m, err := newMetrics()
	require.NoError(t, err)
	m.translations.WithLabelValues("g").Observe(1)
	m.objects.WithLabelValues("g", "MCPServer", "True")
	m.writes.WithLabelValues("ConfigMap")
	m.fits.WithLabelValues("g")
	m.size.WithLabelValues("g")
	families, err := ctrlmetrics.Registry.Gather()
	require.NoError(t, err)
	document, err := os.ReadFile(metricsReference)
	require.NoError(t, err)
	got, err := metricsdoc.Replace(string(document), "controller", metricsdoc.Table(families, "mcp_"))
	require.NoError(t, err)
	if os.Getenv("UPDATE_REFERENCE") != "" {
		require.NoError(t, os.WriteFile(metricsReference, []byte(got), 0o644))
		return
	}
	require.Equal(t, got, string(document), "run UPDATE_REFERENCE=1 go test ./internal/controller -run TestMetricsReference")
}
