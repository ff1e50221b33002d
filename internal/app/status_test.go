package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

func aStatus() *admin.Status {
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	refused := []admin.Refusal{{Type: "Cluster", Name: "late", Message: "no such thing"}}
	return &admin.Status{
		Version: "1.2.3", Ready: true, Endpoint: "https://mcp.example.com/mcp", Sessions: 2, Streams: 1,
		Config: admin.Config{File: "c.yaml", Problems: []string{"c.yaml:1:1: unknown key"}},
		Servers: []admin.Server{
			{Name: "weather", State: "ready", Programmed: true, Since: at.Add(-90 * time.Minute), Revisions: []string{"2026-07-28", "2025-11-25"}, Tools: 2, URL: "http://w/mcp", Discovered: at, DiscoverySeconds: 0.0123, Load: &admin.Load{Active: 3, Rate: 1.25}},
			{Name: "late", State: "ready", Since: at.Add(-5 * time.Second), URL: "http://l/mcp", Load: &admin.Load{}},
			{Name: "dead", State: "failing", LastError: "connection\nrefused\x1b[2J", Advice: "Check it.", URL: "http://d/mcp", Load: &admin.Load{}},
		},
		VirtualServers: []admin.VirtualServer{{Name: "storms", Path: "/mcp/storms", Tools: 1}},
		Problems:       []catalog.Problem{{Server: "late", Kind: "tool", Name: "x", Message: "is taken"}},
		Tools:          []admin.Tool{{Name: "weather_x", Server: "weather", Hints: "readOnly=true", Hash: "sha256:0123", ToolCalls: admin.ToolCalls{Calls: 40, Rate: 1.25, Open: 2, Failed: 1}}},
		ToolCalls:      admin.Known{Open: admin.AllCalls, Failed: admin.AllCalls},
		Prompts:        []admin.Item{{Name: "p", Server: "weather"}},
		Envoys:         &[]admin.Envoy{{Node: "edge-1", Build: "envoy 1.40.0", ConnectedSince: at.Add(-72 * time.Hour), Serving: true, Refused: refused}},
	}
}

func TestStatusText(t *testing.T) {
	got := statusText(aStatus(), true, time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC))
	var lines []string
	for line := range strings.Lines(got) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	assert.Equal(t, `MCP Gateway 1.2.3 is ready: https://mcp.example.com/mcp
1 tool, 2 sessions, 1 open stream, 0 calls at the broker

SERVER   STATE            SINCE  REVISION               TOOLS  LAST READ  URL           CALLS NOW  CALLS/S
weather  ready            1h     2026-07-28 2025-11-25  2      12ms       http://w/mcp  3          1.2
late     waits for Envoy  5s     -                      0      -          http://l/mcp  0          0.0
dead     failing          -      -                      0      -          http://d/mcp  0          0.0

VIRTUAL SERVER  PATH         TOOLS  PROMPTS  RESOURCES
storms          /mcp/storms  1      0        0

ENVOY   BUILD         CONNECTED  SERVES  REFUSED
edge-1  envoy 1.40.0  3d         yes     1

configuration: c.yaml:1:1: unknown key
  The one before it stays in force.

server dead: connection refused [2J
  Check it.

Envoy edge-1 refuses Cluster late: no such thing

server late tool x: is taken

KIND    NAME       SERVER   CALLS  CALLS/S  CALLS NOW  FAILED  HINTS          HASH
tool    weather_x  weather  40     1.2      2          1       readOnly=true  sha256:0123
prompt  p          weather`, strings.Join(lines, "\n"))
}

// TestStatusTextOfPolicies: no values before help a gateway that never had the issuer's keys.
func TestStatusTextOfPolicies(t *testing.T) {
	st := aStatus()
	st.Policies = &admin.Policies{Problems: []string{"p.yaml:1:1: unknown key", "the keys of the issuer: no such host"}}
	text := statusText(st, false, time.Now())
	assert.Contains(t, text, "policies: p.yaml:1:1: unknown key\n  The values before them stay in force. Correct them: they are read again at once.\n")
	assert.Contains(t, text, "policies: the keys of the issuer: no such host\n  Until they are had, no token can be verified")
	st.Policies.Keys = 1
	assert.Contains(t, statusText(st, false, time.Now()), "no such host\n  The keys that it had stay in force.")
}

// TestStatusTextWithoutEnvoysWord: where no Envoy tells of calls, there are those of the broker. Of these alone it is not told how many failed.
func TestStatusTextWithoutEnvoysWord(t *testing.T) {
	st := aStatus()
	for i := range st.Servers {
		st.Servers[i].Load, st.Servers[i].Carried = nil, uint64(4+i) //nolint:gosec // it is small
	}
	text := statusText(st, false, time.Now())
	assert.Regexp(t, `(?m)^SERVER .* URL +AT BROKER$`, text)
	assert.Regexp(t, `(?m)^weather .* http://w/mcp +4$`, text)
	st.ToolCalls = admin.Known{Open: admin.BrokersCalls, Failed: admin.BrokersCalls}
	text = statusText(st, true, time.Now())
	assert.Regexp(t, `(?m)^KIND +NAME +SERVER +CALLS +CALLS/S +AT BROKER +HINTS +HASH$`, text)
	assert.Regexp(t, `(?m)^tool +weather_x +weather +40 +1.2 +2 +readOnly=true +sha256:0123$`, text)
}

func TestStatusCommand(t *testing.T) {
	st := aStatus()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(st) }))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	stdout, _, err := run(t, "status", "--admin-address", address)
	require.NoError(t, err)
	assert.Contains(t, stdout, "MCP Gateway 1.2.3 is ready")
	assert.NotContains(t, stdout, "weather_x")

	st.Ready, st.NotReady = false, []string{"the process is stopping"}
	stdout, _, err = run(t, "status", "--admin-address", address, "-o", "json")
	require.EqualError(t, err, "the gateway is not ready: the process is stopping")
	assert.Equal(t, 1, ExitCode(err))
	var again admin.Status
	require.NoError(t, json.Unmarshal([]byte(stdout), &again))
	assert.Equal(t, *st, again)

	_, _, err = run(t, "status", "-o", "yaml")
	require.EqualError(t, err, `--output "yaml": want table or json`)
	_, _, err = run(t, "status", "--admin-address", "127.0.0.1:1")
	require.ErrorContains(t, err, "cannot ask the gateway at 127.0.0.1:1")
}

// TestCompletion: shells are told of commands and of values.
func TestCompletion(t *testing.T) {
	stdout, _, err := run(t, "completion", "bash")
	require.NoError(t, err)
	assert.Contains(t, stdout, "mcp-broker-router")
	stdout, _, err = run(t, "__complete", "status", "--output", "")
	require.NoError(t, err)
	assert.Contains(t, stdout, "json")
	stdout, _, err = run(t, "__complete", "--log-level", "")
	require.NoError(t, err)
	assert.Contains(t, stdout, "debug")
}
