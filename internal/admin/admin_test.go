package admin

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to make it")
	assert.Equal(t, string(want), got)
}

func moment(second int) time.Time { return time.Date(2026, 9, 1, 12, 0, second, 0, time.UTC) }

func messages(texts ...string) []json.RawMessage {
	var out []json.RawMessage
	for _, text := range texts {
		out = append(out, json.RawMessage(text))
	}
	return out
}

// busy is a gateway in which everything occurs once.
func busy() Options {
	snap := catalog.Build(catalog.Input{
		Servers: []config.Server{
			{Name: "weather", Enabled: true, ToolPrefix: "weather_"},
			{Name: "team/time", Enabled: true},
			{Name: "late", Enabled: true},
			{Name: "off"},
		},
		States: map[string]catalog.State{
			"weather": {Health: catalog.HealthReady, Since: moment(1), Listing: &catalog.Listing{
				Revision: "2025-11-25", Modern: "2026-07-28", Sessions: true,
				Items: [4][]json.RawMessage{
					messages(`{"name":"storm","annotations":{"readOnlyHint":true}}`, `{"name":"alerts"}`),
					messages(`{"name":"ask"}`), messages(`{"uri":"a:b"}`), messages(`{"uriTemplate":"a:{b}"}`),
				},
			}},
			"team/time": {Health: catalog.HealthFailing, Since: moment(2), LastError: "initialize: connection refused", Listing: &catalog.Listing{
				Revision: "2025-03-26", Items: [4][]json.RawMessage{messages(`{"name":"weather_alerts"}`, `{"name":"now"}`)},
			}},
		},
		VirtualServers: []config.VirtualServer{
			{Name: "team/storms", Description: "For bad days", Tools: []string{"*_storm"}, Resources: []string{"*"}},
			{Name: "all-of-weather", Servers: []string{"weather"}},
			{Name: "nothing"},
		},
		Programmed: func(cluster string) bool { return cluster != "late" }, Counting: catalog.Counting{Set: &tally.Set{}},
	})
	storm := snap.Find(catalog.Tool, "weather_storm").Calls
	storm.Called(1200)
	storm.Opened(3)
	storm.Failed()
	storm.SetRate(2.5)
	snap.Find(catalog.Tool, "now").Calls.Called(1)
	return Options{
		Version: "1.2.3", Started: moment(7),
		NotReady: func() []string { return nil },
		Config: func() Config {
			return Config{File: "config.yaml", Loaded: moment(0), Problems: []string{"config.yaml:3:5: servers[0].nam: unknown key"}}
		},
		Snapshot: func() *catalog.Snapshot { return snap },
		URL: func(server string) string {
			return "http://" + strings.ReplaceAll(server, "/", ".") + ".example.com:80/mcp"
		},
		Problems: func() []catalog.Problem {
			return []catalog.Problem{{Server: "late", Message: "cannot be given to Envoy"}}
		},
		Sessions: func() int { return 3 },
		Policies: func() Policies {
			return Policies{
				File: "policies.yaml", Generation: 2, Loaded: moment(5), Issuer: "https://issuer.example.com", KeysFetched: moment(6), Keys: 1, EnvoyFed: true,
				Problems: []string{"policies.yaml:4:7: policies.acl[0]: the key \"allow\" is missing"},
			}
		},
		Envoys: func() []Envoy {
			refusal := Refusal{Type: "Cluster", Name: "late.0123456789ab", Message: "no such thing"}
			return []Envoy{{
				Node: "edge-1", Build: "envoy 1.40.0", ConnectedSince: moment(3), Serving: true, Version: "abc",
				Refused: []Refusal{refusal}, LastRejection: &Rejection{Refusal: refusal, Time: moment(4)},
			}}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("some metrics\n")) }),
	}
}

