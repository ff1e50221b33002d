package telemetry

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, rec.Code)
	var own []string
	for line := range strings.Lines(rec.Body.String()) {
		if strings.HasPrefix(line, namespace) {
			own = append(own, strings.TrimSpace(line))
		}
	}
	return strings.Join(own, "\n")
}

func TestMetrics(t *testing.T) {
	snap := catalog.Build(catalog.Input{
		Servers: []config.Server{{Name: "a", Enabled: true}, {Name: "b"}},
		States: map[string]catalog.State{"a": {Health: catalog.HealthReady, Listing: &catalog.Listing{
			Items: [4][]json.RawMessage{{json.RawMessage(`{"name":"x"}`), json.RawMessage(`{"name":"y"}`), json.RawMessage(`{"name":"x"}`)}},
		}}},
	})
	m := NewMetrics("1.2.3", Sources{
		Snapshot: func() *catalog.Snapshot { return snap }, Sessions: func() int { return 7 },
		Calls: func() map[string]Calls { return map[string]Calls{"a": {Active: 1, Succeeded: 2, Failed: 3}} },
	})
	m.ConfigTaken(time.UnixMilli(1500))
	m.ConfigRefused()
	m.Listed("a")
	m.Listed("a")
	m.Listed("gone")
	m.Called("gone", nil)
	m.Forget("gone")
	m.Called("a", nil)
	m.Called("a", nil)(200)
	m.Called("a", nil)(503)
	m.Called("a", nil)(0)
	m.Router().Decided("server", 0)
	m.Router().Decided("server", 0)
	m.Router().Decided("reply", 404)
	m.Router().Decided("reply", 9999)
	m.Router().Decided("else", 0)
	m.Router().Fault()
	m.Translated("sessions", "answered")
	assert.Equal(t, strings.TrimSpace(`
mcp_gateway_build_info{version="1.2.3"} 1
mcp_gateway_catalog_items{kind="prompt"} 0
mcp_gateway_catalog_items{kind="resource"} 0
mcp_gateway_catalog_items{kind="template"} 0
mcp_gateway_catalog_items{kind="tool"} 2
mcp_gateway_catalog_problems 1
mcp_gateway_config_last_success_timestamp_seconds 1.5
mcp_gateway_config_reloads_total{result="failure"} 1
mcp_gateway_config_reloads_total{result="success"} 1
mcp_gateway_config_valid 0
mcp_gateway_router_decisions_total{outcome="else",status=""} 1
mcp_gateway_router_decisions_total{outcome="reply",status=""} 1
mcp_gateway_router_decisions_total{outcome="reply",status="404"} 1
mcp_gateway_router_decisions_total{outcome="server",status=""} 2
mcp_gateway_router_faults_total 1
mcp_gateway_server_calls_active{carrier="broker",server="a"} 1
mcp_gateway_server_calls_active{carrier="envoy",server="a"} 1
mcp_gateway_server_calls_total{carrier="broker",result="error",server="a"} 1
mcp_gateway_server_calls_total{carrier="broker",result="success",server="a"} 1
mcp_gateway_server_calls_total{carrier="envoy",result="error",server="a"} 3
mcp_gateway_server_calls_total{carrier="envoy",result="success",server="a"} 2
mcp_gateway_server_state{server="a",state="connecting"} 0
mcp_gateway_server_state{server="a",state="disabled"} 0
mcp_gateway_server_state{server="a",state="failing"} 0
mcp_gateway_server_state{server="a",state="ready"} 1
mcp_gateway_server_state{server="b",state="connecting"} 0
mcp_gateway_server_state{server="b",state="disabled"} 1
mcp_gateway_server_state{server="b",state="failing"} 0
mcp_gateway_server_state{server="b",state="ready"} 0
mcp_gateway_sessions 7
mcp_gateway_translated_calls_total{outcome="abandoned",server_era="sessions"} 0
mcp_gateway_translated_calls_total{outcome="abandoned",server_era="stateless"} 0
mcp_gateway_translated_calls_total{outcome="answered",server_era="sessions"} 1
mcp_gateway_translated_calls_total{outcome="answered",server_era="stateless"} 0
mcp_gateway_translated_calls_total{outcome="failed",server_era="sessions"} 0
mcp_gateway_translated_calls_total{outcome="failed",server_era="stateless"} 0
mcp_gateway_upstream_listings_total{server="a"} 2
`), scrape(t, m))
	m.ConfigRecovered()
	assert.Contains(t, scrape(t, m), "mcp_gateway_config_valid 1")
}