// quiet is a gateway with nothing in it that feeds no Envoy.
func quiet() Options {
	o := busy()
	o.NotReady = func() []string { return []string{`server "a" has not been tried yet`} }
	o.Config = func() Config { return Config{File: "config.yaml", Loaded: moment(0)} }
	o.Snapshot = func() *catalog.Snapshot { return catalog.Build(catalog.Input{}) }
	o.Problems = func() []catalog.Problem { return nil }
	o.Sessions = func() int { return 0 }
	o.Policies, o.Envoys = nil, nil
	return o
}

func get(t *testing.T, o Options, method, host, path string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequest(method, path, http.NoBody)
	req.Host = host
	rec := httptest.NewRecorder()
	h, err := New(o)
	require.NoError(t, err)
	h.ServeHTTP(rec, req)
	return rec
}

func TestStatus(t *testing.T) {
	for name, o := range map[string]Options{"busy": busy(), "quiet": quiet()} {
		t.Run(name, func(t *testing.T) {
			rec := get(t, o, http.MethodGet, "127.0.0.1", "/status")
			assert.Equal(t, http.StatusOK, rec.Code)
			assert.Equal(t, "application/json", rec.Header().Get("Content-Type"))
			golden(t, "status-"+name+".json", rec.Body.String())
		})
	}
}

// Before the first snapshot there is something to say, too.
func TestStatusWithoutSnapshot(t *testing.T) {
	o := quiet()
	o.Snapshot = func() *catalog.Snapshot { return nil }
	var got Status
	require.NoError(t, json.Unmarshal(get(t, o, http.MethodGet, "localhost", "/status").Body.Bytes(), &got))
	assert.False(t, got.Ready)
	assert.Empty(t, got.Servers)
}

func TestReadiness(t *testing.T) {
	rec := get(t, busy(), http.MethodGet, "localhost", "/readyz")
	assert.Equal(t, http.StatusOK, rec.Code)
	assert.JSONEq(t, `{"ready":true,"reasons":[]}`, rec.Body.String())
	rec = get(t, quiet(), http.MethodGet, "localhost", "/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
	assert.JSONEq(t, `{"ready":false,"reasons":["server \"a\" has not been tried yet"]}`, rec.Body.String())
}

func TestOnlyReading(t *testing.T) {
	tests := []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/healthz", http.StatusOK, "ok\n"},
		{http.MethodHead, "/healthz", http.StatusOK, "ok\n"},
		{http.MethodGet, "/metrics", http.StatusOK, "some metrics\n"},
		{http.MethodPost, "/healthz", http.StatusMethodNotAllowed, "Method Not Allowed\n"},
		{http.MethodDelete, "/status", http.StatusMethodNotAllowed, "Method Not Allowed\n"},
		{http.MethodGet, "/nowhere", http.StatusNotFound, "404 page not found\n"},
		{http.MethodGet, "/status/x", http.StatusNotFound, "404 page not found\n"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			rec := get(t, busy(), tt.method, "127.0.0.1:8090", tt.path)
			assert.Equal(t, tt.status, rec.Code)
			assert.Equal(t, tt.body, rec.Body.String())
			assert.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
		})
	}
}

// A web page whose name is made to lead to this machine must not read what is here.
func TestNoForeignHostOnLoopback(t *testing.T) {
	tests := map[string]bool{
		"127.0.0.1:8090": true, "127.0.0.1": true, "[::1]:8090": true, "[::1]": true, "localhost:8090": true, "LOCALHOST": true,
		"gateway.localhost": true, "10.1.2.3:8090": true, "": true,
		"rebound.example.com:8090": false, "localhost.example.com": false, "127.0.0.1.example.com": false,
	}
	for host, allowed := range tests {
		t.Run(host, func(t *testing.T) {
			o := busy()
			assert.Equal(t, http.StatusOK, get(t, o, http.MethodGet, host, "/status").Code, "in a cluster every name is good")
			o.LocalOnly = true
			want := http.StatusForbidden
			if allowed {
				want = http.StatusOK
			}
			assert.Equal(t, want, get(t, o, http.MethodGet, host, "/status").Code)
		})
	}
}