// TestPolicyMetrics: they are there only where there are policies.
func TestPolicyMetrics(t *testing.T) {
	m := NewMetrics("1", Sources{Snapshot: func() *catalog.Snapshot { return nil }, Sessions: func() int { return 0 }})
	assert.NotContains(t, scrape(t, m), "policy")
	m.Policies().Taken(time.UnixMilli(1500), 1)
	m.Policies().Taken(time.UnixMilli(2500), 2)
	m.Policies().Refused()
	for _, want := range []string{
		`mcp_gateway_policy_generation 2`, `mcp_gateway_policy_last_success_timestamp_seconds 2.5`, `mcp_gateway_policy_valid 0`,
		`mcp_gateway_policy_reloads_total{result="failure"} 1`, `mcp_gateway_policy_reloads_total{result="success"} 2`,
	} {
		assert.Contains(t, scrape(t, m), want)
	}
	m.Policies().Recovered()
	assert.Contains(t, scrape(t, m), "mcp_gateway_policy_valid 1")
}

// TestReplicaMetrics: a replica that is alone has none of them, and one that is not has all of them from the beginning.
func TestReplicaMetrics(t *testing.T) {
	m := NewMetrics("1", Sources{Snapshot: func() *catalog.Snapshot { return nil }, Sessions: func() int { return 0 }})
	for _, name := range []string{"store", "adopted", "handed_over"} {
		assert.NotContains(t, scrape(t, m), name)
	}
	m.Replicas().HandedOver(false)
	m.Replicas().Adopted()
	m.Replicas().Operated("load", 3*time.Millisecond, io.EOF)
	for _, want := range []string{
		`mcp_gateway_requests_handed_over_total{result="failure"} 1`, `mcp_gateway_requests_handed_over_total{result="success"} 0`, `mcp_gateway_sessions_adopted_total 1`,
		`mcp_gateway_store_operation_duration_seconds_bucket{operation="load",le="0.005"} 1`, `mcp_gateway_store_operation_duration_seconds_bucket{operation="load",le="0.0025"} 0`,
		`mcp_gateway_store_operation_errors_total{operation="load"} 1`, `mcp_gateway_store_operation_errors_total{operation="publish"} 0`, `mcp_gateway_store_subscriptions_total 0`,
	} {
		assert.Contains(t, scrape(t, m), want)
	}
}

// The router counts every request.
func TestCountingAllocatesNothing(t *testing.T) {
	m := newRouterMetrics()
	m.Decided("broker", 0)
	m.Decided("reply", http.StatusNotFound)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		m.Decided("broker", 0)
		m.Decided("reply", http.StatusNotFound)
		m.Fault()
	}))
}

func TestLogger(t *testing.T) {
	tests := map[string]struct {
		level, format string
		want          string
	}{
		"text":           {"info", "text", "level=INFO msg=told server=a\nlevel=ERROR msg=failed\n"},
		"json":           {"error", "json", `{"level":"ERROR","msg":"failed"}` + "\n"},
		"all of it":      {"debug", "json", `{"level":"DEBUG","msg":"detail"}` + "\n" + `{"level":"INFO","msg":"told","server":"a"}` + "\n" + `{"level":"ERROR","msg":"failed"}` + "\n"},
		"less than info": {"warn", "text", "level=ERROR msg=failed\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			l, err := NewLogger(&out, tt.level, tt.format)
			require.NoError(t, err)
			l.Debug("detail")
			l.Info("told", "server", "a")
			l.Error("failed")
			assert.Equal(t, tt.want, withoutTimes(out.String()))
		})
	}
}

// withoutTimes takes off what differs from run to run, which must be there.
func withoutTimes(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		if rest, ok := strings.CutPrefix(line, "time="); ok {
			_, line, _ = strings.Cut(rest, " ")
		} else if rest, ok := strings.CutPrefix(line, `{"time":"`); ok {
			_, rest, _ = strings.Cut(rest, `",`)
			line = "{" + rest
		}
		out.WriteString(line)
	}
	return out.String()
}

func TestLoggerRefuses(t *testing.T) {
	_, err := NewLogger(io.Discard, "loud", "text")
	require.EqualError(t, err, `unknown log level "loud": want debug, info, warn or error`)
	_, err = NewLogger(io.Discard, "info", "xml")
	require.EqualError(t, err, `unknown log format "xml": want text or json`)
}
